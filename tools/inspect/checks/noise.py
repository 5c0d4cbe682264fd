"""Grain: how much neighbouring pixels of the smoothest parts differ without a pattern."""

from collections.abc import Iterator

import cv2
import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

MOST_NOISE = 8.0
"""Standard deviation in 8-bit luma steps."""
KEPT = 512
KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
INSIDE = (24, 231)
"""Mean luma of the tiles that count: black and white are cut off and hide their grain."""


class _Grain(Measure):
    """Immerkaer's estimate (1996, equation 2) on each tile; a picture has the grain of its smoothest tile."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._every, self._count = 1, 0

    def study(self, picture: Frame) -> None:
        self._count += 1
        if self._count % (4 * self._every) != 1:
            return
        values = [tile_noise(tile) for tile in picture.tiles if INSIDE[0] <= cv2.mean(tile)[0] <= INSIDE[1]]
        if values:
            self._kept.append(min(values))
        if len(self._kept) > KEPT:
            self._kept, self._every = self._kept[::2], self._every * 2

    def numbers(self) -> Numbers:
        return {"sigma": round(float(np.median(self._kept)), 3)} if self._kept else {}


def tile_noise(tile: np.ndarray) -> float:
    """Standard deviation of the noise in a tile (uint8), in luma steps; texture counts as noise."""
    filtered = cv2.filter2D(tile, cv2.CV_32F, KERNEL)
    return float(np.sqrt(np.pi / 2) / 6 * cv2.norm(filtered, cv2.NORM_L1) / filtered.size)


def judge(seen: Seen) -> Iterator[Flag]:
    sigma = seen.numbers.get("noise", {}).get("sigma")
    if sigma is None or sigma <= MOST_NOISE:
        return
    yield Flag(
        id="noise",
        severity="warn",
        value=sigma,
        threshold=MOST_NOISE,
        message=f"It is grainy: even its smoothest parts vary by {sigma:.1f} of 255 steps from pixel to pixel.",
        remedy="Denoise it, or keep it if the grain is the look you train.",
    )


CHECK = Check("noise", judge, _Grain)
