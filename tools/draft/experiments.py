"""experiments.jsonl: every change of the plan, who asked for it and why; and how two configs differ, value by value."""

import difflib
import hashlib
import time
from pathlib import Path
from typing import Any

import yaml

from tools.project import Project
from trainer_core.files import append_jsonl, read_jsonl
from trainer_core.strict import Strict
from trainer_core.yaml_errors import Loader

LEDGER = "experiments.jsonl"
CONTEXT_LINES = 1
_NOT_VARIABLES = ("output_dir", "data.preprocessed_data_root", "ltx_agent.dataset", "checkpoints.", "validation.")
"""Where things are and when they are saved: they change no result."""
_FOLLOWS = {"lora.alpha": "lora.rank"}


class ValueChange(Strict):
    """One variable that two configs differ in; None: it is not there."""

    name: str
    before: Any
    after: Any


def record_change(project: Project, changed: list[ValueChange], who: str, reason: str) -> None:
    """Append what was changed to the ledger, with the digest of the config it led to."""
    digest = hashlib.sha256(project.config_path.read_bytes()).hexdigest()
    for change in changed:
        row = {"time": time.time(), "who": who, **change.model_dump(), "reason": reason, "config_sha256": digest}
        append_jsonl(project.path / LEDGER, row)


def recorded_changes(project: Project) -> list[dict[str, Any]]:
    """The ledger's rows, oldest first."""
    path = project.path / LEDGER
    return read_jsonl(path) if path.exists() else []


def changes_since_last_run(project: Project) -> list[ValueChange]:
    """Return config.yaml's differences from what the last run trained with; none when nothing was trained yet."""
    runs = project.runs()
    if not runs or not project.config_path.exists():
        return []
    return changes(values_of(runs[-1].config_path), values_of(project.config_path))


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[ValueChange]:
    """The variables that differ, by dotted key. One that a side leaves to its default is not compared."""
    shared = sorted(name for name in before if name in after and not name.startswith(_NOT_VARIABLES))
    changed = [name for name in shared if before[name] != after[name]]
    return [
        ValueChange(name=name, before=before[name], after=after[name])
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


def values_of(path: Path) -> dict[str, Any]:
    """Return the values of a YAML file by dotted key; empty where it can't be read."""
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
