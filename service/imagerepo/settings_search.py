"""Settings of searches, by whatever protocol."""

from typing import Annotated

from pydantic import Field

from imagerepo.settings_fields import Int, Section

KeyPath = Annotated[str, Field(pattern=r"^[0-9A-Za-z]+(\.[0-9A-Za-z]+)*$", max_length=512)]


class Searching(Section):
    """What may be searched by beside what the index has, and for how much."""

    optional_keys: tuple[KeyPath, ...] = ()
    """Attributes, besides the usual ones, that are matched in stored headers and answered from them: keywords or tags,
    those in a sequence as `RequestAttributesSequence.RequestedProcedureID`; a sequence means all in it."""
    most_headers: Annotated[Int, Field(ge=1, le=1_000_000)] = 5000
    """Stored headers that one search looks through for what matches; one that would need more is refused."""
