"""A clip's audio for captioning: one channel for models to hear, and measures of it."""

import io
import math
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame

from trainer_core.data.media.decode import Damage, decoded, opened, sound_stream

SOUND_RATE_HZ = 16000
"""What speech models and audio language models listen at."""
MAX_HEARD_S = 60.0
"""Longer clips are described by their first minute: training windows are seconds long."""
SOUND_BLOCK_S = 0.05
SILENCE_DBFS = -60.0


@dataclass(frozen=True)
class SoundMeasures:
    """Measures of a clip's sound; `pitch_hz` is the strongest frequency, None when there is only silence."""

    duration_s: float
    level_dbfs: float
    silence_share: float
    spread_db: float
    pitch_hz: float | None


def read_sound(path: Path, longest_s: float = MAX_HEARD_S) -> np.ndarray | None:
    """Return the first `longest_s` of the sound as float32 [N] at SOUND_RATE_HZ, mixed to one channel.

    None when there is none that decodes. Raises DataError for a file that can't be opened.
    """
    most = int(longest_s * SOUND_RATE_HZ)
    parts: list[np.ndarray] = []
    heard = 0
    with opened(path) as container:
        stream = sound_stream(container)
        if stream is None or stream.codec_context is None:
            return None
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SOUND_RATE_HZ)
        try:
            for frame in decoded(container, [stream], Damage()):
                if not isinstance(frame, AudioFrame):
                    continue
                parts += [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
                heard = sum(len(part) for part in parts)
                if heard >= most:
                    break
        except av.FFmpegError:  # the sound changes its layout on the way: what was heard before counts
            pass
    return np.concatenate(parts)[:most] if heard else None


def wav_bytes(samples: np.ndarray) -> bytes:
    """Return float32 [N] at SOUND_RATE_HZ as a 16-bit WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def measure_sound(path: Path) -> SoundMeasures | None:
    """Decode the sound once and measure it; None when there is none that decodes."""
    samples = read_sound(path)
    return None if samples is None else measure_samples(samples)


def measure_samples(samples: np.ndarray) -> SoundMeasures:
    """Measure float32 [N] at SOUND_RATE_HZ."""
    block = int(SOUND_BLOCK_S * SOUND_RATE_HZ)
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % block)).reshape(-1, block)
    levels = np.array([_dbfs(float(np.mean(part**2))) for part in padded])
    loud = levels > SILENCE_DBFS
    return SoundMeasures(
        duration_s=len(samples) / SOUND_RATE_HZ,
        level_dbfs=_dbfs(float(np.mean(samples.astype(np.float64) ** 2))),
        silence_share=float(1 - loud.mean()),
        spread_db=float(np.std(levels[loud])) if loud.any() else 0.0,
        pitch_hz=_strongest_frequency(padded[loud]) if loud.any() else None,
    )


def _strongest_frequency(blocks: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(blocks * np.hanning(blocks.shape[1]), axis=1)).mean(axis=0)
    return float((1 + np.argmax(spectrum[1:])) / SOUND_BLOCK_S)


def _dbfs(mean_square: float) -> float:
    return 10 * math.log10(mean_square) if mean_square > 0 else -120.0
