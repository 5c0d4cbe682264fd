"""experiments.jsonl: every change of the plan, who asked for it and why; and what each run differs in from the last.

One variable at a time: two changed at once can't be told apart by their results.
"""

import difflib
import hashlib
import time
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from tools.monitor.status import describe_run
from tools.project import Progress, Project
from trainer_core.errors import LtxError
from trainer_core.files import append_jsonl, read_jsonl
from trainer_core.run_folder import RunFolder
from trainer_core.yaml_errors import Loader

LEDGER = "experiments.jsonl"
CONTEXT_LINES = 1
_NOT_VARIABLES = ("output_dir", "data.preprocessed_data_root", "ltx_agent.dataset", "checkpoints.", "validation.")
"""Where things are and when they are saved: they change no result."""
_FOLLOWS = {"lora.alpha": "lora.rank"}


class Change(BaseModel):
    """One variable that two configs differ in; None: it is not there."""

    model_config = ConfigDict(extra="forbid")

    name: str
    before: Any
    after: Any


class Experiment(BaseModel):
    """One run: what was changed since the run before it, and what came of it. Losses are running medians."""

    model_config = ConfigDict(extra="forbid")

    run: str
    state: str
    step: int
    changed: list[Change]
    loss_first: float | None
    loss_last: float | None
    verdict: str
    note: str = ""


class ExperimentsResult(BaseModel):
    """All runs of the project as experiments, oldest first, and the changes made since the last of them."""

    model_config = ConfigDict(extra="forbid")

    experiments: list[Experiment]
    changed_since: list[Change]
    advice: str


class ExperimentsArguments(BaseModel):
    """All runs are listed."""

    model_config = ConfigDict(extra="forbid")


def list_experiments(
    project: Project,
    arguments: ExperimentsArguments,  # noqa: ARG001 (every tool takes the same three)
    progress: Progress | None = None,  # noqa: ARG001 (every tool takes the same three)
) -> ExperimentsResult:
    """List the runs as experiments: which values each changed from the run before, its losses and verdict.

    Use it to compare runs. Where more than one value changed at once, say that their effects can't be told apart.
    """
    found: list[Experiment] = []
    before: dict[str, Any] | None = None
    for run in project.runs():
        values = _values_of(run.config_path)
        found.append(_experiment(run, changes(before, values) if before is not None else []))
        before = values
    since = changes_since_last_run(project)
    return ExperimentsResult(experiments=found, changed_since=since, advice=_advice(since))


def record_change(project: Project, changed: list[Change], who: str, reason: str) -> None:
    """Append what was changed to the ledger, with the digest of the config it led to."""
    digest = hashlib.sha256(project.config_path.read_bytes()).hexdigest()
    for change in changed:
        row = {"time": time.time(), "who": who, **change.model_dump(), "reason": reason, "config_sha256": digest}
        append_jsonl(project.path / LEDGER, row)


def recorded_changes(project: Project) -> list[dict[str, Any]]:
    """The ledger's rows, oldest first."""
    path = project.path / LEDGER
    return read_jsonl(path) if path.exists() else []


def changes_since_last_run(project: Project) -> list[Change]:
    """What config.yaml differs in from what the last run trained with; empty when nothing was trained yet."""
    runs = project.runs()
    if not runs or not project.config_path.exists():
        return []
    return changes(_values_of(runs[-1].config_path), _values_of(project.config_path))


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """The variables that differ, by dotted key. One that a side leaves to its default is not compared."""
    shared = sorted(name for name in before if name in after and not name.startswith(_NOT_VARIABLES))
    changed = [name for name in shared if before[name] != after[name]]
    return [
        Change(name=name, before=before[name], after=after[name])
        for name in changed
        if _FOLLOWS.get(name) not in changed
    ]


def flat_values(text: str) -> dict[str, Any]:
    """The values of a YAML text by dotted key."""
    return flattened(yaml.load(text, Loader=Loader) or {})


def unified_diff(before: str, after: str, name: str = "config.yaml") -> list[str]:
    """The lines of a unified diff, without the trailer that only we read."""
    old, new = _shown(before), _shown(after)
    lines = difflib.unified_diff(old, new, f"{name} (now)", f"{name} (then)", lineterm="", n=CONTEXT_LINES)
    return list(lines)


def _shown(text: str) -> list[str]:
    return [line for line in text.split("\n") if not line.startswith("# drafted-sha256:")]


def _experiment(run: RunFolder, changed: list[Change]) -> Experiment:
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


def _advice(since: list[Change]) -> str:
    if len(since) > 1:
        names = ", ".join(change.name for change in since)
        return f"{len(since)} values differ from the last run ({names}): change one at a time to learn what each does."
    return ""


def _values_of(path: Path) -> dict[str, Any]:
    try:
        return flat_values(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}


def flattened(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key."""
    if not isinstance(value, dict):
        return {prefix.removesuffix("."): value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found.update(flattened(inner, f"{prefix}{key}."))
    return found
