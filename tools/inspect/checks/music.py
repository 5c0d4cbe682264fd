"""Detects music by held notes and a pulse. It flags nothing; captions ask for it.

A measure, no understanding: a machine that beeps in time may be taken for music, an ambient drone is left open.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.audio import NARROW_HZ, Sound

FEWEST_SECONDS = 3.0
"""Of audible sound; less says nothing."""
AUDIBLE_PEAK = 1e-3

POINTS, HOP = 4096, 2048
"""Spectra of a quarter of a second: a voice glides within it, a note doesn't."""
LOWEST_HZ, HIGHEST_HZ = 110.0, 4000.0
AROUND = 20
"""Bins on each side whose mean is what a peak stands out from."""
PROMINENCE, WEAKEST = 3.5, 0.01
"""A peak's magnitude, against its surroundings and against the loudest peak."""
HELD_SPECTRA = 4
"""A peak is a held note when it stays in its place for so many spectra: 0.64 s."""
FEWEST_SHARE = 0.03
"""Of all that is held a pitch class must have this to count."""

ENVELOPE_HOP = 256
BAND_EDGES = (1, 4, 8, 16, 32, 64, 128)
PULSE_BLOCK = 512
"""Values of the envelope of beginnings, 16 ms each: 8.2 s, in which the pulse may change."""
SHORTEST_BLOCK = 240
FASTEST_S, SLOWEST_S = 0.25, 1.5

TONAL, TONELESS = 0.06, 0.05
PULSING, PULSELESS, MECHANICAL = 0.3, 0.3, 0.85
FEWEST_CLASSES, FEWEST_NOTES_A_SECOND = 3, 1.5
"""Limits set on five-second pieces of two produced tracks, on synthetic voices in three languages, and on noise, wind,
sirens, hums, engines and birds made by a script: no piece of music was denied, and no other sound taken for music."""


class _Music(Measure):
    def __init__(self) -> None:
        self._notes = _HeldNotes()
        self._pulse = _Pulse()
        self._heard = 0

    def hear(self, sound: Sound) -> None:
        self._heard += sound.narrow.size
        self._notes.hear(sound.narrow)
        self._pulse.hear(sound.narrow)

    def numbers(self) -> Numbers:
        notes = self._notes
        audible_s = notes.audible * HOP / NARROW_HZ
        if audible_s < FEWEST_SECONDS:
            return {}
        clarity = self._pulse.clarity()
        held = notes.by_class.sum()
        return {
            "tonality": round(notes.share / notes.audible, 3),
            "pitch_classes": int((notes.by_class > FEWEST_SHARE * held).sum()) if held > 0 else 0,
            "notes_a_second": round(notes.begun / audible_s, 2),
            "pulse_clarity": None if clarity is None else round(clarity, 3),
        }


