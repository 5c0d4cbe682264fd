"""Visual measures of a clip: shot cuts, motion, light and colours, from one pass over its frames.

Shot cuts come from PySceneDetect's content detector; everything else is a mean, a median or a share.
"""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from trainer_core.data.media.decode import Damage, Timeline, decoded, nominal_interval_s, opened, picture_stream

MAX_MEASURED_S = 60.0
"""Longer clips are described by their first minute: training windows are seconds long."""
THUMBNAIL_WIDTH = 160
SAMPLE_INTERVAL_S = 0.125
"""Motion, light and colour are measured eight times per second, whatever the frame rate is."""
SHORTEST_SHOT_S = 0.3
COLOUR_SHARE = 0.12
"""A colour is named when it covers at least this share of the picture."""

_HUES = ((8, "red"), (22, "orange"), (34, "yellow"), (85, "green"), (98, "cyan"), (130, "blue"), (160, "purple"))


@dataclass(frozen=True)
class PictureMeasures:
    """Measures of a clip's pictures; light is mean luma 0-255, motion the median change of luma between samples.

    `changes` holds that change before each of `sampled_s`; the first is 0.
    """

    width: int
    height: int
    duration_s: float
    frames: int
    cuts_s: list[float]
    motion: float
    light: float
    light_change: float
    colours: list[str]
    sampled_s: list[float]
    changes: list[float]


def measure_pictures(path: Path) -> PictureMeasures | None:
    """Decode the pictures once and measure them; None when there are none. What is damaged is left out.

    Raises DataError for a file that can't be opened.
    """
    with opened(path) as container:
        stream = picture_stream(container)
        if stream is None:
            return None
        timeline = Timeline(nominal_interval_s(stream))
        watch = _PictureWatch(1 / nominal_interval_s(stream))
        for frame in decoded(container, [stream], Damage()):
            if not isinstance(frame, VideoFrame):
                continue
            time_s = timeline.time_of(frame)
            if time_s is not None and not watch.see(frame, time_s):
                break
    return watch.result() if watch.frames else None


@dataclass
class _PictureWatch:
    """Gathers the measures while pictures come by, keeping only numbers and the last thumbnail."""

    rate: float
    frames: int = 0
    width: int = 0
    height: int = 0
    start_s: float = 0.0
    last_s: float = 0.0
    cuts_s: list[float] = field(default_factory=list)
    sampled_s: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    lights: list[float] = field(default_factory=list)
    colours: Counter[str] = field(default_factory=Counter)
    _last_luma: np.ndarray | None = None

    def __post_init__(self) -> None:
        from scenedetect import FrameTimecode
        from scenedetect.detectors import ContentDetector

        self._timecode = lambda index: FrameTimecode(index, Fraction(self.rate).limit_denominator(1001))
        self._converter = VideoReformatter()  # costly to set up, so one for all pictures
        self._detector = ContentDetector(min_scene_len=max(1, round(SHORTEST_SHOT_S * self.rate)))

    def see(self, frame: av.VideoFrame, time_s: float) -> bool:
        """Measure one picture; False when enough was seen."""
        turned = frame.rotation % 180 != 0
        if self.frames == 0:
            self.start_s = time_s
            self.width, self.height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        time_s -= self.start_s
        height = max(2, round(frame.height * THUMBNAIL_WIDTH / frame.width))
        small = self._converter.reformat(frame, THUMBNAIL_WIDTH, height, "bgr24", interpolation="AREA")
        thumbnail = small.to_ndarray()
        for cut in self._detector.process_frame(self._timecode(self.frames), thumbnail):
            self.cuts_s.append(cut.frame_num / self.rate)
        if not self.sampled_s or time_s - self.sampled_s[-1] >= SAMPLE_INTERVAL_S - 1e-6:
            self._sample(thumbnail, time_s)
        self.frames += 1
        self.last_s = time_s
        return time_s < MAX_MEASURED_S

    def _sample(self, thumbnail: np.ndarray, time_s: float) -> None:
        luma = cv2.cvtColor(thumbnail, cv2.COLOR_BGR2GRAY)
        self.sampled_s.append(round(time_s, 3))
        self.lights.append(float(luma.mean()))
        self.changes.append(0.0 if self._last_luma is None else float(cv2.absdiff(luma, self._last_luma).mean()))
        self._last_luma = luma
        self.colours.update(_count_colours(thumbnail))

    def result(self) -> PictureMeasures:
        third = max(1, len(self.lights) // 3)
        total = sum(self.colours.values())
        named = [name for name, count in self.colours.most_common(3) if count >= COLOUR_SHARE * total]
        return PictureMeasures(
            width=self.width,
            height=self.height,
            duration_s=self.last_s + 1 / self.rate,
            frames=self.frames,
            cuts_s=self.cuts_s,
            motion=float(np.median(self.changes[1:])) if len(self.changes) > 1 else 0.0,
            light=float(np.mean(self.lights)),
            light_change=float(np.mean(self.lights[-third:]) - np.mean(self.lights[:third])),
            colours=named,
            sampled_s=self.sampled_s,
            changes=self.changes,
        )


def _count_colours(thumbnail: np.ndarray) -> Counter[str]:
    """Count the pixels of each colour name; weakly coloured pixels count as black, grey or white."""
    hue, saturation, value = cv2.split(cv2.cvtColor(thumbnail, cv2.COLOR_BGR2HSV))
    dark = value < 40
    plain = ~dark & (saturation < 50)
    coloured = ~dark & ~plain
    counts = Counter(
        {
            "black": int(dark.sum()),
            "grey": int((plain & (value < 200)).sum()),
            "white": int((plain & (value >= 200)).sum()),
        }
    )
    bands = np.digitize(hue[coloured], [limit for limit, _ in _HUES])
    names = [name for _, name in _HUES]
    for band, count in enumerate(np.bincount(bands, minlength=len(names) + 1)):
        counts[names[band] if band < len(names) else "red"] += int(count)
    return counts
