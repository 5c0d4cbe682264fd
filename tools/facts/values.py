"""The plan's values with their reasons, and what was changed of it, by whom and why."""

import re
import time

from tools.draft.experiments import recorded_changes
from tools.facts.lines import FactsError
from tools.plain_text import plain_text
from tools.project import Project
from trainer_core.errors import ConfigError

MAIN_VALUES = (
    "ltx_agent.objective",
    "model.training_mode",
    "lora.rank",
    "optimization.steps",
    "optimization.learning_rate",
    "optimization.batch_size",
    "ltx_agent.buckets",
)
"""The values that people ask about when they name none."""
_CHANGES_SHOWN = 10
_LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.]+):(?: (?P<value>.*?))?(?:\s+# (?P<reason>.*))?")


def value_facts(project: Project, name: str | None) -> list[str]:
    """The values of config.yaml with the reason of each: those whose dotted key holds `name`, else the main ones."""
    if not project.config_path.exists():
        raise FactsError("There is no plan yet, so no value was chosen.", 'Say "go on" and I get there.')
    known = reasons_of(project.config_path.read_text(encoding="utf-8", errors="replace"))
    keys = [key for key in known if name is not None and name.replace(" ", "_") in key.rpartition(".")[2]]
    if name is not None and not keys:
        raise ConfigError(f"The plan has no value called {name!r:.60}.", "config.yaml lists them all.")
    lines = []
    for key in keys or [key for key in MAIN_VALUES if key in known]:
        value, reason = known[key]
        lines.append(
            f"{key.rpartition('.')[2].replace('_', ' ')} is {value or 'set'}: {reason or 'the recipe says so'}."
        )
    return lines


def change_facts(project: Project, _name: str | None) -> list[str]:
    """The latest changes of the plan, oldest first, each with its reason."""
    changes = recorded_changes(project)[-_CHANGES_SHOWN:]
    made = [path.name for path in (project.report_path, project.captions_path, project.plan_path) if path.exists()]
    untouched = "Your clips are as they were: the folder they lie in is never written to."
    if not changes:
        so_far = f"So far I made {', '.join(made)}." if made else "I made nothing yet."
        return [f"Nothing of the plan was changed since it was drafted. {so_far}" if made else so_far, untouched]
    lines = [
        f"{time.strftime('%H:%M', time.localtime(row['time']))} {row['name']}: {row['before']} → {row['after']} "
        f"({plain_text(str(row['reason']))})"
        for row in changes
    ]
    return [*lines, untouched, 'Say "undo that" to take the last one back.']


def reasons_of(text: str) -> dict[str, tuple[str, str]]:
    """Value and reason of each key of a config.yaml, by dotted key. A reason stands behind its value or above it."""
    found: dict[str, tuple[str, str]] = {}
    path: list[tuple[int, str]] = []
    above = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            above = line.lstrip("# ")
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            above = ""
            continue
        indent = len(match["indent"])
        path = [*(part for part in path if part[0] < indent), (indent, match["key"])]
        key = ".".join(part for _, part in path)
        found[key] = ((match["value"] or "").strip(), plain_text(match["reason"] or above))
        above = ""
    return found
