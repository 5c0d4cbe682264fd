"""Pictures without fine detail: out of focus, or enlarged from a smaller size."""

from collections.abc import Iterator

import cv2
import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

SHARPEST_BELOW = 0.57
"""Sharpness of the sharpest part of a typical picture; real footage lies above 0.6, three times enlarged below 0.55."""
FEWEST_STEPS = 0.7
"""A tile whose neighbours differ by less, in luma steps, is too plain to tell."""
KEPT = 512
WIDTH = 9


class _Sharpness(Measure):
    """The sharpest tile of each studied picture, after Crete 2007: what a blur takes away of the differences."""

    def __init__(self) -> None:
        self._sharpest: list[float] = []
        self._every, self._count = 1, 0

    def study(self, picture: Frame) -> None:
        self._count += 1
        if self._count % (2 * self._every) != 1:
            return
        values = [value for value in map(tile_sharpness, picture.tiles) if value is not None]
        if values:
            self._sharpest.append(max(values))
        if len(self._sharpest) > KEPT:
            self._sharpest, self._every = self._sharpest[::2], self._every * 2

    def numbers(self) -> Numbers:
        return {"sharpness": round(float(np.median(self._sharpest)), 4)} if self._sharpest else {}


def tile_sharpness(tile: np.ndarray) -> float | None:
    """The share of the differences between neighbours that a blur of WIDTH pixels takes away, in the sharper direction.

    None for a tile too plain to tell. A picture that is blurred already loses little: 0 is all blurred.
    """
    best: float | None = None
    for axis, kernel in ((0, (1, WIDTH)), (1, (WIDTH, 1))):
        if tile.shape[axis] < 2 * WIDTH:
            continue
        before = _differences(tile, axis)
        total = float(cv2.sumElems(before)[0])
        if total < FEWEST_STEPS * before.size:
            continue
        after = _differences(cv2.blur(tile, kernel), axis)
        lost = float(cv2.sumElems(cv2.subtract(before, after))[0]) / total
        best = lost if best is None else max(best, lost)
    return best


def _differences(luma: np.ndarray, axis: int) -> np.ndarray:
    return cv2.absdiff(luma[1:], luma[:-1]) if axis == 0 else cv2.absdiff(luma[:, 1:], luma[:, :-1])


def judge(seen: Seen) -> Iterator[Flag]:
    sharpness = seen.numbers.get("blur", {}).get("sharpness")
    if sharpness is None or sharpness >= SHARPEST_BELOW:
        return
    yield Flag(
        id="blur",
        severity="warn",
        value=sharpness,
        threshold=SHARPEST_BELOW,
        message="It holds no fine detail: it is out of focus, or was enlarged from a smaller picture.",
        remedy="Use a sharper take, or the original size.",
    )


CHECK = Check("blur", judge, _Sharpness)
