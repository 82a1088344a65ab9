"""What runs: assembly, the serving tree."""
