"""The remedy tools: copies in the project take the place of clips that need mending; the clips folder is only read."""

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tools.inspect.discover.names import displayed
from tools.inspect.remedies.ledger import (
    Copy,
    Remedied,
    free_path,
    read_remedied,
    state_of,
    write_remedied,
)
from tools.inspect.remedies.plans import REMEDIES, RemedyPlan, RemedySettings
from tools.inspect.remedies.recode import write_copies
from tools.inspect.remedies.tracks import MediaChange, Stretch
from tools.inspect.report.report import Clip, Report
from tools.project import Progress, Project
from tools.spec import CostLine, Preview, Tool, nothing
from trainer_core.data.windows import is_image
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import file_digest
from trainer_core.strict import Strict
from trainer_core.units import counted

RemedyName = Literal[
    "split_at_cuts", "constant_frame_rate", "crop_bars", "deinterlace", "rotate", "trim", "loudness", "window"
]
_SOUND_COLUMNS = ("audio", "reference_audio", "audio_mask")
ENDING = ".mov"
SHOWN_CLIPS = 20


class RemedyArguments(Strict):
    """The remedy and its clips; a remedy reads only its own settings."""

    remedy: RemedyName
    clips: Annotated[
        list[str] | None, Field(description="Names from the report, `*` allowed; null: those that need the remedy.")
    ] = None
    at_s: Annotated[list[float] | None, Field(description="split_at_cuts: seconds; null: the measured cuts.")] = None
    frame_rate: Annotated[
        float | None, Field(ge=1, le=120, description="constant_frame_rate: null takes the report's.")
    ] = None
    degrees: Annotated[Literal[90, 180, 270] | None, Field(description="rotate: clockwise; the user names it.")] = None
    start_s: Annotated[float | None, Field(ge=0, description="trim: null and null take black off the ends.")] = None
    end_s: Annotated[float | None, Field(gt=0, description="trim: where to end.")] = None
    target_lufs: Annotated[float | None, Field(ge=-40, le=-5, description="loudness: null is -23 (EBU R128).")] = None
    seconds: Annotated[float | None, Field(gt=0, description="window: the longest piece; null is 5.")] = None


class UndoRemediesArguments(Strict):
    """Clips to take back as they were."""

    clips: Annotated[list[str], Field(min_length=1, description="Names of the original clips, `*` allowed.")]


class RemediedClip(Strict):
    """One clip's remedy, and the copies that took its place."""

    clip: str
    done: str
    copies: list[str]
    seconds_kept: float
    seconds_left_away: float


class RemedyResult(Strict):
    """Remedied clips: show the user the sentence and what was done; the report was written again."""

    sentence: str
    remedied: list[RemediedClip]
    notes: list[str]
    inspection: str


def remedy_clips(project: Project, arguments: RemedyArguments, progress: Progress | None = None) -> RemedyResult:
    """Mend clips by copies in the project that take their place from now on; the clips themselves stay untouched.

    split_at_cuts makes a copy of each shot, constant_frame_rate resamples with the sound, crop_bars cuts letterboxes
    away, deinterlace makes whole pictures of fields, rotate turns, trim takes black or named seconds off, loudness
    brings the sound to -23 LUFS, window cuts long clips into pieces with captions of their own. Each copy is decoded
    again to prove it. Ask the user first: it takes time and disk space. The clips are then inspected again.
    """
    report, plans = _planned(project, arguments)  # refused before anything is written
    done, notes = [], []
    for number, (clip, plan) in enumerate(plans):
        if progress is not None:
            progress("remedying clips", number, len(plans))
        done.append(_apply(project, clip, plan, arguments, progress))
        if not plan.keeps_caption:
            notes.append(f"The copies of {displayed(clip.path)} need captions of their own.")
    copies = sum(len(one.copies) for one in done)
    return RemedyResult(
        sentence=f"{counted(len(done), 'clip')} remedied, {counted(copies, 'copy')} made.",
        remedied=done,
        notes=notes,
        inspection=_inspect_again(project, report, progress),
    )


def preview_remedies(project: Project, arguments: RemedyArguments) -> Preview:
    """Return the card before copies are made: what is done to which clip, and what it takes."""
    _, plans = _planned(project, arguments)
    lines = [f"{displayed(clip.path)}: {plan.words}" for clip, plan in plans[:SHOWN_CLIPS]]
    if len(plans) > SHOWN_CLIPS:
        lines.append(f"and {len(plans) - SHOWN_CLIPS} more")
    lines.append("The clips stay untouched; the copies take their place, and `undo` takes them back.")
    seconds = sum(clip.duration_s for clip, _ in plans)
    copies = counted(sum(len(plan.stretches) for _, plan in plans), "copy")
    costs = [
        CostLine("time", f"every picture of {seconds:.0f} s is decoded and encoded again"),
        CostLine("disk", f"{copies}, nearly lossless: several times the clips' size"),
        *nothing("memory", "money"),
    ]
    return Preview(f"Make {copies} of {counted(len(plans), 'clip')}?", lines, costs)


