"""Bars around the picture, of any one colour, and the crop that removes them."""

from collections.abc import Iterator

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

UNIFORM_RANGE = 14
"""Luma steps by which the pixels of a bar differ at most, over the whole bar and all of the clip."""
THINNEST_SHARE = 0.02
"""A bar thinner than this share of the side is an edge, not a bar."""
WIDEST_SHARE = 0.45
EDGE_STEP = 24
"""Beyond a bar the picture must vary by at least this much."""
EVERY = 8
"""Along a bar every eighth pixel is looked at, across it every one."""


class _Bars(Measure):
    """Keeps the darkest and brightest value of each row and column over the clip."""

    def __init__(self) -> None:
        self._count = 0
        self._size: tuple[int, int] | None = None
        self._rows: tuple[np.ndarray, np.ndarray] | None = None
        self._columns: tuple[np.ndarray, np.ndarray] | None = None

    def study(self, picture: Frame) -> None:
        self._count += 1
        if self._count % 2 == 0:
            return
        size = picture.width, picture.height
        if self._size not in (None, size):
            return
        self._size = size
        across = picture.luma(columns=slice(0, None, EVERY))
        down = picture.luma(rows=slice(0, None, EVERY))
        self._rows = _extended(self._rows, across, 1)
        self._columns = _extended(self._columns, down, 0)

    def numbers(self) -> Numbers:
        if self._rows is None or self._columns is None:
            return {}
        top, bottom = _bars(*self._rows)
        left, right = _bars(*self._columns)
        return {"top": top, "bottom": bottom, "left": left, "right": right, "coded_size": self._size}


def _extended(kept: tuple[np.ndarray, np.ndarray] | None, luma: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    darkest, brightest = luma.min(axis=axis), luma.max(axis=axis)
    if kept is None:
        return darkest, brightest
    return np.minimum(kept[0], darkest), np.maximum(kept[1], brightest)


def _bars(darkest: np.ndarray, brightest: np.ndarray) -> tuple[int, int]:
    """Lines of the bar at the beginning and at the end; 0 where there is none."""
    return _bar(darkest, brightest), _bar(darkest[::-1], brightest[::-1])


def _bar(darkest: np.ndarray, brightest: np.ndarray) -> int:
    low = np.minimum.accumulate(darkest.astype(np.int16))
    high = np.maximum.accumulate(brightest.astype(np.int16))
    lines = int(np.searchsorted(high - low, UNIFORM_RANGE, side="right"))
    total = len(darkest)
    if not THINNEST_SHARE * total <= lines <= WIDEST_SHARE * total:
        return 0
    beyond = slice(lines, min(total, lines + max(2, total // 50)))
    varies = int(brightest[beyond].max()) - int(darkest[beyond].min())
    return lines if varies >= UNIFORM_RANGE + EDGE_STEP else 0


def crop_of(numbers: Numbers, rotation: int, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The picture without its bars as (width, height, x, y) in displayed pixels; None without bars."""
    if not any(numbers.get(side) for side in ("top", "bottom", "left", "right")):
        return None
    coded_width, coded_height = numbers["coded_size"]
    sides = [
        numbers["top"] / coded_height,
        numbers["right"] / coded_width,
        numbers["bottom"] / coded_height,
        numbers["left"] / coded_width,
    ]
    # turning the picture counter-clockwise by a quarter brings its right side to the top
    turns = rotation // 90 % 4
    top, right, bottom, left = sides[turns:] + sides[:turns]
    x, y = _even(left * width), _even(top * height)
    return (
        (width - x - _even(right * width)) // 2 * 2,
        (height - y - _even(bottom * height)) // 2 * 2,
        x,
        y,
    )


def _even(pixels: float) -> int:
    """Rounded up to an even number, as video needs it."""
    return -(-round(pixels) // 2) * 2


def judge(seen: Seen) -> Iterator[Flag]:
    probe, numbers = seen.probe, seen.numbers.get("letterbox", {})
    if not probe.width or not probe.height:
        return
    crop = crop_of(numbers, probe.rotation, probe.width, probe.height)
    if crop is None:
        return
    width, height, x, y = crop
    where = "above and below" if width == probe.width else "at its sides" if height == probe.height else "around it"
    share = 1 - width * height / (probe.width * probe.height)
    yield Flag(
        id="letterbox",
        severity="warn",
        value=f"{width}x{height}+{x}+{y}",
        threshold=f"{probe.width}x{probe.height}+0+0",
        message=f"It has bars {where}, {share:.0%} of the picture, which the model would learn.",
        remedy=f"Crop it to {width} × {height} from ({x}, {y}).",
    )


CHECK = Check("letterbox", judge, _Bars)
