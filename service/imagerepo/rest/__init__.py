"""The plain URIs to flows and back; nothing else."""
