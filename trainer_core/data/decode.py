"""Decoding pictures and sound of one file with PyAV, on one clock. No torch.

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
from typing import Literal, Protocol

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
FEWEST_FRAMES = 9
"""The shortest video sample (two latent frames); a damaged clip with fewer decodable frames is undecodable."""
THUMBNAIL_SIDE_PX = 160
LONGEST_AUDIO_PADDING_S = 0.1
"""Sound may end this much before its window does; encoders round sound to whole packets of 20 to 60 ms."""
SEEK_MARGIN_S = 1.0
"""Decoding starts this early, so that key frames out of order and decoders that warm up are no matter."""
CONTIGUOUS_S = 0.005
"""Sound packets closer than this are one stream; some containers round their times to milliseconds."""
RESAMPLER_MARGIN_S = 0.1
IRREGULAR_SHARE = 0.01


class Observer(Protocol):
    """Something that measures a clip while `probe` decodes it."""

    def process_frame(self, index: int, time_s: float, bgr_small: np.ndarray) -> None:
        """Take one picture, uint8 [h, w, 3] in BGR, longer side at most THUMBNAIL_SIDE_PX, not rotated."""

    def process_audio(self, samples: np.ndarray) -> None:
        """Take some consecutive sound, float32 [C, N] in -1..1, at the stream's own rate and channels."""


@dataclass(frozen=True)
class AudioProbe:
    """The sound of a clip as decoded.

    `decodable` is False when nothing came out of the stream, or damage left a gap longer than may be padded.
    """

    decodable: bool
    codec: str
    sample_rate_hz: int | None = None
    channels: int | None = None
    start_s: float = 0.0
    duration_s: float = 0.0
    damaged_packets: int = 0

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class ClipProbe:
    """What decoding a file from beginning to end gave. Sizes are as displayed: after rotation, with square pixels."""

    kind: Literal["video", "image", "audio"]
    duration_s: float
    frames: int = 0
    fps: float | None = None
    vfr: bool = False
    width: int | None = None
    height: int | None = None
    rotation: int = 0
    sample_aspect: float = 1.0
    audio: AudioProbe | None = None
    header_frames: int | None = None
    header_duration_s: float | None = None
    damaged_packets: int = 0
    damaged_tail: bool = False


def probe(path: Path, observers: Sequence[Observer] = ()) -> ClipProbe:
    """Decode the whole file once and say what it is; `observers` see every picture and all sound on the way.

    A tail that can't be decoded is reported, not raised, if at least nine frames came out. Raises DataError otherwise.
    """
    with _opened(path) as container:
        picture, sound = _picture_stream(container), _sound_stream(container)
        if picture is None and sound is None:
            raise DataError(f"{path.name!r} holds neither pictures nor sound.", "Remove it or export it again.")
        decodable_sound = sound if sound is not None and sound.codec_context is not None else None
        seen_pictures = _PictureTally(observers)
        seen_sound = _SoundTally(observers)
        damage = _Damage()
        streams = [stream for stream in (picture, decodable_sound) if stream is not None]
        for frame in _decoded(container, streams, damage):
            if isinstance(frame, VideoFrame):
                seen_pictures.add(frame, picture)
            else:
                seen_sound.add(frame, damage.counts["audio"])
        if picture is None:
            return _audio_probe_only(path, sound, seen_sound, damage)
        if not seen_pictures.times:
            raise DataError(f"No picture of {path.name!r} can be decoded ({_codec_name(picture)}).", "Export it again.")
        frames = len(seen_pictures.times)
        damaged_tail = damage.last_at.get("video") == frames
        if damaged_tail and frames < FEWEST_FRAMES:
            raise DataError(
                f"{path.name!r} is damaged: {frames} of its frames can be decoded, {FEWEST_FRAMES} are needed.",
                "Copy or export it again.",
            )
        return _picture_probe(container, picture, sound, seen_pictures, seen_sound, damage, damaged_tail)


def read_frames(path: Path, start_s: float, frames: int, frame_rate: float, width: int, height: int) -> np.ndarray:
    """Return uint8 [F, H, W, 3] RGB: the pictures shown at `start_s + i / frame_rate`.

    Display rotation and pixel aspect are applied; pictures are resized to cover `width` x `height` and centre-cropped.
    The last picture of the file is held for at most one frame interval. Raises DataError when the clip ends before.
    """
    taken = np.empty((frames, height, width, 3), np.uint8)
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
        count = _take(pictures, targets_s, taken, _tick_s(stream), frame_rate, _PictureFitter(stream, width, height))
    if count < frames:
        raise DataError(
            f"{path.name!r} ends too early: {count} of {frames} frames at {frame_rate:g} fps "
            f"from second {start_s:g} can be decoded.",
            "Inspect the clips again; the file may have changed or be damaged.",
        )
    return taken


