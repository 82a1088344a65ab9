"""`imagerepo passcode`: the hash of a user's passcode that goes into the settings."""

import sys

import typer

from imagerepo.model.passcode import hash_of


def passcode() -> None:
    """Read a passcode, without showing it, and print what goes into institutions[].users[].passcode."""
    if sys.stdin.isatty():
        given: str = typer.prompt("Passcode", hide_input=True, confirmation_prompt=True, err=True)
    else:
        given = sys.stdin.readline().rstrip("\n")
    typer.echo(hash_of(given.encode()))
