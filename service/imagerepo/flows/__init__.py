"""What the repository does, in words of the model: ingest, retrieve, search, audit."""
