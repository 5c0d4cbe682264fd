"""Measured descriptions: what instruments say of a clip, as one short paragraph. It sees no content and names none.

Shot cuts come from PySceneDetect's content detector; everything else is a mean, a median or a share.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

import av
import cv2
import numpy as np

from tools.caption.captioner import CaptionDraft, ClipFile
from trainer_core.errors import DataError

INSTRUCTION_VERSION = "measured-1"
MAX_MEASURED_S = 60.0
"""Longer clips are described by their first minute: training windows are seconds long."""
THUMBNAIL_WIDTH = 160
SAMPLE_INTERVAL_S = 0.125
"""Motion, light and colour are measured eight times a second, whatever the frame rate is."""
SHORTEST_SHOT_S = 0.3
AUDIO_RATE_HZ = 16000
AUDIO_BLOCK_S = 0.05
SILENCE_DBFS = -60.0
COLOUR_SHARE = 0.12
"""A colour is named when it covers at least this share of the picture."""

_HUES = ((8, "red"), (22, "orange"), (34, "yellow"), (85, "green"), (98, "cyan"), (130, "blue"), (160, "purple"))


@dataclass(frozen=True)
class PictureMeasures:
    """Measures of a clip's pictures; light is mean luma 0-255, motion the median change of luma between samples."""

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


@dataclass(frozen=True)
class SoundMeasures:
    """Measures of a clip's sound; `pitch_hz` is the strongest frequency, None when there is only silence."""

    duration_s: float
    level_dbfs: float
    silence_share: float
    spread_db: float
    pitch_hz: float | None


class MeasuredCaptioner:
    """Describes any clip that decodes, by its measures alone."""

    def caption(self, clip: ClipFile) -> CaptionDraft:
        try:
            pictures = None if clip.kind == "audio" else measure_pictures(clip)
            sound = None if clip.kind == "image" else measure_sound(clip)
        except (OSError, av.error.FFmpegError) as error:
            raise DataError(
                f"{clip.name} can't be read any more: {error}.", "Put the clip back, or inspect the folder again."
            ) from error
        if pictures is None and sound is None:
            raise DataError(f"{clip.name} holds neither pictures nor sound that decode.", "Inspect the folder again.")
        return CaptionDraft(
            caption=describe(clip.kind, pictures, sound),
            source="measured",
            needs_review=True,
            instruction_version=INSTRUCTION_VERSION,
            frames_s=pictures.sampled_s if pictures else [],
            flags={"measured": "a measured description: it says nothing of what is shown or heard"},
        )


def describe(kind: str, pictures: PictureMeasures | None, sound: SoundMeasures | None) -> str:
    """Return the measures as one paragraph of at most 60 words."""
    sentences = [] if pictures is None else [_picture_sentence(kind, pictures)]
    if kind != "image":
        sentences.append(_sound_sentence(kind, sound))
    return " ".join([*sentences, "Measured description."])


def measure_pictures(clip: ClipFile) -> PictureMeasures | None:
    """Decode the pictures once and measure them; None when there are none. A damaged tail ends the measuring."""
    with av.open(str(clip.path)) as container:
        if not container.streams.video:
            return None
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        watch = _PictureWatch(float(stream.average_rate or stream.guessed_rate or 24))
        try:
            for frame in container.decode(stream):
                if not watch.see(frame):
                    break
        except av.error.InvalidDataError:
            if not watch.frames:
                raise
    return watch.result() if watch.frames else None


