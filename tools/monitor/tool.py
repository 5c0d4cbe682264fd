"""The monitor node's tools: start a run, say how it goes, stop it."""

import time
from typing import Annotated, Any

from pydantic import Field

from tools.monitor.cost import rehearsal_lines, resume_costs, start_costs
from tools.monitor.doctor import (
    CompareArguments,
    DoctorArguments,
    EditAdapterArguments,
    base_paths,
    compare_adapters,
    edit_adapter,
    examine_adapter,
)
from tools.monitor.find import find_run
from tools.monitor.launch import POLL_S, request_stop, resume_run, start_run
from tools.monitor.status import StatusResult, describe_run
from tools.project import Progress, Project
from tools.rehearsal.rehearse import REHEARSE_TOOL, refuse_beside_a_run
from tools.spec import Preview, Tool, as_given
from trainer_core.config import is_tiny, load_config, settings_without_effect
from trainer_core.config_paths import paths_added
from trainer_core.objective import merged, objective_of
from trainer_core.resume_config import changed_config, changes_in_words, run_config
from trainer_core.run_folder import LIVE_STATES, RunFolder, RunState
from trainer_core.strict import Strict

STOP_WAIT_S = 30.0
"""How long a stop waits for the trainer to save and end; a long step may take longer, the request then stands."""

RESTORE_WAIT_S = 120.0
"""How long a resume waits to hear what was restored: a large model loads first."""

RunId = Annotated[str | None, Field(description="Id of the run, such as 20260131-175959; null means the newest run.")]


class StartArguments(Strict):
    """The project's config.yaml says everything."""


class StartResult(Strict):
    """A run that was started; `error` says why when it has failed already, `notes` what in the config has no effect."""

    run: str
    path: str
    state: RunState
    pid: int | None
    steps: int
    error: str | None
    notes: list[str]


class StatusArguments(Strict):
    """The run to look at."""

    run: RunId = None


class StopArguments(Strict):
    """The run to stop; with `kill`, killed when it doesn't stop in time."""

    run: RunId = None
    deadline_s: Annotated[
        float | None,
        Field(gt=0, description="Kill the trainer when it has not stopped by then; null: it may take long."),
    ] = None


class ResumeArguments(Strict):
    """The run to resume, from where, and what changes. Null keeps what the run had."""

    run: RunId = None
    from_step: Annotated[
        int | None, Field(ge=1, description="Go back to the saved state of this step; null: the last one.")
    ] = None
    steps: Annotated[int | None, Field(ge=1, description="Train to this step in all.")] = None
    learning_rate: Annotated[float | None, Field(gt=0)] = None
    settings: Annotated[
        dict[str, Any], Field(description="Other settings that change, by dotted name of the training YAML.")
    ] = {}

    def overrides(self) -> dict[str, Any]:
        """The changes, nested as in the YAML."""
        named: dict[str, Any] = dict(self.settings)
        if self.steps is not None:
            named["optimization.steps"] = self.steps
        if self.learning_rate is not None:
            named["optimization.learning_rate"] = self.learning_rate
        nested: dict[str, Any] = {}
        for name, value in named.items():
            part: Any = value
            for key in reversed(name.split(".")):
                part = {key: part}
            nested = merged(nested, part)
        return nested


class ResumeResult(Strict):
    """A run that goes on: from which step, what was restored, what the changes override."""

    run: str
    path: str
    state: RunState
    pid: int | None
    from_step: int
    steps: int
    restored: list[str]
    overridden: list[str]
    set_aside: list[str]
    error: str | None


class StopResult(Strict):
    """State of a run after a stop was asked for. `last_checkpoint` is relative to the run folder."""

    run: str
    state: RunState
    step: int
    steps: int
    last_checkpoint: str | None
    message: str


def start_training(
    project: Project,
    _arguments: StartArguments,
    _progress: Progress | None = None,
) -> StartResult:
    """Start training with the project's config.yaml, as a process of its own that goes on when this chat ends.

    It encodes the clips first, then trains. It costs time and the machine's GPU, so the user must approve it.
    Only one run of a project goes on at a time.
    """
    return started(start_run(project))


def preview_start(project: Project, _arguments: StartArguments) -> Preview:
    """Return the card before training starts."""
    refuse_beside_a_run(project)
    config = load_config(project.config_path)
    objective_of(config.strategy)
    lines = [
        f"{config.optimization.steps} steps of {config.optimization.batch_size} samples on {config.model.model_path}, "
        f"as {project.config_path.name} says, in a process of its own that goes on when this chat ends."
    ]
    if is_tiny(config.model.model_path):
        lines.append("The model is tiny and random: the run shows that everything works, it can't generate anything.")
    lines += rehearsal_lines(project)
    lines += [f"Without effect: {note}" for note in settings_without_effect(config)]
    return Preview("Start training now?", lines, start_costs(project))


def recover_start(project: Project, _arguments: StartArguments, started_at: float) -> StartResult | None:
    """The run that a start which a crash cut off has brought about, so that it is not started twice."""
    found = [run for run in project.runs() if (run.read_status().started_at or 0) >= started_at]
    return started(found[-1]) if found else None


def started(run: RunFolder) -> StartResult:
    """Say what became of a run that was just started."""
    status = describe_run(run)
    return StartResult(
        run=run.id,
        path=str(run.path),
        state=status.state,
        pid=status.pid,
        steps=status.steps,
        error=status.error,
        notes=settings_without_effect(load_config(run.config_path)),
    )


