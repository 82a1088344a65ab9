"""Tiers: promises about speed."""

from enum import StrEnum


class Tier(StrEnum):
    """A promise about speed; an adapter maps it to a folder or a storage class."""

    HOT = "hot"
    COLD = "cold"
