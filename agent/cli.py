"""The command line: one verb a step, and the chat. Importing it loads typer and nothing else that is slow."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from agent.approve import Question
    from agent.progress import ProgressBar
    from agent.session import Event
    from tools.project import Project
    from trainer_core.errors import LtxError
    from trainer_core.run_folder import RunFolder

app = typer.Typer(
    name="ltx-agent",
    help="From a folder of clips to a trained LTX-2 adapter. Without a verb: talk, in the project of this folder.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Adapter = Literal["lora", "ic-lora", "full"]
Captioner = Literal["auto", "existing", "measured"]

ClipsArgument = Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder of clips; it is never written to.")]
TargetArgument = Annotated[Path, typer.Argument(metavar="CLIPS|PROJECT", help="Folder of clips, or a project.")]
ProjectArgument = Annotated[
    Path | None, typer.Argument(metavar="[PROJECT]", help="Project folder; default: the one of this folder.")
]
TrainArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[PROJECT|CONFIG.yaml]", help="Project, or any training YAML, upstream's included."),
]
RunArgument = Annotated[
    Path | None, typer.Argument(metavar="[PROJECT|RUN]", help="Project or run folder; default: the newest run here.")
]
ProjectOption = Annotated[Path | None, typer.Option("--project", help="Project folder [./ltx-projects/<name>].")]
GoalOption = Annotated[str | None, typer.Option("--goal", help="What the adapter shall learn, in your words.")]
ObjectiveOption = Annotated[str | None, typer.Option("--objective", help="t2v, i2v, v2a, … [from goal and clips].")]
AdapterOption = Annotated[Adapter | None, typer.Option("--adapter", help="What is trained [lora].")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Checkpoint, diffusers folder, or tiny [tiny].")]
CaptionerOption = Annotated[Captioner | None, typer.Option("--captioner", help="Where captions come from [auto].")]
LlmOption = Annotated[str, typer.Option("--llm", help="auto, builtin, or a model of the configured endpoint.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]
WaitOption = Annotated[bool | None, typer.Option("--wait/--no-wait", help="Follow the run [on a terminal].")]


def main() -> None:
    """Run the command line; every failure ends in one or two lines on stderr and an exit code that says its kind."""
    import os

    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")  # before langgraph is imported, which reads it once
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # folder names hold any bytes
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app(prog_name="ltx-agent")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sys.exit(_fail(error))


@app.callback(invoke_without_command=True)
def _no_verb(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        chat(None)


@app.command()
def chat(
    project: Annotated[Path | None, typer.Argument(metavar="[PROJECT]", help="Project, or a folder of clips.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Line mode, for dumb terminals and SSH.")] = False,  # noqa: ARG001 (line mode is the only one there is)
    llm: LlmOption = "auto",
) -> None:
    """Talk, line by line; the conversation goes on where it ended."""
    from agent.plain import talk

    talk(project, llm)


@app.command()
def prepare(
    clips: ClipsArgument,
    goal: GoalOption = None,
    objective: ObjectiveOption = None,
    adapter: AdapterOption = None,
    model: ModelOption = None,
    project: ProjectOption = None,
    captioner: CaptionerOption = None,
    llm: LlmOption = "auto",
    yes: Annotated[bool, typer.Option("--yes", help="Approve the captions and the plan unseen.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Inspect, caption and draft in one go: from clips to a training plan."""
    _check_objective(objective)
    from agent.headless import prepare as run_prepare
    from agent.llm import choose_model
    from agent.projects import project_of

    chat_model = choose_model(llm)
    opened = project_of(clips, project, goal=goal, objective=objective, adapter=adapter, model=model)
    fixed = {"objective": objective, "adapter": adapter, "captioner": captioner}
    with _progress() as bar:
        document = run_prepare(
            opened,
            chat_model,
            {name: value for name, value in fixed.items() if value is not None},
            lambda question: yes or _approve(question, bar, as_json),
            lambda event: _show(event, bar, as_json),
        )
    if as_json:
        _print_json(document)
        return
    _print(f"Project: {document['project']}")
    for name, path in document["artifacts"].items():
        _print(f"  {name}: {path}")
    _print(f"Next: {document['next']}")


