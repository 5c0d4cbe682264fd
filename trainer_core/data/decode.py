"""Reading pictures and sound of one file with PyAV, on one clock. No torch.

The clock of a clip starts at its first decodable picture (at its first sound when it has none): second 0 of `start_s`,
of windows and of every time in a probe. Headers are never trusted: frames are counted and timed by decoding.
Arrays: F frames, H rows, W columns, 3 colours; C channels, N samples.
"""

import itertools
import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
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
CONTIGUOUS_S = 0.005
"""Sound packets closer than this are one stream; some containers round their times to milliseconds."""
RESAMPLER_MARGIN_S = 0.1
MAX_PIXELS = 1 << 27
"""The largest picture that is decoded, 134 megapixels: more than any camera's, less than a header can claim."""


def read_frames(path: Path, start_s: float, frames: int, frame_rate: float, width: int, height: int) -> np.ndarray:
    """Return uint8 [F, H, W, 3] RGB: the pictures of `stream_frames`, all at once."""
    taken = np.empty((frames, height, width, 3), np.uint8)
    for index, picture in enumerate(stream_frames(path, start_s, frames, frame_rate, width, height)):
        taken[index] = picture
    return taken


def stream_frames(
    path: Path, start_s: float, frames: int, frame_rate: float, width: int, height: int
) -> Iterator[np.ndarray]:
    """Yield uint8 [H, W, 3] RGB: the pictures shown at `start_s + i / frame_rate`, `frames` of them.

    Display rotation and pixel aspect are applied; pictures are resized to cover `width` x `height` and centre-cropped.
    The last picture of the file is held for at most one frame interval. Raises DataError when the clip ends before.
    """
    with ExitStack() as files:
        stream, pictures = _pictures_of(path, files)
        first = next(pictures, None)
        if first is None:
            raise DataError(f"No picture of {path.name!r} can be decoded.", "Copy or export it again.")
        origin_s = first[0]
        if start_s > 2 * SEEK_MARGIN_S:
            sought = _sought_pictures(stream, origin_s + start_s)
            if sought is None:
                stream, pictures = _pictures_of(path, files)
            else:
                pictures = sought
        else:
            pictures = itertools.chain([first], pictures)
        targets_s = origin_s + start_s + np.arange(frames) / frame_rate
        count = 0
        for picture in _shown_at(
            targets_s, pictures, tick_s(stream), frame_rate, _PictureFitter(stream, width, height)
        ):
            count += 1
            yield picture
    if count < frames:
        raise DataError(
            f"{path.name!r} ends too early: {count} of {frames} frames at {frame_rate:g} fps "
            f"from second {start_s:g} can be decoded.",
            "Inspect the clips again; the file may have changed or be damaged.",
        )


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
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The first stream of sound, None without one."""
    return container.streams.audio[0] if container.streams.audio else None


def codec_name(stream: VideoStream | AudioStream) -> str:
    """What the stream is coded in, for messages."""
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
    """How much a timestamp may be off by rounding to the container's time base; always well under a frame."""
    tick_s = float(stream.time_base) if stream.time_base else 0.0
    return min(tick_s, 0.25 * nominal_interval_s(stream)) + 1e-6


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
    timeline = Timeline(nominal_interval_s(stream))
    for frame in decoded(container, [stream], Damage()):
        if isinstance(frame, VideoFrame):
            time_s = timeline.time_of(frame)
            if time_s is not None:
                yield time_s, frame


def _pictures_of(path: Path, files: ExitStack) -> tuple[VideoStream, Iterator[tuple[float, VideoFrame]]]:
    """Open a file, to be closed with `files`, and decode its pictures from the start. Raises DataError."""
    container = files.enter_context(opened(path))
    stream = picture_stream(container)
    if stream is None:
        raise DataError(f"{path.name!r} has no pictures.", "Use it for sound only, or remove it.")
    return stream, _pictures(container, stream)


def _seek(container: InputContainer, stream: VideoStream | AudioStream, time_s: float) -> bool:
    """Go to a key frame at or before `time_s`; False where the container can't. What follows must be checked."""
    if not stream.time_base:
        return False
    try:
        container.seek(math.floor(time_s / stream.time_base), stream=stream, backward=True)
    except av.FFmpegError:
        return False
    return True


