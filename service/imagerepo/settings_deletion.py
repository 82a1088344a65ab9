"""Settings of deletion."""

from typing import Literal

from imagerepo.settings_fields import Section, Wait


class Deletion(Section):
    """How studies, series and instances are deleted."""

    reason: Literal["optional", "required"] = "optional"
    """Whether a deletion has to say why."""
    reclaim_delay: Wait = 60.0
    """Seconds from a deletion until its bytes are given back to the disk."""
