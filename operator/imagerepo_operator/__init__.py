"""The Kubernetes operator of imagerepo; it shares a file format with the service, never code."""