def undo_remedies(project: Project, arguments: UndoRemediesArguments, progress: Progress | None = None) -> RemedyResult:
    """Take clips back as they were before their last remedy, and remove the copies that stood for them."""
    report, records, undone = _taken_back(project, arguments)
    write_remedied(project, [record for record in records if record not in undone])
    for file in _files_of(project, undone):
        file.unlink(missing_ok=True)
    return RemedyResult(
        sentence=f"{counted(len(undone), 'remedy')} undone.",
        remedied=[],
        notes=[],
        inspection=_inspect_again(project, report, progress),
    )


def preview_undo(project: Project, arguments: UndoRemediesArguments) -> Preview:
    """Return the card before copies are removed: which clips come back as they were, for which files."""
    _, _, undone = _taken_back(project, arguments)
    lines = [f"{displayed(record.path)}: {record.settings}" for record in undone[:SHOWN_CLIPS]]
    if len(undone) > SHOWN_CLIPS:
        lines.append(f"and {len(undone) - SHOWN_CLIPS} more")
    files = [file for file in _files_of(project, undone) if file.is_file()]
    lines.append(f"{counted(len(files), 'copy')} in the project are removed; the clips stay as they always were.")
    freed = sum(file.stat().st_size for file in files)
    costs = [
        CostLine("time", "the clips are looked at again; what was looked at before takes none"),
        CostLine("disk", f"nothing; {freed / 1e6:.1f} MB become free", 0.0, "measured"),
        *nothing("memory", "money"),
    ]
    return Preview(f"Take back {counted(len(undone), 'remedy')}?", lines, costs)


def _taken_back(project: Project, arguments: UndoRemediesArguments) -> tuple[Report, list[Remedied], list[Remedied]]:
    """The report, all records, and those that an undo takes back: remedies of a clip's copies go with its own."""
    from tools.inspect.report.clips import read_report

    report = read_report(project)
    records = read_remedied(project)
    wanted = [
        record
        for record in records
        if any(record.path == name or fnmatch(record.path, name) for name in arguments.clips)
    ]
    if not wanted:
        known = ", ".join(displayed(record.path) for record in records) or "none was remedied"
        raise ConfigError(f"No remedied clip has such a name: {known}.", "Name a clip as it was before its remedy.")
    source = str(project.clips_path)
    undone: list[Remedied] = []
    while wanted:
        record = wanted.pop()
        if record in undone:
            continue
        undone.append(record)
        copies = {copy.path for copy in record.copies}
        wanted += [one for one in records if one.source == source and one.path in copies]
    return report, records, undone


def _files_of(project: Project, records: Sequence[Remedied]) -> list[Path]:
    """The copies that stand for these records, and what was made beside them; nothing outside the project."""
    named = [path for record in records for copy in record.copies for path in (copy.path, *copy.columns.values())]
    files = [project.clips_path / path for path in named]
    return [file for file in files if project.clips_path in file.resolve().parents]


def _planned(project: Project, arguments: RemedyArguments) -> tuple[Report, list[tuple[Clip, RemedyPlan]]]:
    """What would be done to which clips, and the report it follows from."""
    from tools.inspect.report.clips import read_report, usable_clips

    report = read_report(project)
    remedy = REMEDIES[arguments.remedy]
    _refuse_foreign_settings(arguments)
    settings = RemedySettings(
        frame_rate=arguments.frame_rate or report.summary.frame_rate,
        at_s=tuple(arguments.at_s) if arguments.at_s is not None else None,
        **arguments.model_dump(include={"degrees", "start_s", "end_s", "target_lufs", "seconds"}),
    )
    clips = [clip for clip in report.clips if clip.kind in ("video", "audio") and clip.status != "unreadable"]
    if arguments.clips is not None:
        chosen = named(clips, arguments.clips)
    else:
        usable = {id(clip) for clip in usable_clips(report)}
        chosen = [clip for clip in clips if id(clip) in usable and remedy.needed(clip, settings)]
        if not chosen:
            raise DataError(
                f"No clip needs {arguments.remedy}, as far as the report can tell.", "Name the clips to do it to."
            )
    return report, [(clip, remedy.plan(clip, settings)) for clip in chosen]


def named(clips: Sequence[Clip], names: Sequence[str]) -> list[Clip]:
    """The clips of these names or patterns, in the report's order. Raises ConfigError for a name that none has."""
    chosen: list[Clip] = []
    for name in names:
        matching = [clip for clip in clips if clip.path == name or fnmatch(clip.path, name)]
        if not matching:
            raise ConfigError(
                f"No clip that can be decoded is named `{displayed(name)}`.", "Name clips as report.html does."
            )
        chosen += [clip for clip in matching if clip not in chosen]
    return [clip for clip in clips if clip in chosen]


