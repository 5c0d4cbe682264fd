"""The caption node's tools: caption every usable clip, where they cost something a spot check first; retune; rest."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tools.caption.captioners.captioner import Style
from tools.caption.captioners.choose import make_captioner, parse_choice
from tools.caption.captioners.download import DownloadArguments, download_captioner, preview_download
from tools.caption.estimate import CaptionEstimate, Used, ask_price, estimate, memory_cost, price_of, used
from tools.caption.lint.fix import FixArguments, fix_captions, preview_fix
from tools.caption.lint.set_checks import LINT_IDS
from tools.caption.speech.transcribe import parse_transcriber
from tools.caption.store.caption_session import CaptionSession, captions_opened, open_captions
from tools.caption.store.captions import CaptionEntry, CaptionFlag
from tools.caption.store.edit import EditCaptionArguments, write_caption
from tools.caption.store.history import Action, UndoCaptionsArguments, undo_captions
from tools.inspect.discover.names import displayed
from tools.plain_text import plain_text
from tools.project import Progress, Project
from tools.spec import CostLine, Preview, Tool, nothing
from trainer_core.errors import ConfigError, DataError
from trainer_core.strict import Strict

NAMED_CLIPS = 5
MAX_TRIGGER_CHARACTERS = 64
MAX_NOTE_CHARACTERS = 500


class CaptionArguments(Strict):
    """Settings of a captioning."""

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
        Field(description="A rare word that calls up what is trained, such as ohwx; null leaves it as it is."),
    ] = None
    speech: Annotated[
        str | None,
        Field(
            description="Who transcribes speech: auto (the default), none, endpoint[:MODEL] or local[:FOLDER or HUB "
            "ID]. null keeps the project's choice."
        ),
    ] = None
    clips: Annotated[
        Literal["auto", "spot_check", "all"],
        Field(
            description="spot_check: at most three; all: every clip; auto: a spot check first where a model writes the "
            "captions, all where they only have to be found or measured."
        ),
    ] = "auto"
    unusable: Annotated[
        bool, Field(description="Also caption clips that can't be trained on here, for another trainer.")
    ] = False
    again: Annotated[
        bool, Field(description="Write a model's captions again; those a person wrote or that lie beside clips stay.")
    ] = False


class RetuneArguments(Strict):
    """A note on how to write captions from now on."""

    note: Annotated[
        str, Field(max_length=MAX_NOTE_CHARACTERS, description="One more instruction to the captioner, in plain words.")
    ] = ""
    forget: Annotated[bool, Field(description="Drop the notes given before.")] = False


class SpotCheck(Strict):
    """One caption in full, for the user to judge."""

    path: str
    source: str
    caption: str
    needs_review: bool
    flags: list[CaptionFlag]


class CaptionResult(Strict):
    """Result of a captioning: counts by source, how many the user must review, some captions in full.

    `remaining` clips wait for the user's word on the spot check. `findings` counts the lint's findings by id.
    """

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
    estimate: CaptionEstimate | None
    used: Used
    notes: list[str]
    path: str


def caption_clips(project: Project, arguments: CaptionArguments, progress: Progress | None = None) -> CaptionResult:
    """Give every usable clip a caption and write captions.jsonl.

    Captions a person wrote are never overwritten, and what is captioned already is kept, so that it can be interrupted
    and called again. Where a model writes the captions, only a spot check of three is written at first: show it in
    full, with the estimate of the rest; `caption_rest` writes the others after the user agreed, `retune_captions`
    changes how they are written. The trigger word is stored with the project and put before each caption when text is
    encoded: never write it into captions.
    """
    _store_choices(project, arguments)
    return _caption(project, arguments, progress, "caption")


def caption_rest(project: Project, arguments: CaptionArguments, progress: Progress | None = None) -> CaptionResult:
    """Write the captions that `caption_clips` left after its spot check. Give no arguments."""
    _store_choices(project, arguments)
    return _caption(project, arguments.model_copy(update={"clips": "all"}), progress, "caption")


def store_note(project: Project, arguments: RetuneArguments) -> None:
    """Keep a note to the captioner with the project. Raises ConfigError for an empty one."""
    facts = project.facts
    note = plain_text(arguments.note)
    if not note and not arguments.forget:
        raise ConfigError("There is no note to add.", "Say what to change, such as: name the kind of shot first.")
    notes = [] if arguments.forget else facts.caption_notes
    wanted = [*notes, *([note] if note and note not in notes else [])]
    project.write_facts(facts.model_copy(update={"caption_notes": wanted}))


def retune_captions(project: Project, arguments: RetuneArguments, progress: Progress | None = None) -> CaptionResult:
    """Change how a model writes the captions, by one note in the user's words, and write the spot check again.

    The note is kept with the project and goes into every later caption. Show the user the new captions in full.
    """
    store_note(project, arguments)
    return _caption(project, CaptionArguments(clips="spot_check"), progress, "retune")


def preview_rest(project: Project, arguments: CaptionArguments) -> Preview | None:
    """Return the card before the rest is written: the spot check in full, and what the rest will cost."""
    session = open_captions(project, again=arguments.again, unusable=arguments.unusable)
    remaining = session.remaining
    if not remaining or not session.costly or session.captioner is None:
        return None
    rows = session.rows()
    spot = {session.work.clips[index].path for index in session.work.spot_check()}
    ahead = _estimate(session, remaining, rows)
    looked_at = [row for row in rows if row.path in spot]
    lines = [f"{n}. {row.path} ({row.source}): {row.caption}" for n, row in enumerate(looked_at, start=1)]
    lines.append("Not right? Say what to change; these are then written again before the rest.")
    costs = [
        CostLine("money", _money(ahead.cost_usd), ahead.cost_usd, "unknown" if ahead.cost_usd is None else "estimated"),
        CostLine("time", ahead.sentence(), ahead.seconds, "measured" if ahead.measured else "estimated"),
        memory_cost(session.captioner),
        *nothing("disk"),
    ]
    return Preview(f"Caption the other {len(remaining)} clips like these?", lines, costs)


def _money(cost_usd: float | None) -> str:
    return "no price is known" if cost_usd is None else f"about ${cost_usd:.2f}"


def _estimate(session: CaptionSession, indices: Sequence[int], rows: list[CaptionEntry]) -> CaptionEstimate:
    assert session.captioner is not None
    clips = [session.work.clips[index] for index in indices]
    return estimate(clips, session.captioner, session.instruction.text, session.instruction.style, rows)


def check_captioner(project: Project, arguments: CaptionArguments) -> None:
    """Keep the choices and refuse a captioner that isn't there, before anything costly begins.

    Raises ConfigError, and ApprovalNeeded for a model that would have to be downloaded.
    """
    _store_choices(project, arguments)
    make_captioner(parse_choice(project.facts.captioner or "auto"), [])


def estimate_captions(project: Project, arguments: CaptionArguments) -> CaptionEstimate | None:
    """Return the estimate of `caption_clips` before it begins; None where nothing is left or nothing costs anything."""
    _store_choices(project, arguments)
    session = open_captions(project, again=arguments.again, unusable=arguments.unusable)
    if not session.remaining or not session.costly:
        return None
    ask_price(session.captioner)
    return _estimate(session, session.remaining, session.rows())


def _caption(project: Project, arguments: CaptionArguments, progress: Progress | None, action: Action) -> CaptionResult:
    with captions_opened(project, again=arguments.again, unusable=arguments.unusable) as session:
        _refuse_missing(session)
        try:
            chosen = _chosen(session, arguments)
            _say_ahead(session, chosen, progress)
            session.write(chosen, progress)
        finally:
            rows = session.save(action)
        return _result(session, rows)


def _say_ahead(session: CaptionSession, chosen: Sequence[int], progress: Progress | None) -> None:
    """Before a spot check begins, say what all of it will take: nothing is spent by then."""
    remaining = session.remaining
    if progress is None or not session.costly or not 0 < len(chosen) < len(remaining):
        return
    progress(_estimate(session, remaining, session.rows()).sentence(), 0, len(chosen))


def model_folders(name: str) -> Mapping[str, Callable[[Any, Any], list[str]]]:
    """`Tool.paths` of a captioner or speech recogniser: the folder of `local:FOLDER`. A model of the hub is none."""

    def paths(_project: Any, arguments: Any) -> list[str]:
        kind, _, model = (getattr(arguments, name) or "").partition(":")
        of_the_hub = model.count("/") == 1 and not model.startswith((".", "/", "~"))
        if kind != "local" or not model or (of_the_hub and not Path(model).exists()):
            return []
        return [model]

    return {name: paths}


_MODEL_FOLDERS = {**model_folders("captioner"), **model_folders("speech")}

CAPTION_TOOLS: list[Tool] = [
    Tool("caption_clips", caption_clips, CaptionArguments, paths=_MODEL_FOLDERS),
    Tool(
        "caption_rest",
        caption_rest,
        CaptionArguments,
        needs_approval="captions",
        preview=preview_rest,
        paths=_MODEL_FOLDERS,
    ),
    Tool("retune_captions", retune_captions, RetuneArguments),
    Tool("fix_captions", fix_captions, FixArguments, needs_approval="captions", preview=preview_fix),
    Tool("write_caption", write_caption, EditCaptionArguments),
    Tool("undo_captions", undo_captions, UndoCaptionsArguments),
    Tool(
        "download_captioner",
        download_captioner,
        DownloadArguments,
        needs_approval="download",
        preview=preview_download,
    ),
]


def _store_choices(project: Project, arguments: CaptionArguments) -> None:
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
    if arguments.speech is not None:
        parse_transcriber(arguments.speech)
        told["speech"] = None if arguments.speech == "auto" else arguments.speech
    if arguments.style is not None:
        told["caption_style"] = arguments.style
    wanted = facts.model_copy(update=told)
    if wanted != facts:
        project.write_facts(wanted)


def _refuse_missing(session: CaptionSession) -> None:
    work = session.work
    if session.captioner is None and work.todo:
        missing = [work.clips[index].path for index in work.todo]
        raise DataError(
            f"{len(missing)} of {len(work.clips)} clips have no caption: {_named(missing)}.",
            "Write a .txt file beside each, or let the captioner be `auto`, which writes or measures those.",
        )


def _chosen(session: CaptionSession, arguments: CaptionArguments) -> list[int]:
    """The clips to caption now."""
    only_spot = arguments.clips == "spot_check" or (arguments.clips == "auto" and session.costly)
    picked = session.work.spot_check() if only_spot else session.work.todo
    return [index for index in session.work.todo if index in set(picked)]


def _result(session: CaptionSession, entries: list[CaptionEntry]) -> CaptionResult:
    work, captioner, remaining = session.work, session.captioner, session.remaining
    spot = {work.clips[index].path for index in work.spot_check()}
    others = () if remaining else [entry for entry in entries if entry.path not in spot][: max(0, 3 - len(spot))]
    shown = [entry for entry in entries if entry.path in spot or entry in others]
    ahead = _estimate(session, remaining, entries) if remaining and captioner is not None else None
    return CaptionResult(
        clips=len(work.clips),
        by_source=dict(Counter(entry.source for entry in entries)),
        written=len(entries) - work.kept,
        kept=work.kept,
        remaining=len(remaining),
        needs_review=sum(entry.needs_review for entry in entries),
        trigger=session.facts.trigger,
        captioner=f"{captioner.source}:{captioner.model}" if captioner is not None else "existing",
        style=session.instruction.style,
        instruction_version=session.instruction.version,
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
        failed=session.failed,
        estimate=ahead,
        used=used(session.used, price_of(captioner), session.used.seconds),
        notes=[*session.notes, *_notes(entries, session.absent(), session.facts.trigger, session.failed)],
        path=str(session.project.captions_path),
    )


def _notes(
    entries: list[CaptionEntry], absent: list[CaptionEntry], trigger: str | None, failed: dict[str, str]
) -> list[str]:
    notes = []
    measured = sum(entry.source == "measured" for entry in entries)
    if measured:
        notes.append(
            f"{measured} of {len(entries)} captions are measured descriptions: drafts that say nothing of what is "
            "shown. Say what each shows, or write a .txt file beside each clip; what you write is kept."
        )
    if failed:
        path, reason = next(iter(failed.items()))
        notes.append(
            f"The captioner failed on {len(failed)} of {len(entries)} clips: measured drafts stand there instead, and "
            f"the same command tries again. {displayed(path)}: {reason}"
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
