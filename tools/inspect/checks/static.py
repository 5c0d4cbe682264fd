"""A video in which nothing moves, and stretches in which the picture stands still."""

from collections.abc import Iterator

import cv2
import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.checks.spans import Spans
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

STATIC_CHANGE = 1.0
"""Mean difference in luma steps to the first picture that only compression causes."""
FROZEN_CHANGE = 0.05
"""The same to the picture before, where the encoder copied it."""
SHORTEST_FROZEN_S = 1.0
BLACK_MEAN = 12


class _Stillness(Measure):
    def __init__(self) -> None:
        self.frozen = Spans(SHORTEST_FROZEN_S)
        self.largest_change_from_first = 0.0
        self._first: np.ndarray | None = None
        self._previous_s = 0.0

    def see(self, picture: Frame) -> None:
        if self._first is None:
            self._first = picture.small
        elif self._first.shape != picture.small.shape:
            self.largest_change_from_first = 255.0
        elif self.largest_change_from_first < STATIC_CHANGE:
            change = float(cv2.norm(picture.small, self._first, cv2.NORM_L1)) / picture.small.size
            self.largest_change_from_first = max(self.largest_change_from_first, change)
        if picture.change is not None:
            # black that stands still is the black check's
            self.frozen.add(self._previous_s, picture.change <= FROZEN_CHANGE and picture.mean > BLACK_MEAN)
        self._previous_s = picture.time_s

    def numbers(self) -> Numbers:
        self.frozen.close(self._previous_s)
        return {"change_from_first": round(self.largest_change_from_first, 3), "frozen": self.frozen.spans}


def judge(seen: Seen) -> Iterator[Flag]:
    numbers = seen.numbers.get("static", {})
    if not seen.moving or seen.probe.frames < 2 or not numbers:
        return
    if numbers["change_from_first"] < STATIC_CHANGE:
        yield Flag(
            id="static",
            severity="warn",
            value=numbers["change_from_first"],
            threshold=STATIC_CHANGE,
            message="Nothing moves in it: no picture differs visibly from the first.",
            remedy="Add it as a still image, or leave it out if motion matters.",
        )
        return
    for start_s, end_s in numbers["frozen"]:
        yield Flag(
            id="static",
            severity="warn",
            value=round(end_s - start_s, 3),
            threshold=SHORTEST_FROZEN_S,
            start_s=start_s,
            end_s=end_s,
            message=f"The picture stands still from {start_s:.2f} s to {end_s:.2f} s.",
            remedy="Trim or split it there.",
        )


CHECK = Check("static", judge, _Stillness)
