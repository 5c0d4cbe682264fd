"""The draft node's tools: derive the training from the data, change one value of it, compare the runs it led to."""

from typing import Any

from tools.draft.annotated import is_as_drafted
from tools.draft.change import ChangeArguments, change_config, changed_paths, preview_change
from tools.draft.coverage import Counts
from tools.draft.draft import DraftArguments, draft_of, facts_with, write_draft
from tools.draft.experiments import (
    changes,
    flat_values,
    record_change,
    unified_diff,
)
from tools.draft.memory import MEMORY_TOOL
from tools.draft.plan import clip_count_sentence
from tools.project import Progress, Project
from tools.spec import FREE, Preview, Tool
from trainer_core.config import is_tiny
from trainer_core.strict import Strict


class LeftOutClip(Strict):
    """A clip that will not train, and why."""

    path: str
    reason: str


class DraftValue(Strict):
    """One value of the config with its reason."""

    name: str
    value: Any
    reason: str


class DraftResult(Strict):
    """The drafted training: show the user the sentence, the clips left out, the values, the notes and the diff.

    `assumptions` rest on judgement alone; `diff` is empty for a first draft.
    """

    objective: str
    adapter: str
    video_only: bool
    sentence: str
    coverage: Counts
    training_clips: int
    left_out: list[LeftOutClip]
    samples: int
    held_out: list[str]
    held_out_reason: str
    captions_to_review: int
    values: list[DraftValue]
    notes: list[str]
    assumptions: list[str]
    diff: list[str]
    tiny_model: bool
    backup: str | None
    config: str
    plan: str
    dataset: str


def draft_config(
    project: Project,
    arguments: DraftArguments,
    _progress: Progress | None = None,
) -> DraftResult:
    """Draft the training: every value derived from the clips, the project and the objective's recipe, with its reason.

    Writes dataset.jsonl, plan.md and config.yaml. Needs inspected and captioned clips. What was asked for before stays
    asked for; to change one value of a plan that stands, call change_config. A config.yaml that the user edited is
    kept as config.yaml.bak-N: say so.
    """
    facts = facts_with(project.facts, arguments)
    drafted = draft_of(project, facts)
    draft, text = drafted.draft, drafted.text
    path = project.config_path
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
    to_review, backup = write_draft(project, facts, drafted)
    if before is not None and before != text:
        record_change(project, changes(flat_values(before), flat_values(text)), "draft", "drafted again")
    notes = list(draft.notes)
    if backup is not None:
        notes.append(f"Your edited config.yaml is kept as {backup.name}; the new draft doesn't hold its edits.")
    return DraftResult(
        objective=draft.objective,
        adapter=draft.adapter,
        video_only=draft.video_only,
        sentence=clip_count_sentence(draft),
        coverage=draft.coverage.counts(),
        training_clips=len(draft.training),
        left_out=[LeftOutClip(path=clip.path, reason=reason) for clip, reason in draft.left_out],
        samples=sum(len(clip.samples) for clip in draft.training),
        held_out=[clip.path for index, clip in enumerate(draft.training) if index in draft.split.heldout],
        held_out_reason=draft.split.reason,
        captions_to_review=to_review,
        values=[DraftValue(name=name, value=value, reason=reason) for name, value, reason in draft.values()],
        notes=notes,
        assumptions=draft.assumptions,
        diff=unified_diff(before, text) if before is not None else [],
        tiny_model=is_tiny(draft.config["model"]["model_path"]),
        backup=str(backup) if backup is not None else None,
        config=str(path),
        plan=str(project.plan_path),
        dataset=str(project.dataset_path),
    )


def preview_draft(project: Project, arguments: DraftArguments) -> Preview | None:
    """The diff to the config that stands; None when there is none yet or it would stay the same."""
    path = project.config_path
    if not path.exists():
        return None
    before = path.read_text(encoding="utf-8", errors="replace")
    diff = unified_diff(before, draft_of(project, facts_with(project.facts, arguments)).text)
    if not diff:
        return None
    if is_as_drafted(path):
        return Preview("Change the plan like this?", diff, FREE)
    diff.append("You edited config.yaml; your version is kept beside it as config.yaml.bak-N.")
    return Preview("Draft again, over your edited config.yaml?", diff, FREE, approval="overwrite")


DRAFT_TOOLS: list[Tool] = [
    Tool("draft_config", draft_config, DraftArguments, needs_approval="change", preview=preview_draft),
    Tool(
        "change_config",
        change_config,
        ChangeArguments,
        needs_approval="change",
        preview=preview_change,
        paths={"value": changed_paths},
    ),
    MEMORY_TOOL,
]
