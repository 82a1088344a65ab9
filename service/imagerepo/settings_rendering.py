"""Settings of pictures."""

from typing import Annotated

from pydantic import Field

from imagerepo.settings_fields import GIB, MIB, TIB, Int, Section, Timeout


class Rendering(Section):
    """Pictures of stored frames, made by processes of their own."""

    painters: Annotated[Int, Field(ge=1, le=64)] = 1
    """Processes that make pictures, for each worker; started when the first is asked for."""
    memory: Annotated[Int, Field(ge=256 * MIB, le=TIB)] = GIB
    """Address space of each, in bytes: what takes more is not shown."""
    time_limit: Timeout = 20.0
    """A picture that takes so many seconds is given up."""
    frame_limit: Annotated[Int, Field(ge=1 * MIB, le=TIB)] = 256 * MIB
    """Bytes of the largest stored frame of which a picture is made."""
    queue: Annotated[Int, Field(ge=1, le=100_000)] = 200
    """Pictures that may be waited for in each worker; on more, 503."""
    cache: Annotated[Int, Field(ge=0, le=TIB)] = 32 * MIB
    """Bytes of pictures that each worker keeps in memory."""
