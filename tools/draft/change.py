"""Changing one value of the plan: what follows from it follows, a person's own edits stay, the ledger remembers."""

import json
from typing import Annotated, Any

from pydantic import Field

from tools.draft.annotated import is_as_drafted
from tools.draft.assumptions import ASKED
from tools.draft.draft import draft_of, write_draft
from tools.draft.edit import set_value
from tools.draft.experiments import ValueChange, changes_since_last_run, flat_values, record_change, unified_diff
from tools.project import Progress, Project, ProjectFacts
from tools.spec import FREE, Preview
from trainer_core.config import parse_config
from trainer_core.config_paths import paths_added
from trainer_core.errors import ConfigError
from trainer_core.files import write_text
from trainer_core.strict import Strict

ARGUMENT_OF = {
    "optimization.steps": "steps",
    "optimization.learning_rate": "learning_rate",
    "optimization.batch_size": "batch_size",
    "lora.rank": "rank",
}
"""Config keys that are arguments of a draft too."""
_DERIVED = ("ltx_agent.dataset", "ltx_agent.objective", "training_strategy", "data.preprocessed_data_root")
"""What a change of one value would contradict: these follow from the clips and the objective, by drafting again."""


class ChangeArguments(Strict):
    """One value to change; change one at a time, so that its effect can be seen."""

    name: Annotated[str, Field(description="Dotted key of config.yaml, such as optimization.steps or lora.rank.")]
    value: Annotated[Any, Field(description="The new value: a number, text, true, false, null or a list of those.")]
    reason: Annotated[str, Field(max_length=200, description="Why, in a few words of the user's.")] = ASKED


class ChangeResult(Strict):
    """The changed value: show the user the diff and the note."""

    name: str
    before: Any
    after: Any
    diff: list[str]
    note: str
    config: str


def change_config(
    project: Project,
    arguments: ChangeArguments,
    _progress: Progress | None = None,
) -> ChangeResult:
    """Change one value of config.yaml: checked at once, written only when the whole is valid, kept in the ledger.

    For the objective, the adapter, clips to leave out or what is given and learned, call draft_config instead.
    """
    before, after, old = _changed(project, arguments)
    facts = facts_with_value(project.facts, arguments)
    diff = unified_diff(before, after)
    if diff and is_as_drafted(project.config_path):
        write_draft(project, facts, draft_of(project, facts))
    elif diff:
        write_text(project.config_path, after)
        project.write_facts(facts)
    if diff:
        change = ValueChange(name=arguments.name, before=old, after=arguments.value)
        record_change(project, [change], "conversation", arguments.reason)
    return ChangeResult(
        name=arguments.name,
        before=old,
        after=arguments.value,
        diff=diff,
        note=several_changes(project),
        config=str(project.config_path),
    )


def preview_change(project: Project, arguments: ChangeArguments) -> Preview | None:
    """The diff of a change; None when it changes nothing."""
    before, after, _ = _changed(project, arguments)
    diff = unified_diff(before, after)
    if not diff:
        return None
    since = {change.name for change in changes_since_last_run(project)} - {arguments.name}
    if since:
        diff.append(
            f"Since the last run {', '.join(sorted(since))} changed too: with both, effects can't be told apart."
        )
    return Preview("Change the plan like this?", diff, FREE)


def changed_paths(project: Project, arguments: ChangeArguments) -> list[str]:
    """The files that the config names after the change and didn't name before it."""
    if '"' not in json.dumps(arguments.value, default=str):  # numbers name none
        return []
    before, after, _ = _changed(project, arguments)
    return paths_added(parse_config(before, "config.yaml"), parse_config(after, "config.yaml"), project.path)


def several_changes(project: Project) -> str:
    """The warning that more than one value differs from the last run; empty otherwise."""
    since = changes_since_last_run(project)
    if len(since) < 2:
        return ""
    names = ", ".join(change.name for change in since)
    return f"{len(since)} values differ from the last run: {names}. Their effects can't be told apart."


def _changed(project: Project, arguments: ChangeArguments) -> tuple[str, str, Any]:
    """Return the config before and after, and the old value. Raises ConfigError with lines when it would be invalid."""
    path = project.config_path
    if not path.exists():
        raise ConfigError("There is no config.yaml to change yet.", "Draft one first.")
    if arguments.name.startswith(_DERIVED):
        raise ConfigError(
            f"`{arguments.name}` follows from the clips and the objective; it isn't changed alone.",
            "Draft again with what is to be different.",
        )
    before = path.read_text(encoding="utf-8")
    old = flat_values(before).get(arguments.name)
    if old == arguments.value and type(old) is type(arguments.value):
        return before, before, old
    facts = facts_with_value(project.facts, arguments)
    if is_as_drafted(path):
        return before, draft_of(project, facts).text, old
    after, old = set_value(before, arguments.name, arguments.value, arguments.reason)
    parse_config(after, "config.yaml")
    return before, after, old


def facts_with_value(facts: ProjectFacts, arguments: ChangeArguments) -> ProjectFacts:
    """Return the facts with this value asked for."""
    name = ARGUMENT_OF.get(arguments.name, arguments.name)
    return facts.model_copy(update={"asked": {**facts.asked, name: arguments.value}})
