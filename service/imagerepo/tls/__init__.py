"""TLS for all protocols: the profile, certificates from files, what a peer's certificate proves."""
