"""Facts of a clip, found by decoding all of it once; others can measure on the way. No torch."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from trainer_core.data.media.decode import (
    LONGEST_AUDIO_PADDING_S,
    Damage,
    Timeline,
    codec_name,
    decoded,
    nominal_interval_s,
    opened,
    picture_stream,
    quarter_turns,
    sound_stream,
    tick_s,
)
from trainer_core.errors import DataError

FEWEST_FRAMES = 9
"""The shortest video sample (two latent frames); a damaged clip with fewer decodable frames is undecodable."""
IRREGULAR_SHARE = 0.01
MAX_DISTINCT_INTERVALS = 4096
TRANSFERS = {10: "log", 9: "log", 16: "pq", 18: "hlg"}
"""Transfer characteristics by their numbers in ITU-T H.273, where they aren't those of ordinary video."""
WIDE_GAMUT = 9
"""BT.2020 in H.273's numbers of colour primaries."""


class Observer(Protocol):
    """Something that looks and listens while `probe` decodes a clip."""

    def see(self, time_s: float, frame: VideoFrame) -> None:
        """Take one picture, as coded: not rotated, in the stream's own pixel format; seconds from the first picture."""

    def hear(self, time_s: float, frame: AudioFrame) -> None:
        """Take some sound, in the stream's own format; seconds from the first sound."""


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
    """Facts from decoding a file in full. Sizes are as displayed: after rotation, with square pixels.

    `transfer` is "sdr", "pq", "hlg" or "log" by the pictures' tag, `interlaced` whether most are marked as two fields.
    """

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
    codec: str | None = None
    pixel_format: str | None = None
    bit_depth: int | None = None
    transfer: str = "sdr"
    wide_gamut: bool = False
    interlaced: bool = False
    sizes: int = 1


def probe(path: Path, observers: Sequence[Observer] = ()) -> ClipProbe:
    """Decode the whole file once and say what it is; `observers` see every picture and all sound on the way.

    A tail that can't be decoded is reported, not raised, if at least nine frames came out. Raises DataError otherwise.
    """
    with opened(path) as container:
        picture, sound = picture_stream(container), sound_stream(container)
        if picture is None and sound is None:
            raise DataError(f"{path.name!r} holds neither pictures nor sound.", "Remove it or export it again.")
        decodable_sound = sound if sound is not None and sound.codec_context is not None else None
        seen_pictures = _PictureTally(observers)
        seen_sound = _SoundTally(observers)
        damage = Damage()
        streams = [stream for stream in (picture, decodable_sound) if stream is not None]
        for frame in decoded(container, streams, damage):
            if isinstance(frame, VideoFrame):
                seen_pictures.add(frame, picture)
            else:
                seen_sound.add(frame, damage.counts["audio"])
        if picture is None:
            return _audio_probe_only(path, sound, seen_sound, damage)
        if not seen_pictures.frames:
            raise DataError(f"No picture of {path.name!r} can be decoded ({codec_name(picture)}).", "Export it again.")
        frames = seen_pictures.frames
        damaged_tail = damage.last_at.get("video") == frames
        if damaged_tail and frames < FEWEST_FRAMES:
            raise DataError(
                f"{path.name!r} is damaged: {frames} of its frames can be decoded, {FEWEST_FRAMES} are needed.",
                "Copy or export it again.",
            )
        if codec_name(picture) == "mjpeg" and _holds_a_still(container) and _is_cut_off(path):
            damage.record("video")
        return _picture_probe(container, picture, sound, seen_pictures, seen_sound, damage, damaged_tail)


def _is_cut_off(path: Path) -> bool:
    """True if a JPEG file ends within its last scan; the decoder fills up what is missing and says nothing.

    The mark of the end, FFD9, can't occur within a scan.
    """
    content = path.read_bytes()
    return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")


def _holds_a_still(container: InputContainer) -> bool:
    return container.format.name.endswith("_pipe") or container.format.name in ("image2", "gif")


