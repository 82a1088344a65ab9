"""How a picture is asked for: its media type and the parameters that say how it is to look.

Parameters that are not supported (iccprofile, charset) are passed over, as PS3.18 8.3.5.1 allows.

Source: PS3.18 sections 8.3.5.1 (Query Parameters for Rendered Resources), 8.3.5.2 (for Thumbnails), 8.7.4 (Rendered
Media Types).
"""

import math
from dataclasses import replace
from typing import Final

from imagerepo.dicomweb.negotiate import Form
from imagerepo.errors import BadRequestError, NotAcceptableError
from imagerepo.model.picture import LARGEST_SIDE, Coding, Region, Shape, View, Viewport, Window
from imagerepo.web.exchange import Exchange
from imagerepo.web.media import parse_accept

_THUMBNAIL: Final = Viewport(128, 128)
_OFFERED: Final = " or ".join(Coding)
_ANNOTATIONS: Final = frozenset({"patient", "technique"})


def choose_one(accept: str) -> tuple[Form, Coding]:
    """How one picture is sent: alone as JPEG, unless something else is asked for. Raises NotAcceptableError."""
    if not accept:
        return Form.SINGLE, Coding.JPEG
    for one in parse_accept(accept):
        for coding in Coding:
            if one.covers(coding):
                return Form.SINGLE, coding
            if one.covers_related(coding):
                return Form.PARTS, coding
    raise NotAcceptableError(f"a picture can be had as {_OFFERED}, alone or in multipart/related; Accept has neither")


def choose_many(accept: str) -> Coding:
    """How several pictures are sent, in multipart/related. Raises NotAcceptableError."""
    if not accept:
        return Coding.JPEG
    for one in parse_accept(accept):
        for coding in Coding:
            if one.covers_related(coding):
                return coding
    raise NotAcceptableError(
        f'several pictures can be had as multipart/related; type="{Coding.JPEG}" or "{Coding.PNG}"; Accept has neither'
    )


def rendered_view(exchange: Exchange, coding: Coding) -> View:
    """The view that a request for a rendered resource asks for. Raises BadRequestError."""
    quality, viewport, window = (exchange.query_value(name) for name in ("quality", "viewport", "window"))
    view = View(coding)
    if quality is not None and coding is Coding.JPEG:
        view = replace(view, quality=_whole(quality, "quality", 1, 100))
    if viewport is not None:
        room, region = _viewport(viewport)
        view = replace(view, viewport=room, region=region)
    if window is not None:
        view = replace(view, window=_window(window))
    return view


def thumbnail_view(exchange: Exchange, coding: Coding) -> View:
    """The view that a request for a thumbnail asks for: of its parameters there is but the viewport."""
    viewport = exchange.query_value("viewport")
    if viewport is None:
        return View(coding, viewport=_THUMBNAIL)
    room, region = _viewport(viewport)
    if region is not None:
        raise BadRequestError("viewport of a thumbnail is two numbers: its width and height (PS3.18 8.3.5.2)")
    return View(coding, viewport=room)


def unsupported_annotation(exchange: Exchange) -> str | None:
    """A Warning about an annotation that was asked for: none are painted (PS3.18 8.3.5.1.1)."""
    asked = exchange.query_value("annotation")
    if not asked:
        return None
    for one in asked.split(","):
        if one not in _ANNOTATIONS:
            raise BadRequestError(f"annotation {one[:40]!r} is none of: patient, technique (PS3.18 8.3.5.1.1)")
    return f'299 imagerepo "annotations are not painted: {asked}"'


def _viewport(text: str) -> tuple[Viewport, Region | None]:
    """vw,vh or vw,vh,sx,sy,sw,sh; of the latter those left empty have their defaults (PS3.18 8.3.5.1.3)."""
    parts = text.split(",")
    if len(parts) not in {2, 6}:
        raise BadRequestError(f"viewport {text[:60]!r} is not vw,vh or vw,vh,sx,sy,sw,sh (PS3.18 8.3.5.1.3)")
    room = Viewport(*(_whole(part, "viewport's size", 1, LARGEST_SIDE) for part in parts[:2]))
    if len(parts) == 2:
        return room, None
    left, top = (_whole(part, "viewport's corner", 0, 1 << 31) if part else 0 for part in parts[2:4])
    width, height = (_whole(part, "viewport's region", -(1 << 31), 1 << 31) if part else None for part in parts[4:])
    if width == 0 or height == 0:
        raise BadRequestError("viewport's region has no size")
    return room, Region(left, top, width, height)


def _window(text: str) -> Window:
    """center,width,shape (PS3.18 8.3.5.1.4); the shape may be left out."""
    parts = text.split(",")
    if len(parts) not in {2, 3}:
        raise BadRequestError(f"window {text[:60]!r} is not center,width,shape (PS3.18 8.3.5.1.4)")
    center, width = (_real(part, "window") for part in parts[:2])
    try:
        shape = Shape(parts[2].lower().replace("_", "-")) if len(parts) == 3 else Shape.LINEAR
    except ValueError:
        raise BadRequestError(f"window's shape {parts[2][:40]!r} is none of: {', '.join(Shape)}") from None
    if width < 1 and shape is Shape.LINEAR:
        raise BadRequestError("window's width must be at least 1 if its shape is linear (PS3.3 C.11.2.1.2.1)")
    if width <= 0:
        raise BadRequestError("window's width must be more than 0 (PS3.3 C.11.2.1.3)")
    return Window(center, width, shape)


def _whole(text: str, name: str, least: int, most: int) -> int:
    try:
        number = int(text) if len(text) <= 11 and text.isascii() else None
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        raise BadRequestError(f"{name}: {text[:40]!r} is not a whole number from {least} to {most}")
    return number


def _real(text: str, name: str) -> float:
    try:
        number = float(text) if len(text) <= 32 and text.isascii() else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > 1e30:
        raise BadRequestError(f"{name}: {text[:40]!r} is not a number")
    return number
