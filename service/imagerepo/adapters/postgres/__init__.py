"""PostgreSQL: what all replicas share, but for the bytes."""
