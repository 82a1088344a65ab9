"""Commits of a replica: bundles in S3, rows in PostgreSQL."""
