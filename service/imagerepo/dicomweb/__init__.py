"""DICOMweb (PS3.18) to flows and back; nothing else."""
