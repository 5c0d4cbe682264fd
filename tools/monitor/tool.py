"""The monitor node's tools: start a run, say how it goes, stop it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tools.monitor.find import find_run
from tools.monitor.launch import request_stop, start_run
from tools.monitor.status import StatusResult, describe_run
from tools.project import Progress, Project
from tools.spec import Tool
from trainer_core.config import load_config, settings_without_effect
from trainer_core.run_folder import LIVE_STATES, RunFolder, RunState

STOP_WAIT_S = 30.0
"""How long a stop waits for the trainer to save and end; a long step may take longer, the request then stands."""

RunId = Annotated[str | None, Field(description="Id of the run, such as 20260131-175959; null means the newest run.")]


class StartArguments(BaseModel):
    """The project's config.yaml says everything."""

    model_config = ConfigDict(extra="forbid")


class StartResult(BaseModel):
    """A run that was started; `error` says why when it has failed already, `notes` what in the config has no effect."""

    model_config = ConfigDict(extra="forbid")

    run: str
    path: str
    state: RunState
    pid: int | None
    steps: int
    error: str | None
    notes: list[str]


class StatusArguments(BaseModel):
    """Which run to look at."""

    model_config = ConfigDict(extra="forbid")

    run: RunId = None


class StopArguments(BaseModel):
    """Which run to stop."""

    model_config = ConfigDict(extra="forbid")

    run: RunId = None


class StopResult(BaseModel):
    """What was seen after a stop was asked for. `last_checkpoint` is relative to the run folder."""

    model_config = ConfigDict(extra="forbid")

    run: str
    state: RunState
    step: int
    steps: int
    last_checkpoint: str | None
    message: str


def start_training(
    project: Project,
    arguments: StartArguments,  # noqa: ARG001 (every tool takes the same three)
    progress: Progress | None = None,  # noqa: ARG001 (every tool takes the same three)
) -> StartResult:
    """Start training with the project's config.yaml, as a process of its own that goes on when this chat ends.

    It encodes the clips first, then trains. It costs time and the machine's GPU, so the person must approve it.
    Only one run of a project goes on at a time.
    """
    return started(start_run(project))


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
    progress: Progress | None = None,  # noqa: ARG001 (every tool takes the same three)
) -> StatusResult:
    """Say how a run goes: state, step, time left, losses at start and now, seconds a step, last checkpoint, error.

    `verdict` judges it (continue, plateau, diverging, dead, unsure) and states its evidence; quote the evidence.
    """
    return describe_run(find_run(project, arguments.run))


def stop_training(
    project: Project,
    arguments: StopArguments,
    progress: Progress | None = None,  # noqa: ARG001 (every tool takes the same three)
) -> StopResult:
    """Ask a run to stop: it finishes its step, saves a checkpoint and ends. Nothing that was trained is lost."""
    return stop_run(find_run(project, arguments.run))


def stop_run(run: RunFolder) -> StopResult:
    """Ask this run to stop and say what was seen."""
    before = run.read_status()
    after = request_stop(run, STOP_WAIT_S)
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


MONITOR_TOOLS: list[Tool] = [
    Tool("start_training", start_training, StartArguments, needs_approval="start"),
    Tool("run_status", run_status, StatusArguments),
    Tool("stop_training", stop_training, StopArguments),
]
