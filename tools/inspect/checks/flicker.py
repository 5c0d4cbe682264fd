"""Light that swings from picture to picture."""

from collections import deque
from collections.abc import Iterator

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.checks.shake import MOST_SHAKE
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

MOST_SWING = 2.4
"""Luma steps: how far the mean light of a picture lies off the middle of its neighbours, in the typical second."""
WINDOW = 24
"""Pictures over which one swing is measured."""
FEWEST_TURNS = 0.25
"""Of all pictures at least this share must turn the light around; slow changes turn seldom."""
KEPT = 512


class _Swings(Measure):
    def __init__(self) -> None:
        self._means: deque[float] = deque(maxlen=WINDOW)
        self._swings: list[float] = []
        self._since = 0

    def see(self, picture: Frame) -> None:
        if picture.change is None:
            self._means.clear()
        self._means.append(picture.mean)
        self._since += 1
        if len(self._means) == WINDOW and self._since >= WINDOW and len(self._swings) < KEPT:
            self._since = 0
            self._swings.append(swing(np.array(self._means)))

    def numbers(self) -> Numbers:
        if not self._swings and len(self._means) >= WINDOW // 2:
            self._swings.append(swing(np.array(self._means)))
        return {"swing": round(float(np.median(self._swings)), 3)} if self._swings else {}


def swing(means: np.ndarray) -> float:
    """Return the swing of the means [N] around their local line, the median over N; 0 where they seldom turn.

    The median leaves single flashes and cuts out; a rhythm of two to six pictures is seen.
    """
    padded = np.concatenate((means[3:0:-1], means, means[-2:-5:-1]))
    smooth = np.convolve(padded, np.ones(7) / 7, mode="valid")
    off = means - smooth
    steps = np.diff(means)
    turns = float(np.mean(steps[1:] * steps[:-1] < 0)) if len(steps) > 1 else 0.0
    return float(np.median(np.abs(off))) if turns >= FEWEST_TURNS else 0.0


def judge(seen: Seen) -> Iterator[Flag]:
    value = seen.numbers.get("flicker", {}).get("swing")
    if not seen.moving or value is None or value <= MOST_SWING:
        return
    if (seen.numbers.get("shake", {}).get("shake") or 0.0) > MOST_SHAKE:
        return  # what comes into view and goes out of it swings the light as well
    if WINDOW * seen.numbers.get("scene_cut", {}).get("count", 0) > seen.probe.frames:
        return  # cuts in every window swing it too
    yield Flag(
        id="flicker",
        severity="warn",
        value=value,
        threshold=MOST_SWING,
        message=f"Its light flickers: it swings by {value:.1f} of 255 steps from picture to picture.",
        remedy="Deflicker it, or leave it out: the model would learn the flicker.",
    )


CHECK = Check("flicker", judge, _Swings)
