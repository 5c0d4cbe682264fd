"""Which clips train: those the objective can use and the person did not leave out; every other with its reason."""

from collections.abc import Sequence
from typing import Any

from tools.inspect.discover.names import displayed
from tools.inspect.report.clips import unusable_clips, usable_clips
from tools.inspect.report.report import AudioStatus, Clip, Report
from trainer_core.errors import ConfigError
from trainer_core.objective import objective_of
from trainer_core.sections.strategy import FlexibleStrategy

_WITHOUT_SOUND: dict[AudioStatus, str] = {
    "none": "it has no sound",
    "silent": "its sound is silent",
    "short": "its sound is too short for any sample",
    "undecodable": "its sound does not decode",
}


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
    report: Report, strategy: dict[str, Any], skipped: Sequence[str] = ()
) -> tuple[list[Clip], list[tuple[Clip, str]]]:
    """Return the clips that train, and every other media file with the reason why it doesn't."""
    objective = objective_of(FlexibleStrategy.model_validate(strategy))
    columns = set(objective.columns().values()) - {"caption", "video", "audio"}
    needs_video, needs_audio = objective.video.present, objective.audio.present
    extends = any(objective.video.condition(kind) for kind in ("prefix", "suffix"))
    training = []
    left_out = [(clip, _why_unusable(clip)) for clip in unusable_clips(report)]
    unwanted = _named_clips(report, skipped)
    for found in usable_clips(report):
        clip = found if needs_video else for_sound_alone(found)
        reason = (
            "you asked to leave it out" if clip.path in unwanted else _why_not(clip, needs_video, needs_audio, columns)
        )
        if reason is None and extends and clip.kind == "image":
            reason = "it is a still: nothing follows its only frame"
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


def _named_clips(report: Report, names: Sequence[str]) -> set[str]:
    """The paths that `names` mean: a number counts the media of report.html from 1, else a path or a part of one.

    Raises ConfigError for a name that means no clip or several.
    """
    paths = [clip.path for clip in report.clips if clip.kind != "other"]
    found = set()
    for name in names:
        if name.isdigit() and name not in paths:
            if not 1 <= int(name) <= len(paths):
                raise ConfigError(f"There is no clip {name}: the report has {len(paths)}.", "Say a number or a name.")
            found.add(paths[int(name) - 1])
            continue
        meant = [path for path in paths if path == name] or [path for path in paths if name.lower() in path.lower()]
        if len(meant) != 1:
            several = ", ".join(displayed(path) for path in meant[:5]) or "none"
            raise ConfigError(f"{name!r:.100} names {len(meant)} clips: {several}.", "Give one clip's name.")
        found.add(meant[0])
    return found
