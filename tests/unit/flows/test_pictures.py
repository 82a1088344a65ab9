"""Pictures are made once, kept within bounds, and waited for within bounds."""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace

import pytest

from imagerepo.adapters.memory import Memory, MemoryIndex, MemoryObjects
from imagerepo.errors import NotAcceptableError, NotFoundError, UnavailableError
from imagerepo.flows.pictures import Bounds, Pictures, check_frame
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.model.picture import Coding, Sheet, View, Viewport
from tests.unit.flows.test_pictures_of_real_files import version_of
from tests.wire.dicomweb_samples import sample

BOUNDS = Bounds(painters=1, queue=10, cache=1 << 20, frame=1 << 20)
VIEW = View(Coding.PNG)


def in_a_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Easel:
    """A painter that paints the size of its frame, and can be held up."""

    def __init__(self) -> None:
        self.sheets: list[Sheet] = []
        self.go = threading.Event()
        self.go.set()
        self.refuses = False

    def paint(self, sheet: Sheet, pieces: Iterable[bytes], view: View) -> bytes:
        self.go.wait(30)
        self.sheets.append(sheet)
        if self.refuses:
            raise NotAcceptableError("no picture can be made of it")
        return b"%d %d" % (sheet.pixels_size, len(b"".join(pieces))) + bytes(view.quality)

    def close(self) -> None:
        pass


def version(name: str = "CT_small.dcm") -> Version:
    found = version_of(sample(name))
    assert found is not None
    return replace(found, copy=replace(found.copy, ranges=()))


def pictures(easel: Easel, bounds: Bounds = BOUNDS) -> Pictures:
    memory = Memory()
    return Pictures(Retrieve(MemoryIndex(memory), MemoryObjects(memory)), easel, bounds)


def sized(side: int) -> View:
    return View(Coding.PNG, viewport=Viewport(side, side))


@in_a_loop
async def test_the_same_picture_is_made_once_however_many_ask() -> None:
    easel = Easel()
    gallery, one = pictures(easel), version()
    easel.go.clear()
    asked = [asyncio.create_task(gallery.picture(one, 1, VIEW)) for _ in range(20)]
    await asyncio.sleep(0)
    easel.go.set()
    assert len(set(await asyncio.gather(*asked))) == 1
    await gallery.picture(one, 1, VIEW)
    assert len(easel.sheets) == 1
    await gallery.picture(one, 1, sized(9))
    assert len(easel.sheets) == 2


@in_a_loop
async def test_whoever_asked_first_may_leave_and_the_others_get_it() -> None:
    easel = Easel()
    gallery, one = pictures(easel), version()
    easel.go.clear()
    first, second = (asyncio.create_task(gallery.picture(one, 1, VIEW)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    easel.go.set()
    assert await second
    assert first.cancelled()
    assert len(easel.sheets) == 1


@in_a_loop
async def test_more_than_may_wait_are_told_to_come_back() -> None:
    easel = Easel()
    gallery, one = pictures(easel, replace(BOUNDS, queue=2)), version()
    easel.go.clear()
    waiting = [asyncio.create_task(gallery.picture(one, 1, sized(side))) for side in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match=r"rendering\.queue"):
        await gallery.picture(one, 1, sized(3))
    easel.go.set()
    await asyncio.gather(*waiting)
    assert await gallery.picture(one, 1, sized(3))


@in_a_loop
async def test_what_is_kept_has_at_most_so_many_bytes_and_the_longest_untouched_goes_first() -> None:
    easel = Easel()
    gallery, one = pictures(easel, replace(BOUNDS, cache=4000)), version()
    for side in (1, 2, 3, 4, 5):
        await gallery.picture(one, 1, sized(side))
        await gallery.picture(one, 1, sized(1))
    assert len(easel.sheets) == 5
    for side in range(6, 40):
        await gallery.picture(one, 1, sized(side))
        assert gallery.kept_bytes <= 4000
    before = len(easel.sheets)
    await gallery.picture(one, 1, sized(1))
    assert len(easel.sheets) == before + 1


@in_a_loop
async def test_what_cannot_be_shown_is_not_tried_again_at_once() -> None:
    easel = Easel()
    easel.refuses = True
    gallery, one = pictures(easel), version()
    for _ in range(3):
        with pytest.raises(NotAcceptableError):
            await gallery.picture(one, 1, VIEW)
    assert len(easel.sheets) == 1


@in_a_loop
async def test_a_frame_above_the_limit_is_refused_before_it_is_read() -> None:
    easel = Easel()
    with pytest.raises(NotAcceptableError, match=r"32768 bytes.*rendering\.frame_limit"):
        await pictures(easel, replace(BOUNDS, frame=32767)).picture(version(), 1, VIEW)
    assert easel.sheets == []


@in_a_loop
async def test_what_has_no_such_frame_or_no_image_is_refused() -> None:
    gallery = pictures(Easel())
    with pytest.raises(NotFoundError):
        await gallery.picture(version(), 2, VIEW)
    with pytest.raises(NotAcceptableError, match="no pixel data"):
        await gallery.picture(version("test-SR.dcm"), 1, VIEW)


@in_a_loop
async def test_no_picture_is_made_of_bytes_that_went_while_it_waited_for_its_turn() -> None:
    memory = Memory()
    gone: list[Version] = []

    class Reclaiming(MemoryObjects):
        def generation(self) -> int:
            return len(gone)

    easel, one = Easel(), version()
    gallery = Pictures(Retrieve(MemoryIndex(memory), Reclaiming(memory)), easel, BOUNDS)
    easel.go.clear()
    asked = asyncio.create_task(gallery.picture(one, 1, VIEW))
    await asyncio.sleep(0)
    gone.append(one)
    easel.go.set()
    with pytest.raises(NotFoundError):
        await asked
    assert not gallery.kept_bytes


@pytest.mark.parametrize(("name", "frames"), [("CT_small.dcm", 1), ("color3d_jpeg_baseline.dcm", 120)])
def test_a_frame_after_the_last_is_known_to_be_missing_without_painting(name: str, frames: int) -> None:
    one = version(name)
    check_frame(one, frames)
    with pytest.raises(NotFoundError, match=f"frame {frames + 1}: the instance has {frames}"):
        check_frame(one, frames + 1)


@pytest.mark.parametrize("name", ["image_dfl.dcm", "test-SR.dcm"])
def test_frames_that_only_the_painter_can_tell_apart_are_left_to_it(name: str) -> None:
    check_frame(version(name), 1000)


def test_frames_that_are_not_whole_bytes_are_left_to_the_painter() -> None:
    one = version("liver.dcm")
    assert one.layout.pixel is not None
    bits = replace(one.layout.pixel, frame_length=0)
    check_frame(replace(one, layout=replace(one.layout, pixel=bits)), 1000)
