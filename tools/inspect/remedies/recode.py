"""Writing copies of stretches of a clip, changed as a remedy says: decoded once, encoded nearly lossless, checked.

Pictures go through libavfilter in the clip's own format, sound through NumPy; the copies' clock starts at their first
picture. The container is MOV with H.264 (CRF 10) and 24-bit PCM, whose times and sound are exact. The source is only
read.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from tools.inspect.remedies.tracks import MediaChange, PictureTrack, SoundTrack, Stretch
from tools.project import Progress
from trainer_core.data.media.decode import (
    Damage,
    Timeline,
    decoded,
    nominal_interval_s,
    opened,
    picture_stream,
    sound_stream,
    tick_s,
)
from trainer_core.data.media.probe import probe
from trainer_core.data.media.sounds import clock_origin_s
from trainer_core.errors import DataError
from trainer_core.files import replacing

LONGEST_WAIT = 64
"""Pictures that are held until the first sound comes; then it begins with silence."""


@dataclass(frozen=True)
class Written:
    """One copy as decoding it again found it."""

    path: Path
    start_s: float
    duration_s: float
    frames: int
    has_sound: bool


def write_copies(
    source: Path, stretches: Sequence[Stretch], change: MediaChange, progress: Progress | None = None
) -> list[Written]:
    """Write the copies of `stretches` (disjoint, in order) in one pass through `source`.

    A copy appears whole or not at all. Raises DataError when the source can't be decoded or a copy, decoded again,
    isn't what was written.
    """
    with ExitStack() as files:
        container = files.enter_context(opened(source))
        picture = picture_stream(container) if not change.blind else None
        sound = sound_stream(container) if not change.silent else None
        if picture is None and sound is None:
            raise DataError(f"{source.name!r} has no {'sound' if change.blind else 'pictures'}.", "Leave it out.")
        if sound is not None and sound.codec_context is None:
            raise DataError(
                f"The sound of {source.name!r} can't be decoded, so a copy would lose it.", "Export the clip again."
            )
        origin_s = clock_origin_s(source)
        places = [files.enter_context(replacing(stretch.target)) for stretch in stretches]
        writers = [
            _Writer(place, stretch, change, picture, sound) for place, stretch in zip(places, stretches, strict=True)
        ]
        for writer in writers:
            files.callback(writer.abandon)
        timeline = Timeline(nominal_interval_s(picture)) if picture is not None else None
        streams = [stream for stream in (picture, sound) if stream is not None]
        total_s = float(container.duration or 0) / av.time_base
        told_s = -1.0
        for frame in decoded(container, streams, Damage()):
            time_s = _time_of(frame, timeline)
            if time_s is None:
                continue
            for writer in writers:
                writer.take(frame, time_s - origin_s)
            if progress is not None and time_s - origin_s > told_s + 1:
                told_s = time_s - origin_s
                progress(f"copying {source.name}", int(told_s), max(int(total_s), int(told_s)))
        return [writer.finish(source) for writer in writers]


def _time_of(frame: VideoFrame | AudioFrame, timeline: Timeline | None) -> float | None:
    if isinstance(frame, AudioFrame):
        return frame.time
    assert timeline is not None
    return timeline.time_of(frame)


class _Writer:
    """One copy in the making; its file is opened with its first picture or sound."""

    def __init__(self, place: Path, stretch: Stretch, change: MediaChange, picture: Any, sound: Any) -> None:
        self.place, self.stretch, self.change = place, stretch, change
        self.picture = PictureTrack(picture, change) if picture is not None else None
        self.sound = SoundTrack(sound, change, stretch) if sound is not None else None
        # a picture belongs to the stretch that it begins in, give or take the rounding of its time
        self.slack_s = tick_s(picture) if picture is not None else 0.0
        self.output: Any = None

    def take(self, frame: VideoFrame | AudioFrame, time_s: float) -> None:
        if isinstance(frame, VideoFrame):
            self._show(frame, time_s)
        else:
            self._play(frame, time_s)

    def _show(self, frame: VideoFrame, time_s: float) -> None:
        assert self.picture is not None
        if self.stretch.start_s - self.slack_s <= time_s < self.stretch.end_s - self.slack_s:
            self.picture.push(frame, max(0.0, time_s - self.stretch.start_s))
            self._mux()

    def _play(self, frame: AudioFrame, time_s: float) -> None:
        assert self.sound is not None
        if time_s < self.stretch.end_s and time_s + frame.samples / frame.sample_rate > self.stretch.start_s:
            self.sound.push(frame, time_s)
            self._mux()

    def finish(self, source: Path) -> Written:
        """Write what is left and check the copy by decoding it."""
        if self.picture is not None:
            self.picture.end()
        self._mux(last=True)
        if self.output is None:
            raise DataError(
                f"{source.name!r} has nothing from {self.stretch.start_s:g} s on.", "Choose a part that it has."
            )
        for track in (self.picture, self.sound):
            if track is not None and track.encoder is not None:
                track.close(self.output)
        self.output.close()
        self.output = None
        return self._checked(source)

    def abandon(self) -> None:
        if self.output is not None:
            self.output.close()

    def _mux(self, *, last: bool = False) -> None:
        """Write what the tracks have ready. The file is begun when both are, or one has waited long enough."""
        picture, sound = self.picture, self.sound
        if self.output is None:
            ready = [track for track in (picture, sound) if track is not None and track.ready]
            waited = last or (picture is not None and len(picture.waiting) > LONGEST_WAIT)
            if not ready or not (waited or all(track is None or track.ready for track in (picture, sound))):
                return
            self.output = av.open(str(self.place), "w", format="mov")
            if picture is not None and picture.ready:
                picture.begin(self.output)
            if sound is not None and (sound.ready or not last):
                sound.begin(self.output)
        for track in (picture, sound):
            if track is not None and track.encoder is not None:
                track.write(self.output)

    def _checked(self, source: Path) -> Written:
        seen = probe(self.place)
        wanted = self.picture.frames if self.picture is not None else 0
        heard_s = self.sound.written_s if self.sound is not None else 0.0
        sound_s = seen.audio.duration_s if seen.audio is not None else 0.0
        pictures = 0 if seen.kind == "audio" else seen.frames
        if pictures != wanted or abs(sound_s - heard_s) > 0.01 or seen.damaged_packets:
            raise DataError(
                f"The copy of {source.name!r} came out wrong: {pictures} of {wanted} pictures and {sound_s:.2f} of "
                f"{heard_s:.2f} s of sound can be decoded.",
                "Nothing was kept of it. Copy or export the clip again.",
            )
        return Written(self.stretch.target, self.stretch.start_s, seen.duration_s, pictures, seen.audio is not None)
