"""A piece of decoded sound as the measures hear it."""

from functools import cached_property

import numpy as np
from av.audio.frame import AudioFrame

from trainer_core.data.decode import planar_float

LOWEST_DBFS = -120.0


class Sound:
    """Some consecutive sound; `time_s` counts from the first sound of the clip."""

    def __init__(self, time_s: float, frame: AudioFrame) -> None:
        self.time_s = time_s
        self.frame = frame
        self.rate_hz = frame.sample_rate

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
