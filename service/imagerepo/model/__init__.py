"""Values only, no I/O."""