def _sought_pictures(stream: VideoStream, time_s: float) -> Iterator[tuple[float, VideoFrame]] | None:
    """Pictures from at or before `time_s` on; None when seeking went wrong and decoding must begin at the start."""
    container = stream.container
    assert isinstance(container, InputContainer)
    if not _seek(container, stream, time_s - SEEK_MARGIN_S):
        return None
    pictures = _pictures(container, stream)
    first = next(pictures, None)
    if first is None or first[1].pts is None or first[0] > time_s:
        return None
    return itertools.chain([first], pictures)


class _PictureFitter:
    """Turns decoded pictures into RGB of the wanted size; keeps its converter, which is costly to set up."""

    def __init__(self, stream: VideoStream, width: int, height: int) -> None:
        self.sample_aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        self.width, self.height = width, height
        self.converter = VideoReformatter()

    def fit(self, frame: VideoFrame) -> np.ndarray:
        rgb = self.converter.reformat(frame, format="rgb24").to_ndarray()
        pixel_width, pixel_height = self.sample_aspect, 1.0
        turns = quarter_turns(frame.rotation)
        if turns:
            rgb = np.rot90(rgb, turns)
        if turns % 2:
            pixel_width, pixel_height = pixel_height, pixel_width
        rows, columns = rgb.shape[:2]
        scale = max(self.width / (columns * pixel_width), self.height / (rows * pixel_height))
        crop_columns = min(columns, max(1, round(self.width / scale / pixel_width)))
        crop_rows = min(rows, max(1, round(self.height / scale / pixel_height)))
        left, top = (columns - crop_columns) // 2, (rows - crop_rows) // 2
        crop = np.ascontiguousarray(rgb[top : top + crop_rows, left : left + crop_columns])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return cv2.resize(crop, (self.width, self.height), interpolation=method)


def quarter_turns(rotation: int) -> int:
    """Quarter turns counter-clockwise that bring a picture upright."""
    return round(rotation / 90) % 4


def _shown_at(
    targets_s: np.ndarray,
    pictures: Iterator[tuple[float, VideoFrame]],
    tick_s: float,
    frame_rate: float,
    fitter: _PictureFitter,
) -> Iterator[np.ndarray]:
    """Yield the picture shown at each target time, as long as there are some."""
    count = 0
    shown: VideoFrame | None = None
    shown_since_s, interval_s = 0.0, 1 / frame_rate

    def until(end_s: float) -> Iterator[np.ndarray]:
        """Yield `shown` for each target before `end_s`; it is converted only if there is one."""
        nonlocal count
        last = count + int(np.searchsorted(targets_s[count:], end_s, side="left"))
        if last > count and shown is not None:
            picture = fitter.fit(shown)
            while count < last:
                count += 1
                yield picture

    for time_s, frame in pictures:
        if shown is not None:
            yield from until(time_s - tick_s)
            interval_s = time_s - shown_since_s
        if count == len(targets_s):
            return
        shown, shown_since_s = frame, time_s
    if shown is not None:
        yield from until(shown_since_s + max(interval_s, 1 / frame_rate) + tick_s)


def clock_origin_s(path: Path) -> float:
    """Second 0 of a clip's clock in the times of its file."""
    with opened(path) as container:
        return _clock_origin_s(container, sound_stream(container))


def _clock_origin_s(container: InputContainer, sound: AudioStream | None) -> float:
    """The time of the first picture, or of the first sound where there are no pictures."""
    picture = picture_stream(container)
    if picture is not None:
        first = next(_pictures(container, picture), None)
        return first[0] if first is not None else 0.0
    for frame in decoded(container, [sound], Damage()) if sound is not None else ():
        if frame.time is not None:
            return frame.time
    return 0.0


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


def _fill(window: "_SoundWindow", early_s: float | None) -> bool:
    """Decode the window's sound, from `early_s` on or from the start; False when seeking there went wrong."""
    with opened(window.path) as container:
        stream = sound_stream(container)
        assert stream is not None
        if early_s is not None and not _seek(container, stream, early_s):
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
