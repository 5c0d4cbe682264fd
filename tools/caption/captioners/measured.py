"""Measured descriptions: what instruments say of a clip, as one short paragraph. It sees no content and names none."""

import asyncio
import math
import os
from collections.abc import Sequence

from tools.caption.captioners.captioner import (
    CaptionDraft,
    CaptionRequest,
    CaptionSource,
    ClipFile,
    Declined,
    PictureBudget,
)
from tools.caption.lint.sound_checks import LEAST_SPEECH_S
from tools.caption.media.pictures import PictureMeasures, measure_pictures
from tools.caption.media.sound import SoundMeasures, measure_sound
from trainer_core.errors import DataError

INSTRUCTION_VERSION = "measured-2"


class MeasuredCaptioner:
    """Describes any clip that decodes, by its measures alone."""

    source: CaptionSource = "measured"
    model = "measures"
    batch_size = 1
    waiting = 0
    sees = hears = False
    budget = PictureBudget()
    assumed_speed = (math.inf, math.inf)

    def __init__(self) -> None:
        self.concurrency = os.cpu_count() or 1

    async def open(self) -> None: ...

    async def caption(self, requests: Sequence[CaptionRequest]) -> list[CaptionDraft | Declined]:
        return [await asyncio.to_thread(measured_draft, request.clip) for request in requests]

    async def close(self) -> None: ...


def measured_draft(clip: ClipFile) -> CaptionDraft:
    """Measure a clip and say it in words. Raises DataError for one that can't be read any more."""
    try:
        pictures = None if clip.kind == "audio" else measure_pictures(clip.path)
        sound = None if clip.kind == "image" else measure_sound(clip.path)
    except (OSError, DataError) as error:
        raise DataError(
            f"{clip.name} can't be read any more: {error}", "Put the clip back, or inspect the folder again."
        ) from error
    if pictures is None and sound is None:
        raise DataError(f"{clip.name} holds neither pictures nor sound that decode.", "Inspect the folder again.")
    return CaptionDraft(
        caption=describe(clip, pictures, sound),
        source="measured",
        needs_review=True,
        instruction_version=INSTRUCTION_VERSION,
        frames_s=pictures.sampled_s if pictures else [],
        flags={"measured": "a measured description: it says nothing of what is shown or heard"},
    )


def describe(clip: ClipFile, pictures: PictureMeasures | None, sound: SoundMeasures | None) -> str:
    """Return the measures as one paragraph of at most 60 words."""
    sentences = [] if pictures is None else [_picture_sentence(clip.kind, pictures)]
    if clip.kind != "image":
        sentences.append(_sound_sentence(clip, sound))
    return " ".join([*sentences, "Measured description."])


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


def _sound_sentence(clip: ClipFile, sound: SoundMeasures | None) -> str:
    if sound is None:
        return "It has no usable sound."
    length = f" of {sound.duration_s:.1f} seconds" if clip.kind == "audio" else ""
    if sound.pitch_hz is None:
        return f"The sound{length} is silent."
    level = _band(sound.level_dbfs, ((-40, "quiet"), (-20, "moderately loud")), "loud")
    course = "steady" if sound.spread_db < 4 else "changing"
    pauses = f", silent for {sound.silence_share:.0%} of the time" if sound.silence_share >= 0.05 else ""
    content = ""
    if clip.speech_s is not None:
        spoken = clip.speech_s >= LEAST_SPEECH_S
        content = f", with {clip.speech_s:.1f} seconds of speech" if spoken else ", without speech"
    if clip.music_likely is not None:
        content += " and likely music" if clip.music_likely else " and no music"
    return f"The sound{length} is {level} and {course}, strongest near {sound.pitch_hz:.0f} hertz{pauses}{content}."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _band(value: float, limits: tuple[tuple[float, str], ...], above: str) -> str:
    """Return the word of the first limit that `value` lies under, else `above`."""
    return next((word for limit, word in limits if value < limit), above)