def _apply(
    project: Project, clip: Clip, plan: RemedyPlan, arguments: RemedyArguments, progress: Progress | None
) -> RemediedClip:
    """Write a clip's copies, then its record: what a kill leaves behind is never used."""
    source = Path(clip.source) / clip.path
    size, mtime_ns = state_of(source)
    if clip.sha256 is None or file_digest(source) != clip.sha256:
        raise DataError(f"{displayed(clip.path)} changed since it was inspected.", "Inspect the clips again first.")
    names = [f"{_copy_stem(project, clip)}.{label}{ENDING}" for label, _, _ in plan.stretches]
    targets = [free_path(project.clips_path, name) for name in names]
    stretches = [Stretch(target, start, end) for target, (_, start, end) in zip(targets, plan.stretches, strict=True)]
    gains_elsewhere = "audio" in clip.columns and plan.change.gain_db
    change = MediaChange(**{**vars(plan.change), "gain_db": 0.0}) if gains_elsewhere else plan.change
    columns = _companions(project, clip, plan, targets, progress)
    written = write_copies(source, stretches, change, progress)
    copies = [
        Copy(
            path=str(one.path.relative_to(project.clips_path)),
            start_s=round(one.start_s, 4),
            duration_s=round(one.duration_s, 4),
            columns=further,
        )
        for one, further in zip(written, columns, strict=True)
    ]
    kept_s = sum(copy.duration_s for copy in copies)
    record = Remedied(
        source=clip.source,
        path=clip.path,
        sha256=clip.sha256,
        size=size,
        mtime_ns=mtime_ns,
        duration_s=clip.duration_s,
        remedy=arguments.remedy,
        settings=plan.words,
        copies=copies,
        left_away_s=round(max(0.0, clip.duration_s - kept_s), 3),
    )
    kept = [one for one in read_remedied(project) if (one.source, one.path) != (clip.source, clip.path)]
    write_remedied(project, [*kept, record])
    if plan.keeps_caption:
        _carry_caption(project, clip, targets)
    return RemediedClip(
        clip=displayed(clip.path),
        done=plan.words,
        copies=[copy.path for copy in copies],
        seconds_kept=round(kept_s, 3),
        seconds_left_away=record.left_away_s,
    )


def _companions(
    project: Project, clip: Clip, plan: RemedyPlan, targets: list[Path], progress: Progress | None
) -> list[dict[str, str]]:
    """Do the same to the clip's reference, mask and sound files, so that they still fit; one mapping a copy."""
    columns: list[dict[str, str]] = [{} for _ in targets]
    for column, path in clip.columns.items():
        file = Path(clip.source) / path
        if is_image(file):
            if plan.change.crop is not None or plan.change.quarter_turns:
                raise DataError(
                    f"{displayed(clip.path)}: its {column} is the picture {displayed(path)}, which wouldn't fit then.",
                    "Change that picture in the same way yourself, or remove the column.",
                )
            for own in columns:
                own[column] = os.path.relpath(file, project.clips_path)
            continue
        change = plan.change
        if column in _SOUND_COLUMNS:
            change = MediaChange(gain_db=plan.change.gain_db if column == "audio" else 0.0)
        else:  # a mask or a reference wasn't filmed in fields
            change = MediaChange(**{**vars(change), "gain_db": 0.0, "deinterlace": False})
        further = [free_path(project.clips_path, f"{target.with_suffix('')}.{column}{ENDING}") for target in targets]
        stretches = [Stretch(place, start, end) for place, (_, start, end) in zip(further, plan.stretches, strict=True)]
        for own, one in zip(columns, write_copies(file, stretches, change, progress), strict=True):
            own[column] = str(one.path.relative_to(project.clips_path))
    return columns


def _copy_stem(project: Project, clip: Clip) -> str:
    """A copy of a copy keeps the name it had, without piling up endings."""
    if clip.source == str(project.clips_path):
        return str(Path(clip.path).with_suffix(""))
    return clip.path


def _carry_caption(project: Project, clip: Clip, targets: list[Path]) -> None:
    """What the clip's caption says is still true of a copy: give it to the copies."""
    from tools.caption.store.captions import captions_by_clip, read_captions, write_captions

    entries = read_captions(project.captions_path)
    entry = captions_by_clip(entries, [clip]).get(0)
    if entry is None:
        return
    for target in targets:
        moved = {"path": str(target.relative_to(project.clips_path)), "sha256": file_digest(target)}
        entries.append(entry.model_copy(update=moved))
    write_captions(project.captions_path, entries)


def _inspect_again(project: Project, report: Report, progress: Progress | None) -> str:
    from tools.inspect.tool import InspectArguments, inspect_clips

    return inspect_clips(project, InspectArguments(frame_rate=report.summary.frame_rate), progress).sentence


def _refuse_foreign_settings(arguments: RemedyArguments) -> None:
    given = arguments.model_dump(exclude={"remedy", "clips"}, exclude_none=True)
    foreign = sorted(set(given) - REMEDIES[arguments.remedy].reads)
    if foreign:
        own = ", ".join(sorted(REMEDIES[arguments.remedy].reads)) or "none"
        raise ConfigError(
            f"{arguments.remedy} doesn't read {', '.join(foreign)}; its settings: {own}.", "Leave the others out."
        )


REMEDY_TOOLS: list[Tool] = [
    Tool("remedy_clips", remedy_clips, RemedyArguments, needs_approval="change", preview=preview_remedies),
    Tool("undo_remedies", undo_remedies, UndoRemediesArguments, needs_approval="change", preview=preview_undo),
]
