"""Opening and decoding one file with PyAV: streams, frames, damage, times. No torch.

The clock of a clip starts at its first decodable picture (at its first sound when it has none): second 0 of `start_s`,
of windows and of every time in a probe. Headers are never trusted: frames are counted and timed by decoding.
Arrays: C channels, N samples.
"""

import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from trainer_core.errors import DataError

# Containers and pictures that are read. Left out on purpose: playlists (hls, concat, dash), which open other files and
# addresses, and text shown as video (tty).
CONTAINERS = (
    "3gp,aac,ac3,aiff,amr,apng,asf,avi,bmp_pipe,caf,dv,eac3,flac,flv,gif,h264,hevc,image2,ivf,jpeg_pipe,m4v,matroska,"
    "mov,mp3,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,png_pipe,tiff_pipe,w64,wav,webm,webp_pipe,yuv4mpegpipe"
)
LONGEST_AUDIO_PADDING_S = 0.1
"""Sound may end this much before its window does; encoders round sound to whole packets of 20 to 60 ms."""
SEEK_MARGIN_S = 1.0
"""Decoding starts this early, so that key frames out of order and decoders that warm up are no matter."""
ONE_THREAD_BYTES = 16 << 20
"""Files up to this size are decoded by one thread: many are looked at side by side, and threads that wait for each
other cost time. A file's size decides, so that whoever reads it finds the same frames behind its damage."""
MAX_PIXELS = 1 << 27
"""The largest picture that is decoded, 134 megapixels: more than any camera's, less than a header can claim."""


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a regular media file; never waits on a pipe, never follows a playlist. Raises DataError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path.name!r} is not a regular file.", "Remove it from the clips folder.")
        path.open("rb").close()
    except OSError as error:
        raise DataError(
            f"{path.name!r} can't be read: {error.strerror or error}.", "Check that it exists and that you may read it."
        ) from error
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file", "pattern_type": "none"}
    try:
        container = av.open(os.fspath(path.absolute()), options=options, metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        raise DataError(
            f"{path.name!r} can't be decoded: it is damaged, incomplete or no media file.", "Copy or export it again."
        ) from error
    with container:
        yield container


def picture_stream(container: InputContainer) -> VideoStream | None:
    """The first stream of pictures that isn't the cover picture of a sound file."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise DataError(
                    f"The pictures of {Path(container.name).name!r} are in a format that can't be decoded.",
                    "Export it with H.264.",
                )
            stream.thread_type = "NONE" if container.size <= ONE_THREAD_BYTES else "AUTO"
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The first stream of sound, None without one."""
    return container.streams.audio[0] if container.streams.audio else None


def codec_name(stream: VideoStream | AudioStream) -> str:
    """Return the stream's codec, for messages."""
    return stream.codec_context.name if stream.codec_context is not None else "unknown codec"


@dataclass
class Damage:
    """Packets that could not be decoded: how many of each type, and after how many good frames the last one came."""

    counts: dict[str, int] = field(default_factory=lambda: {"video": 0, "audio": 0})
    good: dict[str, int] = field(default_factory=lambda: {"video": 0, "audio": 0})
    last_at: dict[str, int] = field(default_factory=dict)

    def record(self, kind: str) -> None:
        self.counts[kind] += 1
        self.last_at[kind] = self.good[kind]


def decoded(
    container: InputContainer, streams: Sequence[VideoStream | AudioStream], damage: Damage
) -> Iterator[VideoFrame | AudioFrame]:
    """Yield the good frames of `streams` in file order; what can't be decoded or is marked corrupt goes to `damage`."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            for stream in streams:
                damage.record(stream.type)
            return
        kind = packet.stream.type
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damage.record(kind)
            continue
        for frame in frames:
            if not isinstance(frame, VideoFrame | AudioFrame):
                continue
            if frame.is_corrupt:
                damage.record(kind)
                continue
            damage.good[kind] += 1
            yield frame


class Timeline:
    """Gives pictures strictly increasing times; a file without timestamps is timed by its nominal rate."""

    def __init__(self, interval_s: float) -> None:
        self.nominal_interval_s = interval_s
        self.last_s: float | None = None

    def time_of(self, frame: VideoFrame) -> float | None:
        """The frame's time, or None when it isn't later than the one before it and so is never shown."""
        time_s = frame.time
        if time_s is None:
            time_s = 0.0 if self.last_s is None else self.last_s + self.nominal_interval_s
        if self.last_s is not None and time_s <= self.last_s:
            return None
        self.last_s = time_s
        return time_s


def nominal_interval_s(stream: VideoStream) -> float:
    """Seconds between pictures by the header's rate, for files without timestamps."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return float(1 / rate)


def tick_s(stream: VideoStream) -> float:
    """Rounding error of a timestamp in the container's time base; always well under a frame."""
    tick_s = float(stream.time_base) if stream.time_base else 0.0
    return min(tick_s, 0.25 * nominal_interval_s(stream)) + 1e-6


def timed_pictures(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
    """Yield the pictures that are shown, with their times in the file."""
    timeline = Timeline(nominal_interval_s(stream))
    for frame in decoded(container, [stream], Damage()):
        if isinstance(frame, VideoFrame):
            time_s = timeline.time_of(frame)
            if time_s is not None:
                yield time_s, frame


def seek_to(container: InputContainer, stream: VideoStream | AudioStream, time_s: float) -> bool:
    """Go to a key frame at or before `time_s`; False where the container can't. What follows must be checked."""
    if not stream.time_base:
        return False
    try:
        container.seek(math.floor(time_s / stream.time_base), stream=stream, backward=True)
    except av.FFmpegError:
        return False
    return True


def quarter_turns(rotation: int) -> int:
    """Quarter turns counter-clockwise that bring a picture upright."""
    return round(rotation / 90) % 4


def planar_float(frame: AudioFrame) -> np.ndarray:
    """The samples of one sound frame as float32 [C, N] in -1..1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return samples.astype(np.float32, copy=False)
