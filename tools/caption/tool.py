"""The caption node's tools: caption every usable clip, where they cost something a spot check first; retune; rest."""

from collections import Counter
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from tools.caption.captioner import Captioner, Style, Usage
from tools.caption.captions import CaptionEntry, CaptionFlag, read_captions
from tools.caption.choose import make_captioner, parse_choice
from tools.caption.clips import read_report, usable_clips
from tools.caption.estimate import Estimate, Used, estimate, price_of, used
from tools.caption.history import (
    Action,
    add_to_journal,
    captions_locked,
    close_journal,
    read_journal,
    save_captions,
)
from tools.caption.instruction import default_style, learns_identity, make_instruction
from tools.caption.lint_set import LINT_IDS
from tools.caption.prepare import Preparation
from tools.caption.review import reviewed
from tools.caption.speech import choose_transcriber, transcribe_clips
from tools.caption.text import plain_text
from tools.caption.work import Spoken, Work, checked_transcript, plan_work, write_captions_for
from tools.inspect.names import displayed
from tools.inspect.report import Clip
from tools.project import Progress, Project, ProjectFacts
from tools.spec import Tool
from trainer_core.errors import ConfigError, DataError

NAMED_CLIPS = 5
MAX_TRIGGER_CHARACTERS = 64
MAX_NOTE_CHARACTERS = 500
COSTLY = ("endpoint", "local")
"""Captioners whose first captions a person sees before the rest is written."""


class CaptionArguments(BaseModel):
    """How to caption."""

    model_config = ConfigDict(extra="forbid")

    captioner: Annotated[
        str | None,
        Field(
            description="auto (the default): captions that lie beside the clips, else the configured vision endpoint, "
            "else a local vision model, else measures; existing; endpoint[:MODEL]; local[:FOLDER or HUB ID]; measured: "
            "descriptions of measures only, drafts for a person to review. null keeps the project's choice."
        ),
    ] = None
    style: Annotated[
        Style | None,
        Field(
            description="ltx: one long paragraph; short: one sentence; tags; audio: the sound alone; edit: the change "
            "from a reference to its target. null: what the project has, else what the objective needs."
        ),
    ] = None
    trigger: Annotated[
        str | None,
        Field(description="A rare word that shall call up what is trained, such as ohwx; null leaves it as it is."),
    ] = None
    speech: Annotated[
        str, Field(description="Who transcribes speech: auto, none, endpoint[:MODEL] or local[:FOLDER or HUB ID].")
    ] = "auto"
    clips: Annotated[
        Literal["auto", "spot_check", "all"],
        Field(
            description="spot_check: at most three; all: every clip; auto: a spot check first where a model writes the "
            "captions, all where they only have to be found or measured."
        ),
    ] = "auto"
    again: Annotated[
        bool, Field(description="Write a model's captions anew; those a person wrote or that lie beside clips stay.")
    ] = False


