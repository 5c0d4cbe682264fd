"""The verbs of captions: caption any folder, look at captions, mend, write, undo, exchange them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agent.cli.asking import agrees, ask_words
from agent.cli.asking import is_terminal as _is_terminal
from agent.cli.options import CaptionerOption, JsonOption, ProjectOption, TargetArgument
from agent.cli.output import progress, say, say_json

if TYPE_CHECKING:
    from tools.caption.tool import CaptionArguments, CaptionResult
    from tools.project import Project

StyleName = Literal["ltx", "short", "tags", "audio", "edit"]
StyleOption = Annotated[StyleName | None, typer.Option("--style", help="How they are written [by objective: ltx].")]
SpeechOption = Annotated[
    str | None,
    typer.Option("--speech", help="Who transcribes speech: auto, none, endpoint[:MODEL], local[:FOLDER]; kept."),
]
TriggerOption = Annotated[
    str | None, typer.Option("--trigger", help="A rare word that calls up what is trained; told once, kept.")
]
NoteOption = Annotated[
    list[str] | None, typer.Option("--note", help="One more instruction to the captioner; kept with the project.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Write all captions without showing the spot check first.")]
CaptionsProject = Annotated[Path, typer.Argument(metavar="CLIPS|PROJECT", help="Folder of clips, or its project.")]

LEAVE = frozenset({"q", "quit", ""})

app = typer.Typer(
    name="captions",
    help="Look at captions, mend them, write one, undo, export, import.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def caption(
    target: TargetArgument,
    captioner: CaptionerOption = None,
    style: StyleOption = None,
    trigger: TriggerOption = None,
    speech: SpeechOption = None,
    note: NoteOption = None,
    again: Annotated[bool, typer.Option("--again", help="Write a model's captions again.")] = False,
    unusable: Annotated[
        bool, typer.Option("--unusable", help="Also clips that can't be trained on here, for another trainer.")
    ] = False,
    yes: YesOption = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give every usable clip a caption; works on any folder by itself."""
    from agent.session.projects import project_of
    from tools.caption.tool import CaptionArguments, RetuneArguments, check_captioner, estimate_captions, store_note

    opened = project_of(target, project)
    arguments = _checked(
        CaptionArguments,
        captioner=captioner,
        style=style,
        trigger=trigger,
        speech=speech,
        again=again,
        unusable=unusable,
    )
    for words in note or []:
        store_note(opened, _checked(RetuneArguments, note=words))
    _with_download(lambda: check_captioner(opened, arguments), opened, as_json)
    _inspect_first(opened, unusable)
    ahead = estimate_captions(opened, arguments)
    if ahead is not None:
        say(ahead.sentence(), err=True)
    result = _captioned(opened, arguments.model_copy(update={"clips": "all" if yes else "auto"}))
    if result.remaining and not as_json:
        result = _spot_checked(opened, arguments, result)
    if as_json:
        say_json({"project": str(opened.path), **result.model_dump()})
    else:
        _tell(result)
        say(f"Project: {opened.path}")
    if result.remaining:
        from trainer_core.errors import ApprovalNeeded

        say("Look at these captions, then run it again with --yes; --note TEXT changes how they are written.", err=True)
        raise typer.Exit(ApprovalNeeded.exit_code)


