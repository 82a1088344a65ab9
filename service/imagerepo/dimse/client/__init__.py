"""Associations that we open: requestor, service class user, and sender of what is stored."""
