"""DIMSE (PS3.7, PS3.8) to flows and back; nothing else."""
