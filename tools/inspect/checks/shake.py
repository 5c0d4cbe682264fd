"""Measures the camera's movement and flags shake."""

import math
from collections import deque
from collections.abc import Iterator

import cv2
import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

MOST_SHAKE = 0.10
"""Picture widths per second."""
INTERVAL_S = 0.075
"""The shift is measured about twelve times per second: hands shake two to six times."""
BURST_S, PAUSE_S = 1.9, 2.1
"""Shifts are measured for a while, then not for a while: a hand that shakes doesn't choose."""
SURE_RESPONSE = 0.15
"""Phase correlation's peak below which no common shift of two pictures exists."""
AGREE_PX = 0.75
FEWEST_QUARTERS = 3
"""Of the picture's four quarters so many must shift alike: else something moves in it, not the camera."""
PLAIN_DEVIATION = 3.0
SURE_SHARE = 0.4
"""Where fewer steps show a common shift, nothing is said of shaking."""
WINDOW = 7
KEPT = 1024
LARGEST_SHIFT = 0.25


class _CameraMotion(Measure):
    """Shifts of the whole picture by phase correlation: their typical speed, and what keeps changing direction."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._last_s = 0.0
        self._window: np.ndarray | None = None
        self._shifts: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._speeds: list[float] = []
        self._shakes: list[float] = []
        self._unsure = 0

    def see(self, picture: Frame) -> None:
        passed_s = picture.time_s - self._last_s
        if self._last is not None and passed_s < INTERVAL_S:
            return
        if picture.time_s % (BURST_S + PAUSE_S) > BURST_S:
            self._last = None
            self._shifts.clear()
            return
        last, self._last, self._last_s = self._last, picture.small, picture.time_s
        if last is None or last.shape != picture.small.shape or min(last.shape) < 24 or len(self._speeds) >= KEPT:
            return
        shift = self._common_shift(last, picture.small) if passed_s < 0.5 else None
        if shift is None:
            self._unsure += 1
            self._shifts.clear()
            return
        width = picture.small.shape[1]
        velocity = shift[0] / width / passed_s, shift[1] / width / passed_s
        self._shifts.append(velocity)
        self._speeds.append(float(np.hypot(*velocity)))
        if len(self._shifts) == WINDOW:
            recent = np.array(self._shifts)
            self._shakes.append(float(np.hypot(*(recent - recent.mean(axis=0)).T).mean()))

    def _common_shift(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float] | None:
        """Pixels across and down by which most quarters of the picture shift alike; None where they don't."""
        height, width = before.shape[0] // 2, before.shape[1] // 2
        if self._window is None or self._window.shape != (height, width):
            self._window = cv2.createHanningWindow((width, height), cv2.CV_32F)
        shifts: list[tuple[float, float]] = []
        corners = [(top, left) for top in (0, before.shape[0] - height) for left in (0, before.shape[1] - width)]
        for done, (top, left) in enumerate(corners):
            if len(shifts) + len(corners) - done < FEWEST_QUARTERS:
                return None
            part = slice(top, top + height), slice(left, left + width)
            if float(cv2.meanStdDev(before[part])[1][0, 0]) < PLAIN_DEVIATION:
                continue
            parts = before[part].astype(np.float32), after[part].astype(np.float32)
            shift, response = cv2.phaseCorrelate(*parts, self._window)
            if response >= SURE_RESPONSE:
                shifts.append(shift)
        if len(shifts) < FEWEST_QUARTERS:
            return None
        across, down = (sorted(values)[len(values) // 2] for values in zip(*shifts, strict=True))
        alike = sum(abs(x - across) <= AGREE_PX and abs(y - down) <= AGREE_PX for x, y in shifts)
        if alike < FEWEST_QUARTERS or math.hypot(across, down) > LARGEST_SHIFT * before.shape[1]:
            return None
        return across, down

    def numbers(self) -> Numbers:
        if not self._speeds:
            return {}
        sure = len(self._speeds) / (self._unsure + len(self._speeds))
        return {
            "speed": round(float(np.median(self._speeds)), 4),
            "shake": round(float(np.median(self._shakes)), 4) if self._shakes and sure >= SURE_SHARE else None,
            "sure": round(sure, 3),
        }


def judge(seen: Seen) -> Iterator[Flag]:
    shake = seen.numbers.get("shake", {}).get("shake")
    if not seen.moving or shake is None or shake <= MOST_SHAKE:
        return
    yield Flag(
        id="shake",
        severity="warn",
        value=shake,
        threshold=MOST_SHAKE,
        message=f"The camera shakes: the whole picture jerks to and fro at {shake:.0%} of its width per second.",
        remedy="Stabilise it, or keep it if handheld is the look you train.",
    )


CHECK = Check("shake", judge, _CameraMotion)
