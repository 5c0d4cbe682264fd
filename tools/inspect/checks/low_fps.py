"""Fewer different pictures per second than the samples will have, by the camera or by repeated pictures."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

SLOWEST_SHARE = 0.9
"""A clip slower than this share of the working rate shows repeated pictures."""
REPEATED_CHANGE = 0.02
"""Luma steps by which a repeated picture differs at most; encoders copy it as it is."""
MOVING_CHANGE = 0.3
LONGEST_REPEAT = 5
"""More equal pictures in a row than this are a still moment, not a slow camera."""
FEWEST_MOVES = 12


class _Repeats(Measure):
    """Counts pictures that repeat the one before while the clip moves."""

    def __init__(self) -> None:
        self.moves = 0
        self.repeats = 0
        self._run = 0

    def see(self, picture: Frame) -> None:
        if picture.change is None:
            return
        if picture.change <= REPEATED_CHANGE:
            self._run += 1
        elif picture.change >= MOVING_CHANGE:
            self.moves += 1
            if self._run <= LONGEST_REPEAT:
                self.repeats += self._run
            self._run = 0

    def numbers(self) -> Numbers:
        return {"moves": self.moves, "repeats": self.repeats}


def judge(seen: Seen) -> Iterator[Flag]:
    probe, threshold = seen.probe, SLOWEST_SHARE * seen.frame_rate
    if not seen.moving or probe.fps is None:
        return
    fps = probe.fps
    if probe.damaged_packets:  # the pictures that damage took don't make the footage slower
        fps *= max(probe.frames + probe.damaged_packets, probe.header_frames or 0) / probe.frames
    numbers = seen.numbers.get("low_fps", {})
    moves, repeats = numbers.get("moves", 0), numbers.get("repeats", 0)
    true_fps = fps * moves / (moves + repeats) if moves >= FEWEST_MOVES else fps
    if true_fps >= threshold:
        return
    message = f"It has {fps:.4g} fps; at {seen.frame_rate:g} fps pictures are repeated and motion stutters."
    if fps >= threshold:
        message = f"Of its {fps:.4g} pictures per second only {true_fps:.3g} differ: slower footage, blown up."
    yield Flag(
        id="low_fps",
        severity="warn",
        value=round(true_fps, 3),
        threshold=round(threshold, 3),
        message=message,
        remedy="Use a take at a higher frame rate, or leave it out if motion matters.",
    )


CHECK = Check("low_fps", judge, _Repeats)