def measure_sound(clip: ClipFile) -> SoundMeasures | None:
    """Decode the sound once, mixed to one channel, and measure it; None when there is none that decodes."""
    with av.open(str(clip.path)) as container:
        if not container.streams.audio:
            return None
        resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
        parts: list[np.ndarray] = []
        try:
            for frame in container.decode(container.streams.audio[0]):
                parts += [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
                if sum(len(part) for part in parts) > MAX_MEASURED_S * AUDIO_RATE_HZ:
                    break
        except av.error.FFmpegError:
            if not parts:
                return None
    return _sound_measures(np.concatenate(parts)) if parts else None


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
        self._detector = ContentDetector(min_scene_len=max(1, round(SHORTEST_SHOT_S * self.rate)))

    def see(self, frame: av.VideoFrame) -> bool:
        """Measure one picture; False when enough was seen."""
        turned = frame.rotation % 180 != 0
        time_s = frame.time if frame.time is not None else self.frames / self.rate
        if self.frames == 0:
            self.start_s = time_s
            self.width, self.height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        time_s -= self.start_s
        height = max(2, round(frame.height * THUMBNAIL_WIDTH / frame.width))
        thumbnail = frame.to_ndarray(width=THUMBNAIL_WIDTH, height=height, format="bgr24", interpolation="AREA")
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
        if self._last_luma is not None:
            self.changes.append(float(cv2.absdiff(luma, self._last_luma).mean()))
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
            motion=float(np.median(self.changes)) if self.changes else 0.0,
            light=float(np.mean(self.lights)),
            light_change=float(np.mean(self.lights[-third:]) - np.mean(self.lights[:third])),
            colours=named,
            sampled_s=self.sampled_s,
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


def _sound_measures(samples: np.ndarray) -> SoundMeasures:
    block = int(AUDIO_BLOCK_S * AUDIO_RATE_HZ)
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % block)).reshape(-1, block)
    levels = np.array([_dbfs(float(np.mean(part**2))) for part in padded])
    loud = levels > SILENCE_DBFS
    return SoundMeasures(
        duration_s=len(samples) / AUDIO_RATE_HZ,
        level_dbfs=_dbfs(float(np.mean(samples.astype(np.float64) ** 2))),
        silence_share=float(1 - loud.mean()),
        spread_db=float(np.std(levels[loud])) if loud.any() else 0.0,
        pitch_hz=_strongest_frequency(padded[loud]) if loud.any() else None,
    )


def _strongest_frequency(blocks: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(blocks * np.hanning(blocks.shape[1]), axis=1)).mean(axis=0)
    return float((1 + np.argmax(spectrum[1:])) / AUDIO_BLOCK_S)


def _dbfs(mean_square: float) -> float:
    return 10 * math.log10(mean_square) if mean_square > 0 else -120.0


def _picture_sentence(kind: str, measures: PictureMeasures) -> str:
    shape = _band(measures.width / measures.height, ((0.9, "tall"), (1.1, "square")), "wide")
    light = _band(measures.light, ((45, "dark"), (90, "dim"), (160, "evenly lit")), "bright")
    colours = f", mostly {_listed(measures.colours)}" if measures.colours else ""
    size = f"{measures.width} by {measures.height} pixels"
    if kind == "image":
        return f"A {shape} still picture, {size}, {light}{colours}."
    shots = "one continuous shot" if not measures.cuts_s else f"{len(measures.cuts_s) + 1} shots"
    motion = _band(measures.motion, ((0.5, "almost no"), (2, "slight"), (6, "moderate")), "strong")
    change = ""
    if abs(measures.light_change) >= 20:
        change = ", becoming brighter" if measures.light_change > 0 else ", becoming darker"
    return (
        f"A {shape} video of {measures.duration_s:.1f} seconds, {size}, {shots} with {motion} motion, "
        f"{light}{change}{colours}."
    )


def _sound_sentence(kind: str, sound: SoundMeasures | None) -> str:
    if sound is None:
        return "It has no usable sound."
    length = f" of {sound.duration_s:.1f} seconds" if kind == "audio" else ""
    if sound.pitch_hz is None:
        return f"The sound{length} is silent."
    level = _band(sound.level_dbfs, ((-40, "quiet"), (-20, "moderately loud")), "loud")
    course = "steady" if sound.spread_db < 4 else "changing"
    pauses = f", silent for {sound.silence_share:.0%} of the time" if sound.silence_share >= 0.05 else ""
    return f"The sound{length} is {level} and {course}, strongest near {sound.pitch_hz:.0f} hertz{pauses}."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _band(value: float, limits: tuple[tuple[float, str], ...], above: str) -> str:
    """Return the word of the first limit that `value` lies under, else `above`."""
    return next((word for limit, word in limits if value < limit), above)
