"""Cuts inside a clip: PySceneDetect's content detector, asked only where the picture changes abruptly."""

from collections import deque
from collections.abc import Iterator
from statistics import median

import cv2
import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

THRESHOLD = 27.0
"""The content detector's own default: mean change of hue, saturation and luma."""
ABRUPT_CHANGE = 6.0
"""Luma steps; at a cut the content changes far more, so that nothing below need be asked about."""
ABRUPT_RATIO = 2.0
"""A cut changes this many times as much as the pictures around it; fast motion, whip pans too, changes all of them
alike."""
NEIGHBOURS = 4
"""Pictures before and after that a change is compared with; what has gone by then was a flash."""
RETURNED_SHARE = 0.5
MAX_KEPT = 4000
"""Cuts that are kept with their times: a feature film has one to three thousand, and samples must not cross them."""


class _Cuts(Measure):
    def __init__(self) -> None:
        self.cuts: list[tuple[float, float]] = []
        self.count = 0
        self._before: deque[float] = deque(maxlen=NEIGHBOURS)
        self._candidate: _Candidate | None = None

    def see(self, picture: Frame) -> None:
        change, previous = picture.change, picture.previous
        if change is None or previous is None:
            self._before.clear()
            return
        if self._candidate is not None:
            self._candidate.after.append(change)
            self._candidate.last = picture.small
            if len(self._candidate.after) == NEIGHBOURS:
                self._decide()
        usual = median(self._before) if self._before else 0.0
        stronger = self._candidate is None or change > self._candidate.change
        if change >= ABRUPT_CHANGE and change >= ABRUPT_RATIO * usual and stronger:
            score = content_change(previous.colour, picture.colour)
            if score >= THRESHOLD:
                # one candidate soon after another may be the end of a flash: compare with what was before both
                before = self._candidate.before if self._candidate is not None else previous.small
                self._candidate = _Candidate(picture.time_s, change, score, before)
        self._before.append(change)

    def _decide(self) -> None:
        """Keep the candidate if the picture didn't come back, and calmed down or became another after it."""
        candidate, self._candidate = self._candidate, None
        if candidate is None:
            return
        if candidate.last is not None and candidate.last.shape == candidate.before.shape:
            distance = cv2.norm(candidate.last, candidate.before, cv2.NORM_L1) / candidate.before.size
            if distance < RETURNED_SHARE * candidate.change:
                return
        if candidate.after and candidate.change < ABRUPT_RATIO * median(candidate.after):
            return
        self.count += 1
        if len(self.cuts) < MAX_KEPT:
            self.cuts.append((round(candidate.time_s, 3), round(candidate.score, 1)))

    def numbers(self) -> Numbers:
        self._decide()
        return {"count": self.count, "cuts": self.cuts}


class _Candidate:
    def __init__(self, time_s: float, change: float, score: float, before: np.ndarray) -> None:
        self.time_s, self.change, self.score, self.before = time_s, change, score, before
        self.after: list[float] = []
        self.last: np.ndarray | None = None


def content_change(before: np.ndarray, after: np.ndarray) -> float:
    """Return PySceneDetect's content score of two successive frames (uint8 BGR, same shape)."""
    from scenedetect import FrameTimecode
    from scenedetect.detectors import ContentDetector
    from scenedetect.stats_manager import StatsManager

    if before.shape != after.shape:
        return 255.0
    detector = ContentDetector()
    detector.stats_manager = StatsManager()
    first, second = FrameTimecode(0, 25.0), FrameTimecode(1, 25.0)
    detector.process_frame(first, before)
    detector.process_frame(second, after)
    return float(detector.stats_manager.get_metrics(second, [ContentDetector.FRAME_SCORE_KEY])[0])


def judge(seen: Seen) -> Iterator[Flag]:
    numbers = seen.numbers.get("scene_cut", {})
    if not seen.moving or not numbers.get("cuts"):
        return
    times = [time_s for time_s, _ in numbers["cuts"]]
    listed = ", ".join(f"{time_s:.2f} s" for time_s in times[:5]) + (", …" if numbers["count"] > 5 else "")
    yield Flag(
        id="scene_cut",
        severity="warn",
        value=max(score for _, score in numbers["cuts"]),
        threshold=THRESHOLD,
        start_s=times[0],
        end_s=times[-1],
        message=f"It holds {numbers['count']} cut{'s' if numbers['count'] > 1 else ''} (at {listed}). Its samples are "
        "taken between them, but they share one caption.",
        remedy="Split it at its cuts, and each shot gets a caption of its own.",
    )


CHECK = Check("scene_cut", judge, _Cuts)
