"""Sound without its upper range or without its second side: a low rate, sound blown up from one, mono."""

from collections.abc import Iterator

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.audio import Sound

LOWEST_RATE_HZ = 32000
NARROWEST_HZ = 9000.0
POINTS = 2048
INTERVAL_S = 0.25
GONE_DB = -80.0
"""Below the strongest frequency; past a low-pass filter there is nothing at all."""
FILLED_DB, FILLED_SHARE = -60.0, 0.5
"""Of the band below its end half must sound louder than that: a pure tone has no band."""
LOUD_ENOUGH = 1e-3
SAME_SHARE = 1e-4
"""Energy of the difference of two channels, as a share of their sum, below which they are the same."""


class _Band(Measure):
    """The mean spectrum, a few times per second, and the difference of the first two channels."""

    def __init__(self) -> None:
        self._spectrum = np.zeros(POINTS // 2 + 1)
        self._taper = np.hanning(POINTS).astype(np.float32)
        self._next_s = 0.0
        self._rest = np.zeros(0, np.float32)
        self._rate_hz = 0
        self._taken = 0
        self._together = self._apart = 0.0
        self._sides = np.zeros(2)

    def hear(self, sound: Sound) -> None:
        samples = sound.samples
        self._rate_hz = sound.rate_hz
        if samples.shape[0] == 2:
            left, right = samples
            energies = np.array([np.dot(left, left), np.dot(right, right)])
            difference = left - right
            self._sides += energies
            self._together += float(energies.sum())
            self._apart += float(np.dot(difference, difference))
        if sound.time_s < self._next_s:
            return
        self._rest = np.concatenate((self._rest, sound.mono))
        if self._rest.size < POINTS:
            return
        piece, self._rest = self._rest[:POINTS], np.zeros(0, np.float32)
        self._next_s = sound.time_s + INTERVAL_S
        if float(np.abs(piece).max()) >= LOUD_ENOUGH:
            self._spectrum += np.abs(np.fft.rfft(piece * self._taper)) ** 2
            self._taken += 1

    def numbers(self) -> Numbers:
        numbers: Numbers = {}
        if self._together > 0:
            numbers["same_sides"] = self._apart / self._together < SAME_SHARE
            numbers["dead_side"] = bool(self._sides.min() < 1e-6 * self._sides.max())
        if self._taken and self._rate_hz:
            levels = 10 * np.log10(self._spectrum / self._taken + 1e-20)
            sounding = levels > levels.max() + GONE_DB
            top = int(np.flatnonzero(sounding)[-1])
            numbers["band_hz"] = round(top * self._rate_hz / POINTS)
            numbers["filled"] = round(float(np.mean(levels[: top + 1] > levels.max() + FILLED_DB)), 3)
        return numbers


def judge(seen: Seen) -> Iterator[Flag]:
    audio, numbers = seen.probe.audio, seen.numbers.get("low_sample_rate", {})
    if audio is None or audio.sample_rate_hz is None:
        return
    band_hz, filled = numbers.get("band_hz"), numbers.get("filled", 0.0)
    if audio.sample_rate_hz < LOWEST_RATE_HZ:
        yield Flag(
            id="low_sample_rate",
            severity="warn",
            value=audio.sample_rate_hz,
            threshold=LOWEST_RATE_HZ,
            message=f"Its sound has {audio.sample_rate_hz} samples per second: nothing above "
            f"{audio.sample_rate_hz / 2000:.1f} kHz.",
            remedy="Use the original recording if there is one; the model learns the dull sound.",
        )
    elif band_hz is not None and band_hz < NARROWEST_HZ and filled >= FILLED_SHARE:
        yield Flag(
            id="low_sample_rate",
            severity="warn",
            value=band_hz,
            threshold=NARROWEST_HZ,
            message=f"Its sound ends at {band_hz / 1000:.1f} kHz: it was blown up from a lower sample rate or strongly "
            "compressed.",
            remedy="Use the original recording if there is one; the model learns the dull sound.",
        )
    if numbers.get("dead_side"):
        yield Flag(
            id="mono",
            severity="warn",
            value="one side silent",
            message="One of its two channels is silent.",
            remedy="Put the sound on both sides.",
        )
    elif audio.channels == 1 or numbers.get("same_sides"):
        yield Flag(
            id="mono",
            severity="note",
            value="mono" if audio.channels == 1 else "both sides alike",
            message="Its sound is mono.",
            remedy="Nothing to do: it trains as stereo with both sides alike.",
        )


CHECK = Check("low_sample_rate", judge, _Band)