def read_audio(path: Path, start_s: float, duration_s: float, sample_rate_hz: int) -> np.ndarray | None:
    """Return float32 [2, N], N = round(duration_s * sample_rate_hz), on the pictures' clock; None without a stream.

    Any layout is mixed to stereo. Sound that starts after its window does is preceded by silence; a tail shorter than
    LONGEST_AUDIO_PADDING_S is padded. Raises DataError when more is missing or the sound can't be decoded.
    """
    wanted = round(duration_s * sample_rate_hz)
    with _opened(path) as container:
        stream = _sound_stream(container)
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
def _opened(path: Path) -> Iterator[InputContainer]:
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


def _picture_stream(container: InputContainer) -> VideoStream | None:
    """The first stream of pictures that isn't the cover picture of a sound file."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise DataError(
                    f"The pictures of {Path(container.name).name!r} are in a format that can't be decoded.",
                    "Export it with H.264.",
                )
            stream.thread_type = "AUTO"
            return stream
    return None


def _sound_stream(container: InputContainer) -> AudioStream | None:
    return container.streams.audio[0] if container.streams.audio else None


def _codec_name(stream: VideoStream | AudioStream) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "unknown codec"


@dataclass
class _Damage:
    """Packets that could not be decoded: how many of each type, and after how many good frames the last one came."""

    counts: dict[str, int] = field(default_factory=lambda: {"video": 0, "audio": 0})
    good: dict[str, int] = field(default_factory=lambda: {"video": 0, "audio": 0})
    last_at: dict[str, int] = field(default_factory=dict)

    def record(self, kind: str) -> None:
        self.counts[kind] += 1
        self.last_at[kind] = self.good[kind]


def _decoded(
    container: InputContainer, streams: Sequence[VideoStream | AudioStream], damage: _Damage
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


class _Timeline:
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


def _nominal_interval_s(stream: VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return float(1 / rate)


def _tick_s(stream: VideoStream) -> float:
    """How much a timestamp may be off by rounding to the container's time base; always well under a frame."""
    tick_s = float(stream.time_base) if stream.time_base else 0.0
    return min(tick_s, 0.25 * _nominal_interval_s(stream)) + 1e-6


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
    timeline = _Timeline(_nominal_interval_s(stream))
    for frame in _decoded(container, [stream], _Damage()):
        if isinstance(frame, VideoFrame):
            time_s = timeline.time_of(frame)
            if time_s is not None:
                yield time_s, frame


def _pictures_of(path: Path, files: ExitStack) -> tuple[VideoStream, Iterator[tuple[float, VideoFrame]]]:
    """Open a file, to be closed with `files`, and decode its pictures from the start. Raises DataError."""
    container = files.enter_context(_opened(path))
    stream = _picture_stream(container)
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
        turns = _quarter_turns(frame.rotation)
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


def _quarter_turns(rotation: int) -> int:
    """Quarter turns counter-clockwise that bring a picture upright."""
    return round(rotation / 90) % 4


def _take(
    pictures: Iterator[tuple[float, VideoFrame]],
    targets_s: np.ndarray,
    taken: np.ndarray,
    tick_s: float,
    frame_rate: float,
    fitter: _PictureFitter,
) -> int:
    """Fill `taken` with the picture shown at each target time; return how many there were."""
    count = 0
    shown: VideoFrame | None = None
    shown_since_s, interval_s = 0.0, 1 / frame_rate

    def emit(until_s: float) -> int:
        """Fill in `shown` for the targets before `until_s`; it is converted only if there is one."""
        last = count + int(np.searchsorted(targets_s[count:], until_s, side="left"))
        if last > count and shown is not None:
            taken[count:last] = fitter.fit(shown)
        return last

    for time_s, frame in pictures:
        if shown is not None:
            count = emit(time_s - tick_s)
            interval_s = time_s - shown_since_s
        if count == len(targets_s):
            return count
        shown, shown_since_s = frame, time_s
    return emit(shown_since_s + max(interval_s, 1 / frame_rate) + tick_s) if shown is not None else 0


def _clock_origin_s(container: InputContainer, sound: AudioStream) -> float:
    """The time of the first picture, or of the first sound where there are no pictures."""
    picture = _picture_stream(container)
    if picture is not None:
        first = next(_pictures(container, picture), None)
        return first[0] if first is not None else 0.0
    for frame in _decoded(container, [sound], _Damage()):
        if frame.time is not None:
            return frame.time
    return 0.0


def _planar_float(frame: AudioFrame) -> np.ndarray:
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
    with _opened(window.path) as container:
        stream = _sound_stream(container)
        assert stream is not None
        if early_s is not None and not _seek(container, stream, early_s):
            return False
        damage = _Damage()
        for frame in _decoded(container, [stream], damage):
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
        samples = _planar_float(frame)
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