class RetuneArguments(BaseModel):
    """How the captions shall change."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[
        str, Field(max_length=MAX_NOTE_CHARACTERS, description="One more instruction to the captioner, in plain words.")
    ] = ""
    forget: Annotated[bool, Field(description="Drop the notes given before.")] = False


class SpotCheck(BaseModel):
    """One caption in full, for the person to judge."""

    model_config = ConfigDict(extra="forbid")

    path: str
    source: str
    caption: str
    needs_review: bool
    flags: list[CaptionFlag]


class CaptionResult(BaseModel):
    """What was captioned: counts by source, how many a person must review, some captions in full.

    `remaining` clips wait for the person's word on the spot check. `findings` counts the lint's findings by id.
    """

    model_config = ConfigDict(extra="forbid")

    clips: int
    by_source: dict[str, int]
    written: int
    kept: int
    remaining: int
    needs_review: int
    trigger: str | None
    captioner: str
    style: str
    instruction_version: str
    spot_check: list[SpotCheck]
    findings: dict[str, int]
    failed: dict[str, str]
    estimate: Estimate | None
    used: Used
    notes: list[str]
    path: str


def caption_clips(project: Project, arguments: CaptionArguments, progress: Progress | None = None) -> CaptionResult:
    """Give every usable clip a caption and write captions.jsonl.

    Captions a person wrote are never overwritten, and what is captioned already is kept, so that it can be interrupted
    and called again. Where a model writes the captions, only a spot check of three is written at first: show it in
    full, with the estimate of the rest; `caption_rest` writes the others after the person agreed, `retune_captions`
    changes how they are written. The trigger word is stored with the project and put before each caption when text is
    encoded: never write it into captions.
    """
    facts = _store_choices(project, arguments)
    return _caption(project, facts, arguments, progress, "caption")


def caption_rest(project: Project, arguments: CaptionArguments, progress: Progress | None = None) -> CaptionResult:
    """Write the captions that `caption_clips` left after its spot check. Give no arguments."""
    everything = arguments.model_copy(update={"clips": "all"})
    return _caption(project, _store_choices(project, everything), everything, progress, "caption")


def retune_captions(project: Project, arguments: RetuneArguments, progress: Progress | None = None) -> CaptionResult:
    """Change how a model writes the captions, by one note in the person's words, and write the spot check anew.

    The note is kept with the project and goes into every later caption. Show the person the new captions in full.
    """
    facts = project.facts
    note = plain_text(arguments.note)
    if not note and not arguments.forget:
        raise ConfigError("There is no note to add.", "Say what shall change, such as: name the kind of shot first.")
    notes = [] if arguments.forget else facts.caption_notes
    facts = facts.model_copy(update={"caption_notes": [*notes, *([note] if note and note not in notes else [])]})
    project.write_facts(facts)
    return _caption(project, facts, CaptionArguments(clips="spot_check"), progress, "retune")


def _caption(
    project: Project,
    facts: ProjectFacts,
    arguments: CaptionArguments,
    progress: Progress | None,
    action: Action,
) -> CaptionResult:
    with captions_locked(project):
        clips = usable_clips(read_report(project))
        notes: list[str] = []
        choice = parse_choice(facts.captioner or "auto")
        captioner = make_captioner(choice, notes)
        style = _style(facts)
        instruction = make_instruction(style, identity=learns_identity(facts), notes=facts.caption_notes)
        before = read_captions(project.captions_path)
        journal = read_journal(project)
        known = _newest([*before, *journal])
        work = plan_work(project, clips, known, choice, captioner, instruction.version, again=arguments.again)
        _refuse_missing(work, captioner)
        chosen = _chosen(work, captioner, arguments)
        failed: dict[str, str] = {}
        usage = Usage()
        try:
            if captioner is not None and chosen:
                spoken = _spoken(project, work, chosen, arguments, notes, progress)
                usage, failed = write_captions_for(
                    work,
                    chosen,
                    Preparation(captioner, instruction),
                    spoken,
                    {},
                    lambda entry: add_to_journal(project, entry),
                    progress,
                )
                notes += getattr(captioner, "notes", [])
        finally:
            entries = _finish(project, work, before, known, instruction.text, action)
        remaining = [index for index in work.todo if index not in work.entries]
        return _result(
            project, work, entries, remaining, captioner, style, instruction.version, facts, usage, failed, notes
        )


CAPTION_TOOLS: list[Tool] = [Tool("caption_clips", caption_clips, CaptionArguments)]


def _store_choices(project: Project, arguments: CaptionArguments) -> ProjectFacts:
    """Keep what was told in project.json, its only place. Raises ConfigError for what won't do."""
    facts = project.facts
    told: dict[str, object] = {}
    if arguments.trigger is not None:
        trigger = plain_text(arguments.trigger)
        if not 0 < len(trigger) <= MAX_TRIGGER_CHARACTERS:
            raise ConfigError(
                f"A trigger of {len(trigger)} characters won't do: 1 to {MAX_TRIGGER_CHARACTERS} are allowed.",
                "Choose one rare word, such as ohwx.",
            )
        told["trigger"] = trigger
    if arguments.captioner is not None:
        parse_choice(arguments.captioner)
        told["captioner"] = None if arguments.captioner == "auto" else arguments.captioner
    if arguments.style is not None:
        told["caption_style"] = arguments.style
    wanted = facts.model_copy(update=told)
    if wanted != facts:
        project.write_facts(wanted)
    return wanted


def _style(facts: ProjectFacts) -> Style:
    for style in get_args(Style):
        if style == facts.caption_style:
            return style
    return default_style(facts.objective)


def _newest(entries: list[CaptionEntry]) -> list[CaptionEntry]:
    """One row a clip, the last one; a person's row is never replaced by a machine's."""
    rows: dict[tuple[str, str], CaptionEntry] = {}
    for entry in entries:
        if entry.key not in rows or rows[entry.key].source != "person":
            rows[entry.key] = entry
    return list(rows.values())


def _refuse_missing(work: Work, captioner: Captioner | None) -> None:
    if captioner is None and work.todo:
        missing = [work.clips[index].path for index in work.todo]
        raise DataError(
            f"{len(missing)} of {len(work.clips)} clips have no caption: {_named(missing)}.",
            "Write a .txt file beside each, or let the captioner be `auto`, which writes or measures those.",
        )


def _chosen(work: Work, captioner: Captioner | None, arguments: CaptionArguments) -> list[int]:
    """The clips to caption now."""
    only_spot = arguments.clips == "spot_check" or (
        arguments.clips == "auto" and captioner is not None and captioner.source in COSTLY
    )
    picked = set(work.spot_check()) if only_spot else set(work.todo)
    return [index for index in work.todo if index in picked]