class _PictureTally:
    """Counts and times pictures and shows them to the observers; what it keeps doesn't grow with the clip."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers
        self.timeline: Timeline | None = None
        self.first: VideoFrame | None = None
        self.frames = 0
        self.first_s = 0.0
        self.last_s = 0.0
        self.last_interval_s = 0.0
        self.intervals_us: Counter[int] = Counter()
        self.interlaced = 0
        self.sizes: set[tuple[int, int]] = set()

    def add(self, frame: VideoFrame, stream: VideoStream | None) -> None:
        assert stream is not None
        if self.timeline is None:
            self.timeline = Timeline(nominal_interval_s(stream))
            self.first = frame
        time_s = self.timeline.time_of(frame)
        if time_s is None:
            return
        if self.frames:
            self.last_interval_s = time_s - self.last_s
            interval_us = round(self.last_interval_s * 1e6)
            if interval_us in self.intervals_us or len(self.intervals_us) < MAX_DISTINCT_INTERVALS:
                self.intervals_us[interval_us] += 1
        else:
            self.first_s = time_s
        self.last_s = time_s
        self.frames += 1
        self.interlaced += frame.interlaced_frame
        if len(self.sizes) < MAX_DISTINCT_INTERVALS:
            self.sizes.add((frame.width, frame.height))
        for observer in self.observers:
            observer.see(time_s - self.first_s, frame)


class _SoundTally:
    """Counts and times sound and plays it to the observers."""

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
        for observer in self.observers:
            observer.hear(time_s - self.first_s, frame)


def _sound_probe(stream: AudioStream | None, tally: _SoundTally, damage: Damage, origin_s: float) -> AudioProbe | None:
    if stream is None:
        return None
    if tally.first is None:
        return AudioProbe(decodable=False, codec=codec_name(stream), damaged_packets=damage.counts["audio"])
    damage_s = max(tally.longest_damage_s, tally.first_s - origin_s if tally.damaged_start else 0.0)
    return AudioProbe(
        decodable=damage_s <= LONGEST_AUDIO_PADDING_S,
        codec=codec_name(stream),
        sample_rate_hz=tally.first.sample_rate,
        channels=tally.first.layout.nb_channels,
        start_s=tally.first_s - origin_s,
        duration_s=max(0.0, tally.end_s - tally.first_s),
        damaged_packets=damage.counts["audio"],
    )


def _audio_probe_only(path: Path, stream: AudioStream | None, tally: _SoundTally, damage: Damage) -> ClipProbe:
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
    damage: Damage,
    damaged_tail: bool,
) -> ClipProbe:
    first, frames = pictures.first, pictures.frames
    assert first is not None
    audio = _sound_probe(sound, heard, damage, pictures.first_s)
    sample_aspect = float(picture.sample_aspect_ratio or 1) or 1.0
    width, height = round(first.width * sample_aspect), first.height
    if quarter_turns(first.rotation) % 2:
        width, height = height, width
    still = frames == 1 and _holds_a_still(container)
    # The last picture is shown as long as the one before it; a lone one for its nominal interval.
    last_interval_s = pictures.last_interval_s if frames > 1 else nominal_interval_s(picture)
    length_s = pictures.last_s - pictures.first_s
    header_duration_s: float | None = None
    if picture.duration is not None and picture.time_base:
        header_duration_s = float(picture.duration * picture.time_base)
    elif container.duration is not None and audio is None:
        header_duration_s = container.duration / av.time_base
    return ClipProbe(
        kind="image" if still else "video",
        duration_s=0.0 if still else length_s + last_interval_s,
        frames=frames,
        fps=None if frames == 1 else (frames - 1) / length_s,
        vfr=_is_irregular(pictures.intervals_us, tick_s(picture)),
        width=width,
        height=height,
        rotation=quarter_turns(first.rotation) * 90,
        sample_aspect=sample_aspect,
        audio=audio,
        header_frames=None if still else picture.frames or None,
        header_duration_s=None if still else header_duration_s,
        damaged_packets=damage.counts["video"],
        damaged_tail=damaged_tail,
        codec=codec_name(picture),
        pixel_format=first.format.name,
        bit_depth=max((component.bits for component in first.format.components), default=8),
        transfer=TRANSFERS.get(first.color_trc, "sdr"),
        wide_gamut=first.color_primaries == WIDE_GAMUT,
        interlaced=2 * pictures.interlaced > frames,
        sizes=len(pictures.sizes),
    )


def _is_irregular(intervals_us: Counter[int], tick_s: float) -> bool:
    """True if more than one interval in a hundred differs from the median by a fifth of it, beyond rounding."""
    total = intervals_us.total()
    if total < 2:
        return False
    median_us, passed = 0, 0
    for interval_us in sorted(intervals_us):
        median_us, passed = interval_us, passed + intervals_us[interval_us]
        if 2 * passed >= total:
            break
    allowed_us = 0.2 * median_us + 2e6 * tick_s
    irregular = sum(count for interval_us, count in intervals_us.items() if abs(interval_us - median_us) > allowed_us)
    return irregular / total > IRREGULAR_SHARE
