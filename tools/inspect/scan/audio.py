"""A piece of decoded sound as the measures hear it."""

from functools import cached_property

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from trainer_core.data.media.decode import planar_float

LOWEST_DBFS = -120.0
NARROW_HZ = 16000
"""Voices and notes are looked for at this rate."""


class Narrower:
    """Resamples the sound of one clip, piece after piece, to mono at NARROW_HZ."""

    def __init__(self) -> None:
        self._form: tuple[int, str, str] | None = None
        self._resampler = AudioResampler(format="flt", layout="mono", rate=NARROW_HZ)

    def narrowed(self, frame: AudioFrame) -> np.ndarray:
        """float32 [N] in -1..1; nothing where the resampler refuses the sound."""
        form = frame.sample_rate, frame.layout.name, frame.format.name
        if form != self._form:
            self._form, self._resampler = form, AudioResampler(format="flt", layout="mono", rate=NARROW_HZ)
        pts, frame.pts = frame.pts, None
        try:
            parts = [part.to_ndarray().reshape(-1) for part in self._resampler.resample(frame)]
        except (av.FFmpegError, ValueError):
            parts = []
        finally:
            frame.pts = pts
        if not parts:
            return np.zeros(0, np.float32)
        return np.clip(np.nan_to_num(np.concatenate(parts), posinf=0, neginf=0), -1, 1)


class Sound:
    """Some consecutive sound; `time_s` counts from the first sound of the clip. `narrower` goes with the clip."""

    def __init__(self, time_s: float, frame: AudioFrame, narrower: Narrower) -> None:
        self.time_s = time_s
        self.frame = frame
        self.rate_hz = frame.sample_rate
        self.narrow = narrower.narrowed(frame)
        """float32 [N]: mono at NARROW_HZ."""

    @cached_property
    def samples(self) -> np.ndarray:
        """float32 [C, N] in -1..1; values that are no numbers are silence."""
        samples = planar_float(self.frame)
        return samples if np.isfinite(np.dot(samples[0], samples[0])) else np.nan_to_num(samples, posinf=0, neginf=0)

    @cached_property
    def mono(self) -> np.ndarray:
        """float32 [N]: the mean of the channels."""
        return self.samples[0] if self.samples.shape[0] == 1 else self.samples.mean(axis=0)

    @cached_property
    def peak(self) -> float:
        """The largest magnitude in any channel."""
        return float(max(self.samples.max(initial=0.0), -self.samples.min(initial=0.0)))


def dbfs(mean_square: float) -> float:
    """Level of a mean square; 0 is a full-scale square wave, LOWEST_DBFS the least."""
    return max(LOWEST_DBFS, 10 * float(np.log10(mean_square))) if mean_square > 0 else LOWEST_DBFS
