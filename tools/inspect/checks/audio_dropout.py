"""Short gaps in which the sound is torn off and comes back."""

from collections.abc import Iterator

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.audio import Sound

BLOCK_S = 0.005
GONE_DBFS, LOUD_DBFS = -75.0, -45.0
"""A gap is quieter than the first, its surroundings are louder than the second, one block apart."""
SHORTEST_BLOCKS, LONGEST_BLOCKS = 2, 100
MAX_KEPT = 20
FLOOR = 1e-12


class _Gaps(Measure):
    def __init__(self) -> None:
        self.gaps: list[tuple[float, float]] = []
        self.count = 0
        self._rest = np.zeros(0, np.float32)
        self._rest_s = 0.0
        self._levels = np.zeros(0)
        self._levels_s = 0.0

    def hear(self, sound: Sound) -> None:
        block = max(1, round(BLOCK_S * sound.rate_hz))
        if not self._rest.size:
            self._rest_s = sound.time_s
        joined = np.concatenate((self._rest, sound.mono))
        whole = joined.size // block
        squares = np.square(joined[: whole * block].reshape(whole, block)).mean(axis=1)
        if not self._levels.size:
            self._levels_s = self._rest_s
        self._levels = np.concatenate((self._levels, 10 * np.log10(squares + FLOOR)))
        self._rest = joined[whole * block :]
        self._rest_s += whole * block / sound.rate_hz
        if self._levels.size > 8 * LONGEST_BLOCKS:
            self._look(final=False)

    def _look(self, final: bool) -> None:
        """Find the gaps that have ended; keep the last blocks for those that haven't."""
        levels = self._levels
        gone = (levels < GONE_DBFS).view(np.int8)
        edges = np.diff(np.concatenate(([0], gone, [0])))
        done = 0
        for start, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
            if end == levels.size and not final:
                break
            torn = start >= 2 and levels[start - 2] > LOUD_DBFS
            back = end + 1 < levels.size and levels[end + 1] > LOUD_DBFS
            if torn and back and SHORTEST_BLOCKS <= end - start <= LONGEST_BLOCKS:
                self.count += 1
                if len(self.gaps) < MAX_KEPT:
                    times = (self._levels_s + float(edge) * BLOCK_S for edge in (start, end))
                    self.gaps.append((round(next(times), 3), round(next(times), 3)))
            done = int(end)
        kept = max(done, levels.size - LONGEST_BLOCKS - 4)
        self._levels = levels[kept:]
        self._levels_s += kept * BLOCK_S

    def numbers(self) -> Numbers:
        self._look(final=True)
        return {"count": self.count, "gaps": self.gaps}


def judge(seen: Seen) -> Iterator[Flag]:
    numbers = seen.numbers.get("audio_dropout", {})
    if not numbers.get("count"):
        return
    gaps, offset_s = numbers["gaps"], seen.sound_start_s
    yield Flag(
        id="audio_dropout",
        severity="warn",
        value=numbers["count"],
        threshold=0,
        start_s=round(gaps[0][0] + offset_s, 3),
        end_s=round(gaps[-1][1] + offset_s, 3),
        message=f"Its sound drops out {numbers['count']} time{'s' if numbers['count'] > 1 else ''}, first at "
        f"{gaps[0][0] + offset_s:.2f} s for {1000 * (gaps[0][1] - gaps[0][0]):.0f} ms.",
        remedy="Use another recording, or leave the torn part out.",
    )


CHECK = Check("audio_dropout", judge, _Gaps)