class _HeldNotes:
    """Peaks of the spectrum that stay where they are.

    `share` sums, over the audible spectra, how much of their energy is in such peaks; `by_class` that by the twelve
    pitch classes; `begun` counts the peaks.
    """

    def __init__(self) -> None:
        self.audible = 0
        self.share = 0.0
        self.begun = 0
        self.by_class = np.zeros(12)
        self._rest = np.zeros(0, np.float32)
        self._taper = np.hanning(POINTS).astype(np.float32)
        self._low, self._high = (int(hz * POINTS / NARROW_HZ) for hz in (LOWEST_HZ, HIGHEST_HZ))
        centres_hz = np.arange(self._low, self._high) * NARROW_HZ / POINTS
        self._classes = np.round(12 * np.log2(centres_hz / 440)).astype(np.int64) % 12
        self._stayed = np.zeros(centres_hz.size, np.int64)

    def hear(self, narrow: np.ndarray) -> None:
        joined = np.concatenate((self._rest, narrow))
        count = max(0, (joined.size - POINTS) // HOP + 1)
        for index in range(count):
            piece = joined[index * HOP : index * HOP + POINTS]
            if float(np.abs(piece).max()) < AUDIBLE_PEAK:
                self._stayed[:] = 0
            else:
                self._take(np.abs(np.fft.rfft(piece * self._taper)))
        self._rest = joined[count * HOP :]

    def _take(self, spectrum: np.ndarray) -> None:
        self.audible += 1
        around = spectrum[self._low - AROUND : self._high + AROUND]
        sums = np.cumsum(around)
        inner = around[AROUND:-AROUND]
        width = 2 * AROUND
        surroundings = np.empty_like(inner)
        surroundings[0] = sums[width] / (width + 1)
        surroundings[1:] = (sums[width + 1 :] - sums[: -width - 1]) / (width + 1)
        lower, upper = around[AROUND - 1 : -AROUND - 1], around[AROUND + 1 : -AROUND + 1]
        peaks = (inner > lower) & (inner >= upper) & (inner > PROMINENCE * surroundings)
        peaks &= inner > WEAKEST * inner.max()
        before = self._stayed.copy()  # a note may move by a bin from one spectrum to the next
        np.maximum(before[1:], self._stayed[:-1], out=before[1:])
        np.maximum(before[:-1], self._stayed[1:], out=before[:-1])
        self._stayed = np.where(peaks, before + 1, 0)
        held = np.flatnonzero(self._stayed >= HELD_SPECTRA)
        if not held.size:
            return
        energy = (inner[held] ** 2 + lower[held] ** 2 + upper[held] ** 2) / float(np.dot(inner, inner))
        self.share += min(1.0, float(energy.sum()))
        self.by_class += np.bincount(self._classes[held], energy, 12)
        self.begun += int((self._stayed[held] == HELD_SPECTRA).sum())


class _Pulse:
    """How regularly sounds begin: the autocorrelation of the envelope of beginnings, over blocks of eight seconds."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._taper = np.hanning(ENVELOPE_HOP).astype(np.float32)
        self._loudest = 1e-9
        self._last = np.zeros((0, len(BAND_EDGES) - 1))
        self._envelope = np.zeros(0)
        self._sum = self._weight = 0.0

    def hear(self, narrow: np.ndarray) -> None:
        joined = np.concatenate((self._rest, narrow))
        count = joined.size // ENVELOPE_HOP
        self._rest = joined[count * ENVELOPE_HOP :]
        if not count:
            return
        frames = joined[: count * ENVELOPE_HOP].reshape(count, ENVELOPE_HOP)
        spectra = np.abs(np.fft.rfft(frames * self._taper, axis=1)) ** 2
        bands = np.add.reduceat(spectra, BAND_EDGES, axis=1)[:, :-1]
        self._loudest = max(self._loudest, float(bands.max()))
        levels = np.concatenate((self._last, np.log(bands + 1e-6 * self._loudest)))
        self._last = levels[-1:]
        rises = np.maximum(0, np.diff(levels, axis=0)).sum(axis=1)
        self._envelope = np.concatenate((self._envelope, rises))
        while self._envelope.size >= PULSE_BLOCK:
            self._close(self._envelope[:PULSE_BLOCK])
            self._envelope = self._envelope[PULSE_BLOCK:]

    def _close(self, envelope: np.ndarray) -> None:
        size = envelope.size
        power = np.abs(np.fft.rfft(envelope - envelope.mean(), 2 * PULSE_BLOCK)) ** 2
        likeness = np.fft.irfft(power)[:size] * size / (size - np.arange(size))
        first, last = (round(seconds * NARROW_HZ / ENVELOPE_HOP) for seconds in (FASTEST_S, SLOWEST_S))
        if likeness[0] > 0:
            self._sum += size * float(np.clip(likeness[first:last].max() / likeness[0], 0, 1))
            self._weight += size

    def clarity(self) -> float | None:
        """The mean of the blocks' highest peaks at a beat's distance; None if there was too little sound."""
        if self._envelope.size >= SHORTEST_BLOCK or (not self._weight and self._envelope.size >= PULSE_BLOCK // 3):
            self._close(self._envelope)
        self._envelope = np.zeros(0)
        return self._sum / self._weight if self._weight else None


def music_likely(numbers: Mapping[str, Any]) -> bool | None:
    """Return True for notes that change and are held over a pulse, False without either, else None."""
    clarity = numbers.get("pulse_clarity")
    if clarity is None:
        return None
    if numbers["tonality"] < TONELESS and clarity < PULSELESS:
        return False
    several = numbers["pitch_classes"] >= FEWEST_CLASSES and numbers["notes_a_second"] >= FEWEST_NOTES_A_SECOND
    if numbers["tonality"] >= TONAL and several and PULSING <= clarity < MECHANICAL:
        return True
    return None


def judge(seen: Seen) -> Iterator[Flag]:
    """Nothing: music is no fault."""
    del seen
    return iter(())


CHECK = Check("music", judge, _Music)
