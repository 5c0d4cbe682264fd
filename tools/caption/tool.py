"""The caption node's tool: give every usable clip a caption, and say where each came from."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tools.caption.captioner import CaptionDraft, ClipFile
from tools.caption.captions import (
    CaptionEntry,
    CaptionFlag,
    captions_by_clip,
    new_entry,
    read_captions,
    write_captions,
)
from tools.caption.clips import clip_file, read_report, usable_clips
from tools.caption.existing import ExistingCaptioner, find_sidecar, metadata_captions
from tools.caption.text import plain_text
from tools.inspect.names import displayed
from tools.inspect.report import Clip
from tools.project import Progress, Project
from tools.spec import Tool
from trainer_core.errors import ConfigError, DataError

CaptionerName = Literal["auto", "existing", "measured"]
SPOT_CHECKED = 3
NAMED_CLIPS = 5
MAX_TRIGGER_CHARACTERS = 64


class CaptionArguments(BaseModel):
    """How to caption."""

    model_config = ConfigDict(extra="forbid")

    captioner: Annotated[
        CaptionerName,
        Field(
            description="existing: only captions that lie beside the clips; measured: descriptions of measures only, "
            "drafts for a person to review; auto: existing where there is one, else measured."
        ),
    ] = "auto"
    trigger: Annotated[
        str | None,
        Field(description="A rare word that shall call up what is trained, such as ohwx; null leaves it as it is."),
    ] = None


class SpotCheck(BaseModel):
    """One caption in full, for the person to judge."""

    model_config = ConfigDict(extra="forbid")

    path: str
    source: str
    caption: str
    needs_review: bool
    flags: list[CaptionFlag]


class CaptionResult(BaseModel):
    """What was captioned: counts by source, how many a person must review, the first captions in full."""

    model_config = ConfigDict(extra="forbid")

    clips: int
    by_source: dict[str, int]
    written: int
    kept: int
    needs_review: int
    trigger: str | None
    spot_check: list[SpotCheck]
    notes: list[str]
    path: str


def caption_clips(project: Project, arguments: CaptionArguments, progress: Progress | None = None) -> CaptionResult:
    """Give every usable clip a caption and write captions.jsonl.

    Captions a person wrote are never overwritten, and what is captioned already is kept. Captions found beside the
    clips are taken as they are; measured ones say only what was measured, and a person must review them.
    The trigger word is stored with the project and put before each caption when text is encoded: never write it
    into captions. Show the person the spot check and how many captions need review.
    """
    clips = usable_clips(read_report(project))
    trigger = _store_trigger(project, arguments.trigger)
    before = read_captions(project.captions_path)
    known = captions_by_clip(before, clips)
    entries, kept = _caption_all(project, clips, known, arguments.captioner, progress)
    absent = _of_absent_clips(before, clips)
    write_captions(project.captions_path, entries + absent)
    return CaptionResult(
        clips=len(clips),
        by_source=dict(Counter(entry.source for entry in entries)),
        written=len(entries) - kept,
        kept=kept,
        needs_review=sum(entry.needs_review for entry in entries),
        trigger=trigger,
        spot_check=[
            SpotCheck(
                path=entry.path,
                source=entry.source,
                caption=entry.caption,
                needs_review=entry.needs_review,
                flags=entry.flags,
            )
            for entry in entries[:SPOT_CHECKED]
        ],
        notes=_notes(entries, absent, trigger),
        path=str(project.captions_path),
    )


CAPTION_TOOLS: list[Tool] = [Tool("caption_clips", caption_clips, CaptionArguments)]


def _store_trigger(project: Project, wanted: str | None) -> str | None:
    """Keep the trigger word in project.json, its only place; return the one in force."""
    facts = project.facts
    if wanted is None:
        return facts.trigger
    trigger = plain_text(wanted)
    if not 0 < len(trigger) <= MAX_TRIGGER_CHARACTERS:
        raise ConfigError(
            f"A trigger of {len(trigger)} characters won't do: 1 to {MAX_TRIGGER_CHARACTERS} are allowed.",
            "Choose one rare word, such as ohwx.",
        )
    if trigger != facts.trigger:
        project.write_facts(facts.model_copy(update={"trigger": trigger}))
    return trigger


def _caption_all(
    project: Project,
    clips: list[Clip],
    known: dict[int, CaptionEntry],
    captioner: CaptionerName,
    progress: Progress | None,
) -> tuple[list[CaptionEntry], int]:
    """Return the entry of every clip and how many of them were there before. Raises DataError naming clips without."""
    from tools.caption.measured import INSTRUCTION_VERSION, MeasuredCaptioner

    existing = ExistingCaptioner(metadata_captions(Path(source) for source in project.facts.sources))
    measured = MeasuredCaptioner()
    entries: list[CaptionEntry] = []
    missing: list[str] = []
    kept = 0
    for index, clip in enumerate(clips):
        if progress is not None:
            progress("captions", index, len(clips))
        entry = known.get(index)
        file = ClipFile(clip_file(clip), displayed(clip.path), clip.kind)  # type: ignore[arg-type]  # usable clips are never "other"
        draft = existing.caption(file) if captioner != "measured" else None
        keeps = entry is not None and (
            entry.source == "person"
            or (draft is None and captioner != "existing" and _is_current(entry, captioner, INSTRUCTION_VERSION))
            or (draft is not None and (entry.source, entry.caption) == (draft.source, draft.caption))
        )
        if entry is not None and keeps:
            entries.append(entry.model_copy(update={"path": clip.path}))
            kept += 1
            continue
        if draft is None and captioner != "existing":
            draft = _marking_empty_sidecar(measured.caption(file), file)
        if draft is None:
            missing.append(clip.path)
        else:
            entries.append(new_entry(clip, draft))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(clips)} clips have no caption: {_named(missing)}.",
            "Write a .txt file beside each, or let the captioner be `auto`, which measures those.",
        )
    if progress is not None:
        progress("captions", len(clips), len(clips))
    return entries, kept


def _is_current(entry: CaptionEntry, captioner: CaptionerName, version: str) -> bool:
    """Whether a tool's earlier caption stands: measured anew it would read the same; auto keeps better ones."""
    if entry.source == "measured":
        return entry.instruction_version == version
    return captioner == "auto" and entry.source in ("endpoint", "local")


