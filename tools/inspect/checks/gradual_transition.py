"""Dissolves and fades: one picture that turns into another over half a second to two seconds.

A measure: between the two ends each picture must be nearly a mixture of them, in growing shares. Scenes that move much
while they dissolve aren't found; light that changes on one scene is no transition: its ends resemble each other.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

STEPS = 3, 4, 6, 8
"""Lengths that are tried, in studied pictures: 0.75 to 2 s."""
FEWEST_CHANGE = 18.0
"""Mean difference of the two ends, in luma steps."""
LARGEST_REST = 0.32
"""What of a picture between is no mixture of the ends, against their difference (root mean squares)."""
LIKEST = 0.6
"""Correlation of the two ends above which they show one scene in another light."""
FLAT = 3.0
"""Standard deviation of luma below which a picture is empty: black, white, one colour."""
HALFWAY = 0.2, 0.8
UNDER_WAY = 0.03, 0.97
"""Shares between which the pictures between the ends must lie: outside, the transition is shorter."""
LARGEST_STEP_BACK = 0.03
MAX_KEPT = 50


class _Shot(NamedTuple):
    """A studied picture: luma as uint8 and as float32 [h, w], its mean and its standard deviation."""

    time_s: float
    small: np.ndarray
    luma: np.ndarray
    mean: float
    spread: float


class _Transitions(Measure):
    def __init__(self) -> None:
        self._recent: deque[_Shot] = deque(maxlen=max(STEPS) + 1)
        self.found: list[tuple[float, float, str, float]] = []

    def study(self, picture: Frame) -> None:
        small = picture.small
        if self._recent and self._recent[-1].small.shape != small.shape:
            self._recent.clear()
        mean, spread = (float(value[0, 0]) for value in cv2.meanStdDev(small))
        self._recent.append(_Shot(picture.time_s, small, small.astype(np.float32), mean, spread))
        shots = list(self._recent)
        for steps in STEPS:
            if len(shots) > steps and len(self.found) < MAX_KEPT:
                found = _transition(shots[-steps - 1 :])
                if found is not None:
                    self._keep(shots[-steps - 1].time_s, picture.time_s, *found)
                    return

    def _keep(self, start_s: float, end_s: float, kind: str, change: float) -> None:
        """Stretches that overlap are one transition."""
        if self.found and start_s < self.found[-1][1]:
            start_s, kind, change = self.found[-1][0], self.found[-1][2], max(change, self.found[-1][3])
            self.found.pop()
        self.found.append((round(start_s, 3), round(end_s, 3), kind, round(change, 1)))

    def numbers(self) -> Numbers:
        return {"found": self.found}


def _transition(shots: Sequence[_Shot]) -> tuple[str, float] | None:
    """What the pictures, evenly spaced, are: "dissolve" or "fade", and the change; None for neither."""
    first, last = shots[0], shots[-1]
    change = float(cv2.norm(last.small, first.small, cv2.NORM_L1)) / first.small.size
    if change < FEWEST_CHANGE or max(first.spread, last.spread) < 4 * FLAT:
        return None
    empty = min(first.spread, last.spread) < FLAT
    if not empty and _correlation(first, last) > LIKEST:
        return None
    path = last.luma - first.luma
    length = float(np.vdot(path, path))
    before, halfway = 0.0, 0
    for shot in shots[1:-1]:
        way = shot.luma - first.luma
        share = float(np.vdot(way, path)) / length
        if share < before - LARGEST_STEP_BACK or not UNDER_WAY[0] < share < UNDER_WAY[1]:
            return None
        rest = way - share * path
        if float(np.vdot(rest, rest)) > LARGEST_REST**2 * length:
            return None
        before = share
        halfway += HALFWAY[0] < share < HALFWAY[1]
    if not halfway:
        return None
    return ("fade" if empty else "dissolve"), change


def _correlation(first: _Shot, last: _Shot) -> float:
    together = float(np.vdot(first.luma, last.luma)) / first.luma.size
    return (together - first.mean * last.mean) / (first.spread * last.spread)


def judge(seen: Seen) -> Iterator[Flag]:
    if not seen.moving:
        return
    for start_s, end_s, kind, change in seen.numbers.get("gradual_transition", {}).get("found", []):
        middle_s = (start_s + end_s) / 2
        into = " into another picture" if kind == "dissolve" else ""
        yield Flag(
            id="gradual_transition",
            severity="warn" if kind == "dissolve" else "note",
            value=change,
            threshold=FEWEST_CHANGE,
            start_s=start_s,
            end_s=end_s,
            message=f"It seems to {kind}{into} from {start_s:.2f} s to {end_s:.2f} s.",
            remedy=f"Split it at {middle_s:.2f} s, or trim it there: the model would learn the {kind}."
            if kind == "dissolve"
            else "Trim it there, unless fades are to be learned.",
        )


CHECK = Check("gradual_transition", judge, _Transitions)
