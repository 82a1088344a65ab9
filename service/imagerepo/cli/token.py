"""`imagerepo token`: a bearer token and the hash that goes into the settings."""

import hashlib
import secrets

import typer


def token() -> None:
    """Make a bearer token: give the first line to its holder, put the second into institutions[].tokens."""
    made = secrets.token_urlsafe(32)
    typer.echo(f"token:  {made}")
    typer.echo(f"sha256: {hashlib.sha256(made.encode()).hexdigest()}")