def _spoken(
    project: Project,
    work: Work,
    chosen: list[int],
    arguments: CaptionArguments,
    notes: list[str],
    progress: Progress | None,
) -> dict[str, Spoken]:
    clips, files = [work.clips[index] for index in chosen], [work.files[index] for index in chosen]
    transcriber = choose_transcriber(arguments.speech, notes)
    found = transcribe_clips(project, transcriber, clips, files, notes, progress)
    return {
        clip.sha256 or "": checked_transcript(file, found.get(clip.sha256 or ""))
        for clip, file in zip(clips, files, strict=True)
    }


def _finish(
    project: Project,
    work: Work,
    before: list[CaptionEntry],
    known: list[CaptionEntry],
    instruction: str,
    action: Action,
) -> list[CaptionEntry]:
    """Lint what there is and write captions.jsonl, however the work ended; return the rows of the clips in order."""
    present = sorted(work.entries)
    rows = reviewed(
        project,
        [work.clips[index] for index in present],
        [work.files[index] for index in present],
        [work.entries[index] for index in present],
        instruction,
    )
    written = {row.key for row in rows}
    waiting = {work.clips[index].sha256 for index in work.todo if index not in work.entries}
    rest = [row for row in known if row.key not in written and row.sha256 in waiting]  # to be written anew, not yet
    save_captions(project, before, [*rows, *rest, *_of_absent_clips(known, work.clips)], action)
    close_journal(project)
    return rows


def _of_absent_clips(known: list[CaptionEntry], clips: list[Clip]) -> list[CaptionEntry]:
    """Captions that a person wrote for clips that are not there now, to be kept for their return."""
    present = {clip.sha256 for clip in clips}
    return [entry for entry in known if entry.source == "person" and entry.sha256 not in present]


def _result(
    project: Project,
    work: Work,
    entries: list[CaptionEntry],
    remaining: list[int],
    captioner: Captioner | None,
    style: Style,
    version: str,
    facts: ProjectFacts,
    usage: Usage,
    failed: dict[str, str],
    notes: list[str],
) -> CaptionResult:
    absent = _of_absent_clips(read_captions(project.captions_path), work.clips)
    spot = {work.clips[index].path for index in work.spot_check()}
    others = () if remaining else [entry for entry in entries if entry.path not in spot][: max(0, 3 - len(spot))]
    shown = [entry for entry in entries if entry.path in spot or entry in others]
    ahead = None
    if remaining and captioner is not None:
        ahead = estimate([work.clips[index] for index in remaining], captioner, version, style, entries)
    return CaptionResult(
        clips=len(work.clips),
        by_source=dict(Counter(entry.source for entry in entries)),
        written=len(entries) - work.kept,
        kept=work.kept,
        remaining=len(remaining),
        needs_review=sum(entry.needs_review for entry in entries),
        trigger=facts.trigger,
        captioner=f"{captioner.source}:{captioner.model}" if captioner is not None else "existing",
        style=style,
        instruction_version=version,
        spot_check=[
            SpotCheck(
                path=entry.path,
                source=entry.source,
                caption=entry.caption,
                needs_review=entry.needs_review,
                flags=entry.flags,
            )
            for entry in shown[:3]
        ],
        findings=dict(Counter(flag.id for entry in entries for flag in entry.flags if flag.id in LINT_IDS)),
        failed=failed,
        estimate=ahead,
        used=used(usage, price_of(captioner), usage.seconds),
        notes=[*notes, *_notes(entries, absent, facts.trigger, failed)],
        path=str(project.captions_path),
    )


def _notes(
    entries: list[CaptionEntry], absent: list[CaptionEntry], trigger: str | None, failed: dict[str, str]
) -> list[str]:
    notes = []
    measured = sum(entry.source == "measured" for entry in entries)
    if measured:
        notes.append(
            f"{measured} of {len(entries)} captions are measured descriptions: drafts that say nothing of what is "
            "shown. Edit them in captions.jsonl, or write a .txt file beside each clip; what you write is kept."
        )
    if failed:
        path, reason = next(iter(failed.items()))
        notes.append(
            f"The captioner failed on {len(failed)} clips, which have measured drafts instead; the same command tries "
            f"them again. {displayed(path)}: {reason}"
        )
    if trigger:
        holding = [entry.path for entry in entries if trigger.casefold() in entry.caption.casefold()]
        if holding:
            notes.append(
                f"{len(holding)} captions hold the trigger `{trigger}` themselves; it isn't put before those, so it "
                f"stands once: {_named(holding)}."
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
