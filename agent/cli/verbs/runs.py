"""The verbs of runs: train, status, stop, resume."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import JsonOption, RunArgument, TrainArgument, WaitOption
from agent.cli.output import say, say_json

if TYPE_CHECKING:
    from trainer_core.run_folder import RunFolder


def train(project: TrainArgument = None, wait: WaitOption = None, as_json: JsonOption = False) -> None:
    """Start training as a process of its own and print the run's id; Ctrl-C leaves it running."""
    from agent.headless.prepare import project_word
    from agent.session.projects import existing_project
    from tools.monitor.launch import start_run, start_run_of
    from tools.monitor.tool import started as started_run
    from trainer_core.errors import TrainingError

    is_config = project is not None and project.is_file()
    run = start_run_of(project) if project and is_config else start_run(existing_project(project))
    started = started_run(run)
    if started.error:
        raise TrainingError(f"Run {started.run} {started.state}: {started.error}", f"Its log: {run.log_path}.")
    for note in started.notes:
        say(f"Without effect: {note}", err=True)
    where = project_word(run.path)
    told = f"Run {started.run} of {started.steps} steps has started; it goes on by itself."
    if wait if wait is not None else sys.stderr.isatty() and sys.stdout.isatty():
        _follow(run, told, where, as_json)
    elif as_json:
        say_json(started.model_dump())
    else:
        say(f"{told}\nSee how it goes: ltx-agent status {where}")


def status(
    target: RunArgument = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="The figures and tests behind the verdict too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say how a run goes: step, time left, a verdict in plain words, and where the adapter is."""
    from tools.monitor.find import resolve_run

    say_status(resolve_run(target), as_json, verbose=verbose)


def stop(
    target: RunArgument = None,
    deadline: Annotated[
        float | None, typer.Option("--deadline", metavar="SECONDS", help="Kill it when it has not stopped by then.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a run to finish its step, save and end."""
    from tools.monitor.find import resolve_run
    from tools.monitor.tool import stop_run

    result = stop_run(resolve_run(target), deadline)
    if as_json:
        say_json(result.model_dump())
    else:
        say(result.message)


def resume(
    target: RunArgument = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Train to this step in all.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Another learning rate.")] = None,
    from_step: Annotated[int | None, typer.Option("--from-step", help="Go back to this saved step [the last].")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another setting of the training YAML.")
    ] = None,
    wait: WaitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a run go on from its last complete checkpoint as if it had not stopped; says what it restored and changed."""
    from agent.headless.prepare import project_word
    from agent.text.run import resume_lines
    from tools.monitor.find import resolve_run
    from tools.monitor.tool import ResumeArguments, resumed
    from trainer_core.errors import TrainingError
    from trainer_core.resume_config import parse_setting

    run = resolve_run(target)
    arguments = ResumeArguments(
        from_step=from_step,
        steps=steps,
        learning_rate=learning_rate,
        settings=dict(parse_setting(setting) for setting in settings or []),
    )
    result = resumed(run, arguments)
    if result.error:
        raise TrainingError(f"Run {result.run} {result.state}: {result.error}", f"Its log: {run.log_path}.")
    told = "\n".join(resume_lines(result.model_dump()))
    if wait if wait is not None else sys.stderr.isatty() and sys.stdout.isatty():
        _follow(run, told, project_word(run.path), as_json)
    elif as_json:
        say_json(result.model_dump())
    else:
        say(f"{told}\nSee how it goes: ltx-agent status {project_word(run.path)}")


def _follow(run: "RunFolder", told: str, where: str, as_json: bool) -> None:
    from agent.cli.follow import follow
    from trainer_core.errors import TrainingError

    try:
        say(told, err=as_json)
        ended = follow(run)
    except KeyboardInterrupt:
        say(f"Detached. Run {run.id} goes on; see it with: ltx-agent status {where}", err=True)
        raise
    if ended.state in ("failed", "diverged"):
        told = f"Run {run.id} {ended.state} at step {ended.step} of {ended.steps}: {ended.error}"
        raise TrainingError(told, f"Its log: {run.log_path}.")
    say_status(run, as_json)


def say_status(run: "RunFolder", as_json: bool, *, verbose: bool = False) -> None:
    from agent.text.run import run_lines
    from tools.monitor.status import describe_run

    described = describe_run(run).model_dump()
    if as_json:
        say_json(described)
    else:
        for line in run_lines(described, verbose=verbose):
            say(line)
        from tools.monitor.curve import curve_of_ended_run

        curve = curve_of_ended_run(run)
        if curve is not None:
            say(f"Loss curve: {curve}")