@app.command()
def inspect(
    target: TargetArgument,
    goal: GoalOption = None,
    model: ModelOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the clips: what each holds, what is wrong with it, what can be trained."""
    from agent.projects import project_of
    from tools.inspect.tool import INSPECT_TOOLS

    _one_step(project_of(target, project, goal=goal, model=model), INSPECT_TOOLS[0], {}, as_json)


@app.command()
def caption(
    target: TargetArgument,
    captioner: CaptionerOption = None,
    trigger: Annotated[str | None, typer.Option("--trigger", help="A rare word that calls up what is trained.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give every usable clip a caption."""
    from agent.projects import project_of
    from tools.caption.tool import CAPTION_TOOLS

    arguments = {"captioner": captioner, "trigger": trigger}
    _one_step(project_of(target, project), CAPTION_TOOLS[0], arguments, as_json)


@app.command()
def draft(
    target: TargetArgument,
    goal: GoalOption = None,
    objective: ObjectiveOption = None,
    adapter: AdapterOption = None,
    model: ModelOption = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimizer steps.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=1, max=1024, help="Rank of the LoRA.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Above 0, below 1.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Samples a step.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the training plan: config.yaml, each value with its reason."""
    _check_objective(objective)
    from agent.projects import project_of
    from tools.draft.tool import DRAFT_TOOLS

    opened = project_of(target, project, goal=goal, objective=objective, adapter=adapter, model=model)
    arguments = {
        "objective": objective,
        "adapter": adapter,
        "steps": steps,
        "rank": rank,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
    }
    _one_step(opened, DRAFT_TOOLS[0], arguments, as_json)


@app.command()
def encode(project: ProjectArgument = None, as_json: JsonOption = False) -> None:
    """Encode the clips to latents; training does it too, for what is missing."""
    from dataclasses import asdict

    from agent.projects import existing_project
    from trainer_core.config import load_config, resolve_paths

    opened = existing_project(project)
    config = resolve_paths(load_config(opened.config_path), opened.path)
    from trainer_core.data.encode import encode_dataset

    with _progress() as report:
        summary = encode_dataset(config, report)
    if as_json:
        _print_json({"project": str(opened.path), **asdict(summary)})
    else:
        _print(f"{summary.samples} samples: {summary.encoded} files encoded, {summary.reused} found unchanged.")


@app.command()
def train(project: TrainArgument = None, wait: WaitOption = None, as_json: JsonOption = False) -> None:
    """Start training as a process of its own and print the run's id; Ctrl-C leaves it running."""
    from agent.headless import project_word
    from agent.projects import existing_project
    from tools.monitor.launch import start_run, start_run_of
    from tools.monitor.tool import started as started_run
    from trainer_core.errors import TrainingError

    is_config = project is not None and project.is_file()
    run = start_run_of(project) if project and is_config else start_run(existing_project(project))
    started = started_run(run)
    if started.error:
        raise TrainingError(f"Run {started.run} {started.state}: {started.error}", f"Its log: {run.log_path}.")
    for note in started.notes:
        _print(f"Without effect: {note}", err=True)
    where = project_word(run.path)
    told = f"Run {started.run} of {started.steps} steps has started; it goes on by itself."
    if wait if wait is not None else sys.stderr.isatty() and sys.stdout.isatty():
        _follow(run, told, where, as_json)
    elif as_json:
        _print_json(started.model_dump())
    else:
        _print(f"{told}\nSee how it goes: ltx-agent status {where}")


@app.command()
def status(target: RunArgument = None, as_json: JsonOption = False) -> None:
    """Say how a run goes: step, time left, losses, and a verdict with its evidence."""
    from tools.monitor.find import resolve_run

    _print_status(resolve_run(target), as_json)


@app.command()
def stop(target: RunArgument = None, as_json: JsonOption = False) -> None:
    """Ask a run to finish its step, save and end."""
    from tools.monitor.find import resolve_run
    from tools.monitor.tool import stop_run

    result = stop_run(resolve_run(target))
    if as_json:
        _print_json(result.model_dump())
    else:
        _print(result.message)


def _one_step(project: "Project", tool: Any, arguments: dict[str, Any], as_json: bool) -> None:
    """Run one tool as a verb: the arguments that were named, checked as a model's are."""
    from pydantic import ValidationError

    from agent.summaries import SUMMARIES
    from trainer_core.errors import ConfigError

    try:
        checked = tool.arguments(**{name: value for name, value in arguments.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(f"--{str(fault['loc'][0]).replace('_', '-')}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"Wrong option: {faults}.", "See --help.") from error
    with _progress() as report:
        result = tool.function(project, checked, report).model_dump(mode="python")
    if as_json:
        _print_json({"project": str(project.path), **result})
        return
    for line in SUMMARIES[tool.name](result):
        _print(line)
    _print(f"Project: {project.path}")


def _follow(run: "RunFolder", told: str, where: str, as_json: bool) -> None:
    from agent.follow import follow
    from trainer_core.errors import TrainingError

    try:
        _print(told, err=as_json)
        ended = follow(run)
    except KeyboardInterrupt:
        _print(f"Detached. Run {run.id} goes on; see it with: ltx-agent status {where}", err=True)
        raise
    if ended.state in ("failed", "diverged"):
        told = f"Run {run.id} {ended.state} at step {ended.step} of {ended.steps}: {ended.error}"
        raise TrainingError(told, f"Its log: {run.log_path}.")
    _print_status(run, as_json)


def _print_status(run: "RunFolder", as_json: bool) -> None:
    from agent.run_text import run_lines
    from tools.monitor.status import describe_run

    described = describe_run(run).model_dump()
    if as_json:
        _print_json(described)
    else:
        for line in run_lines(described):
            _print(line)
        from tools.monitor.curve import curve_of_ended_run

        curve = curve_of_ended_run(run)
        if curve is not None:
            _print(f"Loss curve: {curve}")


def _check_objective(name: str | None) -> None:
    from trainer_core.errors import ConfigError
    from trainer_core.objective import OBJECTIVE_NAMES

    if name is not None and name not in OBJECTIVE_NAMES:
        raise ConfigError(f"There is no objective {name!r}.", f"Objectives: {', '.join(OBJECTIVE_NAMES)}.")


def _approve(question: "Question", bar: "ProgressBar", as_json: bool) -> bool:
    """Ask a person, where there is one to ask."""
    bar.clear()
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    from agent.plain import ask_approval

    return ask_approval(question) is True


def _show(event: "Event", bar: "ProgressBar", as_json: bool) -> None:
    from agent.plain import show
    from agent.session import Progressed

    if not as_json or isinstance(event, Progressed):
        show(event, bar)


def _progress() -> "AbstractContextManager[ProgressBar]":
    from agent.progress import progress_bar

    return progress_bar()


def _print(text: str, *, err: bool = False) -> None:
    from agent.screen import clean_lines

    print(clean_lines(text), file=sys.stderr if err else sys.stdout, flush=True)


def _print_json(document: Any) -> None:
    """Print the one document; ASCII escapes carry file names of any bytes."""
    import json

    print(json.dumps(document, indent=2, default=str), flush=True)


def _fail(error: Exception) -> int:
    """Say an error in a person's words and return its exit code; what nobody foresaw leaves a traceback in a file."""
    from trainer_core.errors import LtxError

    told = error if isinstance(error, LtxError) else _foreseen(error)
    if told is None:
        from agent.crash import record_crash

        _print(record_crash(error), err=True)
        return 1
    _print(f"ltx-agent: {told.message}" + (f"\n{told.hint}" if told.hint else ""), err=True)
    if "--json" in sys.argv:
        failed = {"message": told.message, "hint": told.hint, "exit_code": told.exit_code}
        _print_json({"error": failed})
    return told.exit_code


def _foreseen(error: Exception) -> "LtxError | None":
    import errno

    from trainer_core.files import storage_error

    refused = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
    if isinstance(error, OSError) and error.errno in refused:
        return storage_error(Path(error.filename or "a file"), error)
    return None
