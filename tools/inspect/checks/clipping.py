"""Sound that was recorded or mixed too loud and cut off at full scale."""

from collections.abc import Iterator

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.audio import Sound

FULL_SCALE = 0.985
"""Magnitude that counts as cut off; lossy coding lets flat tops ripple a little."""
FLAT_SAMPLES = 4
"""So many samples in a row at full scale are a flat top; a loud but whole wave only touches it."""
FLAT_TOPS_A_SECOND = 2.0


class _FlatTops(Measure):
    def __init__(self) -> None:
        self._tops = 0
        self._peak = 0.0
        self._duration_s = 0.0
        self._first_s: float | None = None
        self._last_s = 0.0

    def hear(self, sound: Sound) -> None:
        self._peak = max(self._peak, sound.peak)
        self._duration_s += sound.samples.shape[1] / sound.rate_hz
        if sound.peak < FULL_SCALE:
            return
        tops = max(_flat_tops(np.abs(channel) >= FULL_SCALE) for channel in sound.samples)
        if tops:
            self._tops += tops
            self._first_s = sound.time_s if self._first_s is None else self._first_s
            self._last_s = sound.time_s + sound.samples.shape[1] / sound.rate_hz

    def numbers(self) -> Numbers:
        return {
            "peak": round(self._peak, 5),
            "per_s": round(self._tops / self._duration_s, 3) if self._duration_s else 0.0,
            "span": [round(self._first_s or 0.0, 3), round(self._last_s, 3)],
        }


def _flat_tops(full: np.ndarray) -> int:
    edges = np.diff(np.concatenate(([0], full.view(np.int8), [0])))
    lengths = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
    return int(np.count_nonzero(lengths >= FLAT_SAMPLES))


def judge(seen: Seen) -> Iterator[Flag]:
    numbers = seen.numbers.get("clipping", {})
    if numbers.get("per_s", 0.0) <= FLAT_TOPS_A_SECOND:
        return
    start_s, end_s = numbers["span"]
    yield Flag(
        id="clipping",
        severity="warn",
        value=numbers["per_s"],
        threshold=FLAT_TOPS_A_SECOND,
        start_s=round(start_s + seen.sound_start_s, 3),
        end_s=round(end_s + seen.sound_start_s, 3),
        message=f"Its sound is cut off at full scale {numbers['per_s']:.0f} times per second: it is distorted.",
        remedy="Use a cleaner recording; turning it down doesn't bring back what was cut off.",
    )


CHECK = Check("clipping", judge, _FlatTops)
