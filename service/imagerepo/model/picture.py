"""What a picture is made of and how it is to look.

Source: PS3.18 section 8.3.5 (Rendering Query Parameters), Table 8.7.4-1 (Rendered Media Types).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from imagerepo.model.uids import Uid

LARGEST_SIDE: Final = 8192
"""Pixels of a viewport's side, at the most."""


class Coding(StrEnum):
    """How a picture is written."""

    JPEG = "image/jpeg"
    PNG = "image/png"


class Shape(StrEnum):
    """The function of a window (PS3.3 C.11.2.1.2, C.11.2.1.3), as PS3.18 8.3.5.1.4 spells it."""

    LINEAR = "linear"
    LINEAR_EXACT = "linear-exact"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class Window:
    """Which values are told apart, in units after the modality transformation."""

    center: float
    width: float
    shape: Shape


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the image in its own pixels, from its top left corner; a negative size turns it over."""

    left: int
    top: int
    width: int | None  # None: as far as the image goes
    height: int | None


@dataclass(frozen=True, slots=True)
class Viewport:
    """The room that a picture has to fit in, in pixels; it keeps its proportions."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class View:
    """How a frame is to be shown."""

    coding: Coding
    quality: int = 90  # of JPEG, 1 to 100
    viewport: Viewport | None = None  # None: a pixel for a pixel
    region: Region | None = None  # None: all of it
    window: Window | None = None  # None: what the instance says


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a frame is painted from, apart from its bytes."""

    transfer_syntax: Uid
    header_size: int  # bytes of the data set in front of pixel data, or of all of it if that is deflated
    element_size: int  # bytes of the head of the pixel data element, which follow
    pixels_size: int  # bytes of pixel data, which follow
    encapsulated: bool
    frame: int  # from 1, in the instance
    place: int  # of the frame among those whose pixel data follow, from 0


@dataclass(frozen=True, slots=True)
class Parts:
    """The bytes that a sheet counts."""

    header: bytes  # the data set in front of pixel data; all of a deflated one
    element: bytes  # the head of the pixel data element
    pixels: bytes  # the frame, or several; encapsulated ones without item headers
