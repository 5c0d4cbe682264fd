"""Stretches of black pictures."""

from collections.abc import Iterator

import cv2

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.checks.spans import Spans
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

BLACK_LUMA = 25
"""A pixel darker than a tenth of the range counts as black (the usual threshold of black detectors)."""
BLACK_SHARE = 0.98
SHORTEST_BLACK_S = 0.5


class _Black(Measure):
    def __init__(self) -> None:
        self.spans = Spans(SHORTEST_BLACK_S)
        self._last_s = self._interval_s = 0.0

    def see(self, picture: Frame) -> None:
        dark = picture.mean <= BLACK_LUMA and self._is_black(picture)
        self.spans.add(picture.time_s, dark)
        self._interval_s, self._last_s = picture.time_s - self._last_s, picture.time_s

    def _is_black(self, picture: Frame) -> bool:
        bright = cv2.countNonZero(cv2.compare(picture.small, BLACK_LUMA, cv2.CMP_GT))
        return bright <= (1 - BLACK_SHARE) * picture.small.size

    def numbers(self) -> Numbers:
        self.spans.close(self._last_s + self._interval_s)
        return {"spans": self.spans.spans}


def judge(seen: Seen) -> Iterator[Flag]:
    if not seen.moving:
        return
    for start_s, end_s in seen.numbers.get("black", {}).get("spans", []):
        yield Flag(
            id="black",
            severity="warn",
            value=round(end_s - start_s, 3),
            threshold=SHORTEST_BLACK_S,
            start_s=start_s,
            end_s=end_s,
            message=f"The picture is black from {start_s:.2f} s to {end_s:.2f} s.",
            remedy="Cut the black away.",
        )


CHECK = Check("black", judge, _Black)