def run_status(
    project: Project,
    arguments: StatusArguments,
    _progress: Progress | None = None,
) -> StatusResult:
    """Say how a run goes: state, step, time left, losses at start and now, seconds a step, last checkpoint, error.

    `verdict` judges it (continue, plateau, diverging, dead, unsure) and states its evidence; quote the evidence.
    """
    return describe_run(find_run(project, arguments.run))


def stop_training(
    project: Project,
    arguments: StopArguments,
    _progress: Progress | None = None,
) -> StopResult:
    """Ask a run to stop: it finishes its step, saves a checkpoint and ends. Nothing that was trained is lost."""
    return stop_run(find_run(project, arguments.run), arguments.deadline_s)


def stop_run(run: RunFolder, deadline_s: float | None = None) -> StopResult:
    """Ask this run to stop and say what was seen; with a deadline, kill it when that passes."""
    before = run.read_status()
    after = request_stop(run, deadline_s or STOP_WAIT_S, then_kill=deadline_s is not None)
    if before.state not in LIVE_STATES:
        message = f"Run {run.id} was not going on: it is {before.state} at step {before.step} of {before.steps}."
    elif after.state in LIVE_STATES:
        message = (
            f"Run {run.id} was asked to stop and is still {after.state} at step {after.step} after "
            f"{STOP_WAIT_S:.0f} s; it ends when its step is done. Ask for its status in a while."
        )
    else:
        message = f"Run {run.id} ended as {after.state} at step {after.step} of {after.steps}."
    return StopResult(
        run=run.id,
        state=after.state,
        step=after.step,
        steps=after.steps,
        last_checkpoint=after.last_checkpoint,
        message=message,
    )


def resume_training(
    project: Project,
    arguments: ResumeArguments,
    _progress: Progress | None = None,
) -> ResumeResult:
    """Let a stopped, failed or finished run go on from its last complete checkpoint, exactly as if it had not stopped.

    It can go back to an earlier saved step, and change the learning rate, the number of steps or other settings; what
    was restored and what is overridden is reported. It costs time and the machine's GPU, so the user must approve it.
    """
    return resumed(find_run(project, arguments.run), arguments)


def resume_preview(project: Project, arguments: ResumeArguments) -> Preview:
    """Return the card before a run goes on. Raises ConfigError when it can't."""
    run = find_run(project, arguments.run)
    steps = run.state_steps()
    start = arguments.from_step if arguments.from_step is not None else max(steps, default=0)
    before = run_config(run)
    after = changed_config(before, arguments.overrides())
    lines = [f"Run {run.id} goes on at step {start} and trains to step {after.optimization.steps}."]
    lines += [f"Changed: {change}" for change in changes_in_words(before, after)] or ["Nothing else changes."]
    if any(step > start for step in steps):
        lines.append(f"Later checkpoints move to {run.set_aside.name}/; none is deleted.")
    return Preview(f"Resume run {run.id}?", lines, resume_costs(run, after, start))


def resume_paths(project: Project, arguments: ResumeArguments) -> list[str]:
    """The files that the run's config names with the changed settings and didn't name before."""
    if not arguments.settings:
        return []
    before = run_config(find_run(project, arguments.run))
    return paths_added(before, changed_config(before, arguments.overrides()), project.path)


def resumed(run: RunFolder, arguments: ResumeArguments) -> ResumeResult:
    """Resume this run and say what came of it: waits until the trainer has restored the state, or ended."""
    before = len(run.events())
    resume_run(run, arguments.overrides(), arguments.from_step)
    told = _await_restored(run, before)
    status = describe_run(run)
    return ResumeResult(
        run=run.id,
        path=str(run.path),
        state=status.state,
        pid=status.pid,
        from_step=told.get("step", status.step),
        steps=status.steps,
        restored=told.get("restored", []),
        overridden=told.get("overridden", []),
        set_aside=told.get("set_aside", []),
        error=status.error,
    )


def _await_restored(run: RunFolder, before: int) -> dict[str, Any]:
    """The trainer's `resumed` event; empty when it began from scratch, ended, or takes longer than RESTORE_WAIT_S."""
    deadline = time.monotonic() + RESTORE_WAIT_S
    while time.monotonic() < deadline:
        for event in run.events()[before:]:
            if event["kind"] == "resumed":
                return event
            if event["kind"] in ("started", "ended", "failed"):
                return {}
        if run.read_status().state not in LIVE_STATES:
            return {}
        time.sleep(POLL_S)
    return {}


MONITOR_TOOLS: list[Tool] = [
    REHEARSE_TOOL,
    Tool(
        "start_training",
        start_training,
        StartArguments,
        needs_approval="start",
        preview=preview_start,
        recover=recover_start,
    ),
    Tool("run_status", run_status, StatusArguments),
    Tool("stop_training", stop_training, StopArguments),
    Tool(
        "resume_training",
        resume_training,
        ResumeArguments,
        needs_approval="resume",
        preview=resume_preview,
        paths={"settings": resume_paths},
    ),
    Tool("examine_adapter", examine_adapter, DoctorArguments, paths={**as_given("file"), "model": base_paths}),
    Tool("compare_adapters", compare_adapters, CompareArguments, paths={**as_given("first"), **as_given("second")}),
    Tool(
        "edit_adapter",
        edit_adapter,
        EditAdapterArguments,
        paths={**as_given("file"), **as_given("output"), **as_given("merge")},
    ),
]