class _PictureTally:
    """Counts and times pictures and hands them, small, to the observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers
        self.converter = VideoReformatter()
        self.timeline: _Timeline | None = None
        self.times: list[float] = []
        self.first: VideoFrame | None = None
        self.small = (0, 0)

    def add(self, frame: VideoFrame, stream: VideoStream | None) -> None:
        assert stream is not None
        if self.timeline is None or self.first is None:
            self.timeline = _Timeline(_nominal_interval_s(stream))
            self.first = frame
            scale = min(1.0, THUMBNAIL_SIDE_PX / max(frame.width, frame.height))
            self.small = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
        time_s = self.timeline.time_of(frame)
        if time_s is None:
            return
        if self.observers:
            # The cheapest scaler that still averages a little: thumbnails for measures, the costliest part of a probe.
            small = self.converter.reformat(frame, *self.small, "bgr24", interpolation="FAST_BILINEAR").to_ndarray()
            for observer in self.observers:
                observer.process_frame(len(self.times), time_s - (self.times[0] if self.times else time_s), small)
        self.times.append(time_s)


class _SoundTally:
    """Counts and times sound and hands it to the observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers
        self.first: AudioFrame | None = None
        self.first_s = 0.0
        self.end_s = 0.0
        self.damaged_packets = 0
        self.damaged_start = False
        self.longest_damage_s = 0.0

    def add(self, frame: AudioFrame, damaged_packets: int) -> None:
        time_s = frame.time if frame.time is not None else self.end_s
        if self.first is None:
            self.first, self.first_s = frame, time_s
            self.damaged_start = damaged_packets > 0
        elif damaged_packets > self.damaged_packets:
            self.longest_damage_s = max(self.longest_damage_s, time_s - self.end_s)
        self.damaged_packets = damaged_packets
        self.end_s = time_s + frame.samples / frame.sample_rate
        if self.observers:
            samples = _planar_float(frame)
            for observer in self.observers:
                observer.process_audio(samples)


def _sound_probe(stream: AudioStream | None, tally: _SoundTally, damage: _Damage, origin_s: float) -> AudioProbe | None:
    if stream is None:
        return None
    if tally.first is None:
        return AudioProbe(decodable=False, codec=_codec_name(stream), damaged_packets=damage.counts["audio"])
    damage_s = max(tally.longest_damage_s, tally.first_s - origin_s if tally.damaged_start else 0.0)
    return AudioProbe(
        decodable=damage_s <= LONGEST_AUDIO_PADDING_S,
        codec=_codec_name(stream),
        sample_rate_hz=tally.first.sample_rate,
        channels=tally.first.layout.nb_channels,
        start_s=tally.first_s - origin_s,
        duration_s=tally.end_s - tally.first_s,
        damaged_packets=damage.counts["audio"],
    )


def _audio_probe_only(path: Path, stream: AudioStream | None, tally: _SoundTally, damage: _Damage) -> ClipProbe:
    audio = _sound_probe(stream, tally, damage, tally.first_s)
    if audio is None or not audio.decodable:
        raise DataError(f"The sound of {path.name!r} can't be decoded.", "Export it again, for example as WAV or AAC.")
    return ClipProbe(kind="audio", duration_s=audio.duration_s, audio=audio)


def _picture_probe(
    container: InputContainer,
    picture: VideoStream,
    sound: AudioStream | None,
    pictures: _PictureTally,
    heard: _SoundTally,
    damage: _Damage,
    damaged_tail: bool,
) -> ClipProbe:
    first, times = pictures.first, pictures.times
    assert first is not None
    audio = _sound_probe(sound, heard, damage, times[0])
    sample_aspect = float(picture.sample_aspect_ratio or 1) or 1.0
    width, height = round(first.width * sample_aspect), first.height
    if _quarter_turns(first.rotation) % 2:
        width, height = height, width
    still = len(times) == 1 and (container.format.name.endswith("_pipe") or container.format.name in ("image2", "gif"))
    # The last picture is shown as long as the one before it; a lone one for its nominal interval.
    last_interval_s = times[-1] - times[-2] if len(times) > 1 else _nominal_interval_s(picture)
    header_duration_s: float | None = None
    if picture.duration is not None and picture.time_base:
        header_duration_s = float(picture.duration * picture.time_base)
    elif container.duration is not None and audio is None:
        header_duration_s = container.duration / av.time_base
    return ClipProbe(
        kind="image" if still else "video",
        duration_s=0.0 if still else times[-1] - times[0] + last_interval_s,
        frames=len(times),
        fps=None if len(times) == 1 else (len(times) - 1) / (times[-1] - times[0]),
        vfr=_is_irregular(times, _tick_s(picture)),
        width=width,
        height=height,
        rotation=_quarter_turns(first.rotation) * 90,
        sample_aspect=sample_aspect,
        audio=audio,
        header_frames=None if still else picture.frames or None,
        header_duration_s=None if still else header_duration_s,
        damaged_packets=damage.counts["video"],
        damaged_tail=damaged_tail,
    )


def _is_irregular(times: Sequence[float], tick_s: float) -> bool:
    """Whether more than one interval in a hundred differs from the median by a fifth of it, beyond rounding."""
    if len(times) < 3:
        return False
    intervals = np.diff(times)
    median = float(np.median(intervals))
    irregular = np.abs(intervals - median) > 0.2 * median + 2 * tick_s
    return float(irregular.mean()) > IRREGULAR_SHARE
