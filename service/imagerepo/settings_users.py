"""Settings of users: who is known by a user name and passcode (PS3.7 D.3.3.7)."""

from typing import Annotated

from pydantic import Field

from imagerepo.settings_fields import AeTitle, Section


class User(Section):
    """Who is known by a user name and passcode, over TLS."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """The user name, as the device sends it; stands in the journal."""
    passcode: Annotated[str, Field(pattern=r"^scrypt:[0-9a-f]{32}:[0-9a-f]{64}$")]
    """Its passcode, hashed; `imagerepo passcode` makes it."""
    ae_titles: Annotated[tuple[AeTitle, ...], Field(min_length=1)]
    """Calling AE titles that the user may call by."""
