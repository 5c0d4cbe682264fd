"""Decides whether video and audio both train: as asked, else as most of the clips hold, with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.draft.assumptions import ASKED
from tools.draft.select import has_sound
from tools.inspect.report.clips import usable_clips
from tools.inspect.report.report import Clip, Report
from trainer_core.errors import ConfigError
from trainer_core.objective import load_recipe

ENOUGH_SOUND = 0.5
"""With sound in fewer clips than this share, sound costs more clips than it brings."""


@dataclass(frozen=True)
class Sides:
    """Decision on leaving audio out of an objective that makes both sides, and its reason."""

    video_only: bool
    reason: str


def choose_sides(report: Report, objective: str, video_only: bool | None) -> Sides:
    """Decide for `objective`; `video_only` is what the user asked for.

    Raises ConfigError where they asked for the picture alone of an objective that can't do without sound.
    """
    if video_only:
        _refuse_without_sound(objective)
        return Sides(True, ASKED)
    clips = [clip for clip in usable_clips(report) if clip.kind != "audio" and clip.samples]
    sounding = sum(has_sound(clip) for clip in clips)
    if not makes_both(objective) or video_only is False:
        return Sides(False, ASKED if video_only is False else "")
    if not sounding:
        stills = all(clip.kind == "image" for clip in clips)
        return Sides(True, "images have no sound" if stills else "no clip has usable sound")
    if sounding < ENOUGH_SOUND * len(clips):
        without = len(clips) - sounding
        return Sides(
            True, f"only {sounding} of {len(clips)} clips have sound: with it the other {without} could not train"
        )
    return Sides(False, sound_count(clips))


def sound_count(clips: Sequence[Clip]) -> str:
    """`all 7 clips have picture and sound`, or how many of them have."""
    sounding = sum(has_sound(clip) for clip in clips)
    if sounding == len(clips):
        return f"all {len(clips)} clips have picture and sound" if len(clips) > 1 else "the clip has picture and sound"
    return f"{sounding} of {len(clips)} clips have picture and sound"


def makes_both(objective: str) -> bool:
    """True if the recipe generates picture and sound of text alone, so that either side can be left away."""
    strategy = load_recipe(objective)["training_strategy"]
    sides = [strategy.get("video"), strategy.get("audio")]
    referenced = any(one["type"] == "reference" for side in sides if side for one in side.get("conditions", []))
    return all(side and side["is_generated"] for side in sides) and not referenced


def _refuse_without_sound(objective: str) -> None:
    strategy = {"audio": None, "video": None, **load_recipe(objective)["training_strategy"]}
    if not (strategy["video"] and strategy["video"]["is_generated"]):
        raise ConfigError(
            f"{objective} makes sound, so it can't train the picture alone.", "Choose another objective, such as t2v."
        )
    if strategy["audio"] and not strategy["audio"]["is_generated"]:
        raise ConfigError(
            f"{objective} makes the picture from the sound, so the sound can't be left out.", "Choose t2v or i2v."
        )
