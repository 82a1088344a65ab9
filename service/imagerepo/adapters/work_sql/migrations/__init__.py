"""Migrations of work.sqlite."""
