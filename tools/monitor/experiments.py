"""The runs of a project as experiments: what each changed since the one before, and what came of it.

One variable at a time: two changed at once can't be told apart by their results.
"""

from typing import Any

from tools.draft.experiments import ValueChange, changes, changes_since_last_run, values_of
from tools.monitor.status import describe_run
from tools.project import Progress, Project
from tools.spec import Tool
from trainer_core.errors import LtxError
from trainer_core.run_folder import RunFolder
from trainer_core.strict import Strict


class Experiment(Strict):
    """One run: what was changed since the run before it, and what came of it. Losses are running medians."""

    run: str
    state: str
    step: int
    changed: list[ValueChange]
    loss_first: float | None
    loss_last: float | None
    verdict: str
    note: str = ""


class ExperimentsResult(Strict):
    """All runs of the project as experiments, oldest first, and the changes made since the last of them."""

    experiments: list[Experiment]
    changed_since: list[ValueChange]
    advice: str


class ExperimentsArguments(Strict):
    """All runs are listed."""


def list_experiments(
    project: Project,
    _arguments: ExperimentsArguments,
    _progress: Progress | None = None,
) -> ExperimentsResult:
    """List the runs as experiments: which values each changed from the run before, its losses and verdict.

    Use it to compare runs. Where more than one value changed at once, say that their effects can't be told apart.
    """
    found: list[Experiment] = []
    before: dict[str, Any] | None = None
    for run in project.runs():
        values = values_of(run.config_path)
        found.append(_experiment(run, changes(before, values) if before is not None else []))
        before = values
    since = changes_since_last_run(project)
    return ExperimentsResult(experiments=found, changed_since=since, advice=_advice(since))


def _experiment(run: RunFolder, changed: list[ValueChange]) -> Experiment:
    try:
        status = describe_run(run)
    except LtxError as error:
        return Experiment(
            run=run.id, state="unknown", step=0, changed=changed, loss_first=None, loss_last=None, verdict="unsure",
            note=error.message,
        )  # fmt: skip
    loss = status.losses.get("loss")
    note = "more than one value changed: their effects can't be told apart" if len(changed) > 1 else ""
    return Experiment(
        run=run.id,
        state=status.state,
        step=status.step,
        changed=changed,
        loss_first=loss.first if loss else None,
        loss_last=loss.last if loss else None,
        verdict=status.verdict.kind,
        note=note,
    )


def _advice(since: list[ValueChange]) -> str:
    if len(since) > 1:
        names = ", ".join(change.name for change in since)
        return f"{len(since)} values differ from the last run ({names}): change one at a time to learn what each does."
    return ""


EXPERIMENTS_TOOL = Tool("list_experiments", list_experiments, ExperimentsArguments)
