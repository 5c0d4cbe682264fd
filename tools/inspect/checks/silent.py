"""A sound track that holds silence, or is silent for the most part."""

from collections.abc import Iterator

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.checks.spans import MANY_SPANS, Spans
from tools.inspect.report.report import Flag
from tools.inspect.scan.audio import LOWEST_DBFS, Sound, dbfs

SILENT_DBFS = -60.0
SHORTEST_SILENCE_S = 0.5
BLOCK_S = 0.02
"""Level is taken over this long."""
MOSTLY = 0.5


class _Level(Measure):
    """Level of the sound over the clip, of its loudest 20 ms, and its silent stretches."""

    def __init__(self) -> None:
        self._energy = 0.0
        self._values = 0
        self._loudest = 0.0
        self._end_s = 0.0
        self.silences = Spans(SHORTEST_SILENCE_S, MANY_SPANS)

    def hear(self, sound: Sound) -> None:
        samples = sound.samples
        block = max(1, round(BLOCK_S * sound.rate_hz))
        squares = np.einsum("cn,cn->n", samples, samples) / samples.shape[0]
        starts = np.arange(0, squares.size, block)
        sums = np.add.reduceat(squares, starts)
        means = sums / np.diff(np.append(starts, squares.size))
        self._energy += float(sums.sum())
        self._values += squares.size
        self._loudest = max(self._loudest, float(means.max()))
        quiet = means < 10 ** (SILENT_DBFS / 10)
        self._end_s = sound.time_s + squares.size / sound.rate_hz
        if quiet.all() or not quiet.any():
            self.silences.add(sound.time_s, bool(quiet[0]))
            return
        for index in np.flatnonzero(np.diff(quiet, prepend=not quiet[0])).tolist():
            self.silences.add(sound.time_s + index * BLOCK_S, bool(quiet[index]))

    def numbers(self) -> Numbers:
        self.silences.close(self._end_s)
        if not self._values:
            return {}
        return {
            "rms_dbfs": round(dbfs(self._energy / self._values), 2),
            "loudest_dbfs": round(dbfs(self._loudest), 2),
            "silent_s": round(self.silences.total_s, 3),
            "silences": self.silences.spans,
        }


def loudest_dbfs(seen: Seen) -> float:
    """Level of the loudest moment."""
    return float(seen.numbers.get("silent", {}).get("loudest_dbfs", LOWEST_DBFS))


def judge(seen: Seen) -> Iterator[Flag]:
    audio = seen.probe.audio
    if audio is None or not audio.decodable:
        return
    loudest, silences = loudest_dbfs(seen), seen.numbers.get("silent", {}).get("silences", [])
    silent_s = seen.numbers.get("silent", {}).get("silent_s", 0.0)
    if loudest < SILENT_DBFS:
        yield Flag(
            id="silent",
            severity="block" if seen.probe.kind == "audio" else "warn",
            value=round(loudest, 1),
            threshold=SILENT_DBFS,
            message=f"Its sound track is silent: the loudest moment is {loudest:.0f} dBFS.",
            remedy="Export it with its sound, or use it for its pictures only.",
        )
    elif silences and silent_s > MOSTLY * audio.duration_s:
        yield Flag(
            id="silent",
            severity="note",
            value=round(silent_s, 2),
            threshold=round(MOSTLY * audio.duration_s, 2),
            start_s=round(silences[0][0] + seen.sound_start_s, 3),
            end_s=round(silences[-1][1] + seen.sound_start_s, 3),
            message=f"{silent_s:.1f} of its {audio.duration_s:.1f} seconds of sound are silent.",
            remedy="Trim the silence if sound is to be learned from it.",
        )


CHECK = Check("silent", judge, _Level)
