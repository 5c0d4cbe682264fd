"""Reading sound of one file, on its pictures' clock. No torch. Arrays: C channels, N samples."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from trainer_core.data.media.decode import (
    LONGEST_AUDIO_PADDING_S,
    SEEK_MARGIN_S,
    Damage,
    decoded,
    opened,
    picture_stream,
    planar_float,
    seek_to,
    sound_stream,
    timed_pictures,
)
from trainer_core.errors import DataError

CONTIGUOUS_S = 0.005
"""Sound packets closer than this are one stream; some containers round their times to milliseconds."""
RESAMPLER_MARGIN_S = 0.1


def read_audio(path: Path, start_s: float, duration_s: float, sample_rate_hz: int) -> np.ndarray | None:
    """Return float32 [2, N], N = round(duration_s * sample_rate_hz), on the pictures' clock; None without a stream.

    Any layout is mixed to stereo. Sound that starts after its window does is preceded by silence; a tail shorter than
    LONGEST_AUDIO_PADDING_S is padded. Raises DataError when more is missing or the sound can't be decoded.
    """
    wanted = round(duration_s * sample_rate_hz)
    with opened(path) as container:
        stream = sound_stream(container)
        if stream is None:
            return None
        if stream.codec_context is None:
            raise DataError(
                f"The sound of {path.name!r} is in a format that can't be decoded.", "Export it with AAC sound."
            )
        origin_s = _clock_origin_s(container, stream)
    margins_s = duration_s + 2 * RESAMPLER_MARGIN_S
    window = _SoundWindow(path, origin_s + start_s - RESAMPLER_MARGIN_S, margins_s)
    early_s = origin_s + start_s - SEEK_MARGIN_S if start_s > 2 * SEEK_MARGIN_S else None
    if not _fill(window, early_s):
        window = _SoundWindow(path, window.start_s, margins_s)
        _fill(window, None)
    window.check_end(origin_s + start_s + duration_s)
    resampled = window.resampled(sample_rate_hz)
    skipped = round(RESAMPLER_MARGIN_S * sample_rate_hz)
    cut = resampled[:, skipped : skipped + wanted]
    return np.ascontiguousarray(np.pad(cut, ((0, 0), (0, wanted - cut.shape[1]))))


def clock_origin_s(path: Path) -> float:
    """Second 0 of a clip's clock in the times of its file."""
    with opened(path) as container:
        return _clock_origin_s(container, sound_stream(container))


def _clock_origin_s(container: InputContainer, sound: AudioStream | None) -> float:
    """The time of the first picture, or of the first sound where there are no pictures."""
    picture = picture_stream(container)
    if picture is not None:
        first = next(timed_pictures(container, picture), None)
        return first[0] if first is not None else 0.0
    for frame in decoded(container, [sound], Damage()) if sound is not None else ():
        if frame.time is not None:
            return frame.time
    return 0.0


def _fill(window: "_SoundWindow", early_s: float | None) -> bool:
    """Decode the window's sound, from `early_s` on or from the start; False when seeking there went wrong."""
    with opened(window.path) as container:
        stream = sound_stream(container)
        assert stream is not None
        if early_s is not None and not seek_to(container, stream, early_s):
            return False
        damage = Damage()
        for frame in decoded(container, [stream], damage):
            if not isinstance(frame, AudioFrame):
                continue
            landed_late = window.next_index is None and (frame.time is None or frame.time > window.start_s)
            if early_s is not None and landed_late:
                return False
            if not window.add(frame, damage.counts["audio"]):
                break
    return early_s is None or window.next_index is not None


class _SoundWindow:
    """Collects the sound of one stretch of time at the stream's own rate; what the stream doesn't hold stays silent."""

    def __init__(self, path: Path, start_s: float, duration_s: float) -> None:
        self.path, self.start_s, self.duration_s = path, start_s, duration_s
        self.rate_hz = self.length = 0
        self.buffer: np.ndarray | None = None
        self.layout = ""
        self.next_index: int | None = None
        self.damaged_packets = 0

    def add(self, frame: AudioFrame, damaged_packets: int) -> bool:
        """Place one frame by its time; False when it lies after the window. Raises DataError for a damaged stretch."""
        samples = planar_float(frame)
        if self.buffer is None:
            self.rate_hz, self.layout = frame.sample_rate, frame.layout.name
            self.length = math.ceil(self.duration_s * self.rate_hz)
            self.buffer = np.zeros((samples.shape[0], self.length), np.float32)
        if samples.shape[0] != self.buffer.shape[0] or frame.sample_rate != self.rate_hz:
            raise DataError(
                f"The sound of {self.path.name!r} changes its channels or sample rate on the way.", "Export it again."
            )
        index = self.next_index if self.next_index is not None else 0
        if frame.time is not None:
            timed = round((frame.time - self.start_s) * self.rate_hz)
            gap_s = (timed - index) / self.rate_hz
            if self.next_index is None or abs(gap_s) > CONTIGUOUS_S:
                inside = timed > 0 and index < self.length
                if inside and damaged_packets > self.damaged_packets and gap_s > LONGEST_AUDIO_PADDING_S:
                    raise DataError(
                        f"The sound of {self.path.name!r} can't be decoded for {gap_s:.2f} s.",
                        "Copy or export it again.",
                    )
                index = timed
        self.damaged_packets = damaged_packets
        first, last = max(index, 0), min(index + samples.shape[1], self.length)
        if last > first:
            self.buffer[:, first:last] = samples[:, first - index : last - index]
        self.next_index = index + samples.shape[1]
        return index < self.length

    def check_end(self, end_s: float) -> None:
        """Refuse sound that ends before `end_s` by more than may be padded."""
        sound_ends_s = -math.inf if self.next_index is None else self.start_s + self.next_index / self.rate_hz
        if sound_ends_s >= end_s - LONGEST_AUDIO_PADDING_S:
            return
        missing = (
            "no sound can be decoded" if self.next_index is None else f"it ends {end_s - sound_ends_s:.2f} s early"
        )
        raise DataError(
            f"The sound of {self.path.name!r} doesn't fill its window: {missing}, "
            f"at most {LONGEST_AUDIO_PADDING_S} s may be missing.",
            "Inspect the clips again, or train on its pictures only.",
        )

    def resampled(self, sample_rate_hz: int) -> np.ndarray:
        """The window as float32 [2, N'] at `sample_rate_hz`."""
        assert self.buffer is not None
        frame = AudioFrame.from_ndarray(self.buffer, format="fltp", layout=self.layout)
        frame.sample_rate = self.rate_hz
        frame.time_base = Fraction(1, self.rate_hz)
        frame.pts = 0
        resampler = AudioResampler(format="fltp", layout="stereo", rate=sample_rate_hz)
        parts = [part.to_ndarray() for part in (*resampler.resample(frame), *resampler.resample(None))]
        return np.concatenate(parts, axis=1)
