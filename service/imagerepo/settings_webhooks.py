"""Settings of webhooks: who is told by HTTP what changed in an institution."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from imagerepo.settings_fields import PublicUrl, Section, Timeout


class Webhook(Section):
    """A server that is told what changes."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """What it is called in tasks and logs; how far it has been told is kept under this name."""
    url: PublicUrl
    """Where messages are posted to; redirects are not followed."""
    secret_file: Path
    """File with the secret that messages are signed with; each of several lines is one, so that it can be changed."""
    ca: Path | None = None
    """File with the certificates (PEM) that the server's is verified against; none: those of the system."""
    timeout: Timeout = 10.0
    """Seconds without a byte from it, or without it taking one, until it counts as dead; all in all twice as long."""