def _marking_empty_sidecar(draft: CaptionDraft, file: ClipFile) -> CaptionDraft:
    if find_sidecar(file.path) is None:
        return draft
    return replace(draft, flags={**draft.flags, "sidecar_empty": "the text file beside the clip says nothing"})


def _of_absent_clips(before: list[CaptionEntry], clips: list[Clip]) -> list[CaptionEntry]:
    """Captions that a person wrote for clips that are not there now, to be kept for their return."""
    present = {clip.sha256 for clip in clips}
    return [entry for entry in before if entry.source == "person" and entry.sha256 not in present]


def _notes(entries: list[CaptionEntry], absent: list[CaptionEntry], trigger: str | None) -> list[str]:
    notes = []
    measured = sum(entry.source == "measured" for entry in entries)
    if measured:
        notes.append(
            f"{measured} of {len(entries)} captions are measured descriptions: drafts that say nothing of what is "
            "shown. Edit them in captions.jsonl, or write a .txt file beside each clip; what you write is kept."
        )
    if trigger:
        word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
        doubled = [entry.path for entry in entries if word.search(entry.caption)]
        if doubled:
            notes.append(
                f"{len(doubled)} captions hold the trigger `{trigger}` already, and it is put before each caption when "
                f"text is encoded, so it would stand twice: {_named(doubled)}."
            )
    shared = sum(count for count in Counter(entry.caption for entry in entries).values() if count > 1)
    if shared:
        notes.append(f"{shared} of {len(entries)} clips share their caption with another clip.")
    if absent:
        names = _named([entry.path for entry in absent])
        notes.append(
            f"{len(absent)} captions written by a person belong to clips not there now; they are kept: {names}."
        )
    return notes


def _named(paths: list[str]) -> str:
    shown = ", ".join(displayed(path) for path in paths[:NAMED_CLIPS])
    return shown if len(paths) <= NAMED_CLIPS else f"{shown} and {len(paths) - NAMED_CLIPS} more"
