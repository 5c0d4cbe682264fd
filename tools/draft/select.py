"""Selection of the clips that train: usable by the objective and not left out; every other has its reason."""

from collections.abc import Sequence
from typing import Any

from tools.draft.references import clips_meant
from tools.inspect.report.clips import unusable_clips, usable_clips
from tools.inspect.report.report import AudioStatus, Clip, Report
from trainer_core.objective import objective_of
from trainer_core.sections.strategy import FlexibleStrategy

_WITHOUT_SOUND: dict[AudioStatus, str] = {
    "none": "it has no sound",
    "silent": "its sound is silent",
    "short": "its sound is too short for any sample",
    "undecodable": "its sound does not decode",
}
SOUND_REASONS = frozenset(_WITHOUT_SOUND.values())
"""Reasons for which a clip doesn't train that the picture alone would do away with."""


def columns_of(report: Report) -> set[str]:
    """The columns that at least one usable clip has; captions come before the draft."""
    found = {"caption"}
    for clip in usable_clips(report):
        found.update(clip.columns)
        found.add("audio" if clip.kind == "audio" else "video")
        if has_sound(clip):
            found.add("audio")
    return found


def sort_clips(
    report: Report, strategy: dict[str, Any], skipped: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[list[Clip], list[tuple[Clip, str]]]:
    """Return the clips that train, and every other media file with the reason why it doesn't.

    `skipped` and `only` are references (references.py); without `only`, every clip is asked for.
    """
    objective = objective_of(FlexibleStrategy.model_validate(strategy))
    columns = set(objective.columns().values()) - {"caption", "video", "audio"}
    needs_video, needs_audio = objective.video.present, objective.audio.present
    extends = any(objective.video.condition(kind) for kind in ("prefix", "suffix"))
    training = []
    left_out = [(clip, _why_unusable(clip)) for clip in unusable_clips(report)]
    unwanted = clips_meant(report, skipped)
    wanted = clips_meant(report, only) if only else None
    for found in usable_clips(report):
        clip = found if needs_video else for_sound_alone(found)
        if clip.path in unwanted:
            reason: str | None = "you asked to leave it out"
        elif wanted is not None and clip.path not in wanted:
            reason = "you asked for others alone"
        elif extends and clip.kind == "image":
            reason = "it is a still: nothing follows its only frame"
        else:
            reason = _why_not(clip, needs_video, needs_audio, columns)
        if reason is None:
            training.append(clip)
        else:
            left_out.append((clip, reason))
    return training, left_out


def _why_unusable(clip: Clip) -> str:
    blocking = [flag.message for flag in clip.flags if flag.severity == "block"]
    return "; ".join(blocking) or f"inspection found it {clip.status}"


def _why_not(clip: Clip, needs_video: bool, needs_audio: bool, columns: set[str]) -> str | None:
    if not clip.samples:
        return "no stretch of it fills a training sample"
    if needs_video and clip.kind == "audio":
        return "it has no picture"
    if needs_audio and not has_sound(clip):
        return _WITHOUT_SOUND[clip.audio.status]
    lacking = sorted(columns - set(clip.columns))
    return f"it has no {' and no '.join(lacking)}" if lacking else None


def for_sound_alone(clip: Clip) -> Clip:
    """The clip with the windows of its sound for samples, where inspection made some."""
    return clip.model_copy(update={"samples": clip.sound_samples}) if clip.sound_samples else clip


def has_sound(clip: Clip) -> bool:
    return clip.audio.status == "ok"
