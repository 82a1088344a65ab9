"""What a retrieval names: a study, a series of it, an instance of that."""

from dataclasses import dataclass

from imagerepo.model.uids import Uid


@dataclass(frozen=True, slots=True)
class Scope:
    """Some instances of one institution; None means any.

    `/series/{uid}` and `/image/{uid}` name their object without its ancestors.
    """

    institution: str
    study_uid: Uid | None = None
    series_uid: Uid | None = None
    instance_uid: Uid | None = None
    version: int | None = None  # None: the current one; only with an instance