@app.command()
def show(
    target: CaptionsProject,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only captions with something to know.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the captions, each with where it came from and what the lint found."""
    from agent.session.projects import project_of
    from agent.text.sanitize import clean
    from tools.caption.store.captions import read_captions

    opened = project_of(target, project)
    rows = [row for row in read_captions(opened.captions_path) if not flagged or row.flags]
    if as_json:
        say_json({"project": str(opened.path), "captions": [row.model_dump() for row in rows]})
        return
    for row in rows:
        review = ", to review" if row.needs_review else ""
        say(f"{clean(row.path)} ({row.source}{f' {clean(row.model)}' if row.model else ''}{review})")
        say(f"  {clean(row.caption)}")
        for flag in row.flags:
            say(f"  – {flag.id}: {clean(flag.message)}")
    say(f"{len(rows)} captions in {opened.captions_path}")


@app.command()
def lint(target: CaptionsProject, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Look again for what spoils captions; exits 3 when a person must look at some."""
    from agent.session.projects import project_of
    from tools.caption.lint.fix import LintArguments, lint_project

    opened = project_of(target, project)
    result = lint_project(opened, LintArguments())
    if as_json:
        say_json({"project": str(opened.path), **result.model_dump()})
    else:
        _tell_findings(result.left, result.findings)
    if result.needs_review:
        from trainer_core.errors import DataError

        say(f"{result.needs_review} captions need a person's eye: `captions fix` mends, or write them.", err=True)
        raise typer.Exit(DataError.exit_code)


@app.command()
def fix(
    target: CaptionsProject,
    clip: Annotated[list[str] | None, typer.Option("--clip", help="Only this clip; may be given again.")] = None,
    finding: Annotated[list[str] | None, typer.Option("--id", help="Only this finding; may be given again.")] = None,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Let the captioner write again what edits can't mend.")
    ] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mend what the lint found; `captions undo` takes it back."""
    from agent.session.projects import project_of
    from tools.caption.lint.fix import FixArguments, fix_captions

    opened = project_of(target, project)
    arguments = _checked(FixArguments, clips=clip or [], ids=finding or [], rewrite=rewrite)
    with progress() as bar:
        result = fix_captions(opened, arguments, bar)
    if as_json:
        say_json({"project": str(opened.path), **result.model_dump()})
        return
    say(f"{result.mended} captions mended, {result.rewritten} written again.")
    _tell_findings(result.left, result.findings)


@app.command()
def retune(
    target: CaptionsProject,
    note: Annotated[str, typer.Argument(help="What to change, in plain words; empty with --forget.")] = "",
    forget: Annotated[bool, typer.Option("--forget", help="Drop the notes given before.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change how captions are written, and write the spot check again."""
    from agent.session.projects import project_of
    from tools.caption.tool import RetuneArguments, retune_captions

    opened = project_of(target, project)
    with progress() as bar:
        result = retune_captions(opened, _checked(RetuneArguments, note=note, forget=forget), bar)
    if as_json:
        say_json({"project": str(opened.path), **result.model_dump()})
    else:
        _tell_spot_check(result)
        _tell(result)


@app.command()
def write(
    target: CaptionsProject,
    clip: Annotated[str, typer.Argument(help="The clip, as `captions show` names it.")],
    text: Annotated[str, typer.Argument(help="The caption; - reads it from standard input.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one caption yourself; nothing ever overwrites it."""
    from agent.session.projects import project_of
    from tools.caption.store.edit import EditCaptionArguments, write_caption

    words = sys.stdin.read() if text == "-" else text
    result = write_caption(project_of(target, project), EditCaptionArguments(clip=clip, caption=words))
    say_json(result.model_dump()) if as_json else say(f"{result.clip}: {result.caption}")


@app.command()
def undo(target: CaptionsProject, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Take back the last change of the captions."""
    from agent.session.projects import project_of
    from agent.text.results import SUMMARIES
    from tools.caption.store.history import UndoCaptionsArguments, undo_captions

    result = undo_captions(project_of(target, project), UndoCaptionsArguments()).model_dump()
    if as_json:
        say_json(result)
    else:
        for line in SUMMARIES["undo_captions"](result):
            say(line)


@app.command()
def export(
    target: CaptionsProject,
    to: Annotated[str, typer.Argument(metavar="FILE|FOLDER", help="metadata .csv/.json/.jsonl, or a folder of .txt.")],
    with_trigger: Annotated[bool, typer.Option("--with-trigger", help="Put the trigger into each caption.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the captions for another trainer."""
    from agent.session.projects import project_of
    from tools.caption.store.exchange import ExportCaptionsArguments, export_captions

    opened = project_of(target, project)
    result = export_captions(opened, ExportCaptionsArguments(target=to, with_trigger=with_trigger))
    _tell_exchange(result.model_dump(), "written to", as_json)


@app.command(name="import")
def import_(
    target: CaptionsProject,
    source: Annotated[
        str, typer.Argument(metavar="FILE|FOLDER", help="metadata .csv/.json/.jsonl, or a folder of .txt.")
    ],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take captions over from elsewhere; they count as yours."""
    from agent.session.projects import project_of
    from tools.caption.store.exchange import ImportCaptionsArguments, import_captions

    opened = project_of(target, project)
    _inspect_first(opened)
    result = import_captions(opened, ImportCaptionsArguments(source=source))
    _tell_exchange(result.model_dump(), "taken over into", as_json)


@app.command()
def download(
    model: Annotated[str | None, typer.Argument(help="A hub model; default: the best one that fits here.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the download.")] = False,
) -> None:
    """Download a vision model for captions, after you agree."""
    _download(model, yes)


def _download(model: str | None, agreed: bool) -> None:
    from tools.caption.captioners.download import DownloadArguments, download_captioner, preview_download
    from trainer_core.errors import ApprovalNeeded
    from trainer_core.units import size_text

    arguments = _checked(DownloadArguments, model=model)
    preview = preview_download(None, arguments)
    for line in [*preview.lines, *(cost.text for cost in preview.costs)]:
        say(line, err=True)
    if not agreed and not agrees(preview.question, "download"):
        raise ApprovalNeeded("Nothing was downloaded.", "Agree with --yes.")
    with progress() as bar:
        result = download_captioner(None, arguments, bar)
    say(f"{result.model}: {size_text(result.gib * 2**30)} in {result.folder}")


def _with_download(work: Callable[[], None], project: "Project", as_json: bool) -> None:
    """Do the work; where a model would have to be downloaded first, ask a person who is there to be asked."""
    from trainer_core.errors import ApprovalNeeded

    try:
        work()
    except ApprovalNeeded as needed:
        if as_json or not _is_terminal():
            raise
        say(needed.message, err=True)
        facts = project.facts
        named = (facts.captioner or "").partition(":")[2]
        _download(named or None, agreed=False)
        work()


def _inspect_first(project: "Project", unusable: bool = True) -> None:
    """A folder that was never looked at is inspected on the way; with `unusable`, no clip of it has to be trainable."""
    if project.report_path.exists():
        return
    from tools.inspect.tool import INSPECT_TOOL
    from trainer_core.errors import DataError

    try:
        with progress() as bar:
            INSPECT_TOOL.function(project, INSPECT_TOOL.arguments(), bar)
    except DataError:
        if not unusable or not project.report_path.exists():
            raise


def _captioned(project: "Project", arguments: "CaptionArguments") -> "CaptionResult":
    from tools.caption.tool import caption_clips

    try:
        with progress() as bar:
            return caption_clips(project, arguments, bar)
    except KeyboardInterrupt:
        say("Interrupted. The captions made so far are kept; the same command goes on.", err=True)
        raise


def _spot_checked(project: "Project", arguments: "CaptionArguments", result: "CaptionResult") -> "CaptionResult":
    """Show the spot check until the user approves it or leaves; anything else they say goes into the instruction."""
    from agent.approvals.consent import consent_of
    from tools.caption.tool import RetuneArguments, caption_rest, retune_captions

    while result.remaining:
        _tell_spot_check(result)
        if not _is_terminal():
            return result
        if result.estimate is not None:
            say(f"The rest: {result.estimate.sentence()}")
        words = ask_words("Write the rest like these? [y = yes, n = stop here, or say what to change]") or ""
        consent = consent_of(words, "captions")
        if consent == "no" or words.lower() in LEAVE:
            return result
        with progress() as bar:
            if consent == "yes":
                return caption_rest(project, arguments, bar)
            result = retune_captions(project, _checked(RetuneArguments, note=words), bar)
    return result


def _tell_spot_check(result: "CaptionResult") -> None:
    from agent.text.sanitize import clean

    for check in result.spot_check:
        say(f"\n{clean(check.path)} ({check.source})\n{clean(check.caption)}")
        for flag in check.flags:
            say(f"  – {flag.id}: {clean(flag.message)}")
    say("")


def _tell(result: "CaptionResult") -> None:
    from agent.text.results import SUMMARIES

    for line in SUMMARIES["caption_clips"](result.model_dump()):
        say(line)


def _tell_findings(left: dict[str, list[str]], findings: dict[str, int]) -> None:
    from agent.text.sanitize import clean

    for path, names in left.items():
        say(f"{clean(path)}: {', '.join(names)}")
    say(", ".join(f"{count} {name}" for name, count in findings.items()) or "Nothing found.")


def _tell_exchange(result: dict[str, Any], done: str, as_json: bool) -> None:
    if as_json:
        say_json(result)
        return
    say(f"{result['captions']} captions {done} {result['path']}.")
    if result["without"]:
        say(f"{len(result['without'])} clips have none there.")
    for note in result["notes"]:
        say(note)


def _checked(arguments: Any, /, **values: Any) -> Any:
    """The arguments as the tool takes them. Raises ConfigError in the words of the command line."""
    from pydantic import ValidationError

    from trainer_core.errors import ConfigError

    try:
        return arguments.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"Wrong option: {faults}.", "See --help.") from error
