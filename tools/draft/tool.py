"""The draft node's tool: derive the training from the data, and write dataset.jsonl, plan.md and config.yaml."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tools.caption.captions import captions_by_clip, read_captions
from tools.caption.clips import read_report
from tools.draft.annotated import annotated_yaml, replace_drafted
from tools.draft.choices import Wishes, decide
from tools.draft.dataset import write_dataset
from tools.draft.heldout import LARGEST_FRACTION
from tools.draft.plan import clip_count_sentence, plan_text
from tools.project import Progress, Project
from tools.spec import Tool
from trainer_core.config import ObjectiveName, is_tiny, parse_config
from trainer_core.files import write_text
from trainer_core.objective import objective_of

AdapterName = Literal["lora", "ic-lora", "full"]


class DraftArguments(BaseModel):
    """What the person asked for; leave null whatever they didn't name."""

    model_config = ConfigDict(extra="forbid")

    objective: Annotated[ObjectiveName | None, Field(description="null derives it from the clips.")] = None
    adapter: Annotated[AdapterName | None, Field(description="null: ic-lora for the _ic objectives, else lora.")] = None
    steps: Annotated[int | None, Field(ge=1, description="Optimizer steps.")] = None
    rank: Annotated[int | None, Field(ge=1, le=1024, description="Rank of the LoRA.")] = None
    learning_rate: Annotated[float | None, Field(gt=0, lt=1, allow_inf_nan=False)] = None
    batch_size: Annotated[int | None, Field(ge=1, description="Samples a step.")] = None
    held_out: Annotated[
        float | None,
        Field(ge=0, le=LARGEST_FRACTION, description="Share of samples kept from training to judge it by; 0 none."),
    ] = None
    held_out_clips: Annotated[
        tuple[str, ...], Field(description="Hold out these clips (names, `*` allowed) and what looks like them.")
    ] = ()


class LeftOutClip(BaseModel):
    """A clip that will not train, and why."""

    model_config = ConfigDict(extra="forbid")

    path: str
    reason: str


class DraftValue(BaseModel):
    """One value of the config with its reason."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: Any
    reason: str


class DraftResult(BaseModel):
    """The drafted training: show the person the sentence, the clips left out, the values and the notes."""

    model_config = ConfigDict(extra="forbid")

    objective: str
    adapter: str
    video_only: bool
    sentence: str
    training_clips: int
    left_out: list[LeftOutClip]
    samples: int
    held_out: list[str]
    held_out_reason: str
    captions_to_review: int
    values: list[DraftValue]
    notes: list[str]
    tiny_model: bool
    backup: str | None
    config: str
    plan: str
    dataset: str


def draft_config(
    project: Project,
    arguments: DraftArguments,
    progress: Progress | None = None,  # noqa: ARG001 (every tool takes the same three)
) -> DraftResult:
    """Draft the training: every value derived from the clips, the project and the objective's recipe, with its reason.

    Writes dataset.jsonl, plan.md and config.yaml. Needs inspected and captioned clips. Change one thing at a time by
    drafting again with that argument. A config.yaml that the person edited is kept as config.yaml.bak-N: say so.
    """
    report = read_report(project)
    draft = decide(report, project.facts, Wishes(**arguments.model_dump()))
    text = annotated_yaml(draft.config, draft.reasons)
    objective_of(parse_config(text, "the drafted config").strategy)
    write_dataset(project, draft.training, draft.split)
    captions = captions_by_clip(read_captions(project.captions_path), draft.training)
    to_review = sum(entry.needs_review for entry in captions.values())
    write_text(project.plan_path, plan_text(draft, report, to_review))
    backup = replace_drafted(project.config_path, text)
    notes = list(draft.notes)
    if backup is not None:
        notes.append(f"Your edited config.yaml is kept as {backup.name}; the new draft doesn't hold its edits.")
    return DraftResult(
        objective=draft.objective,
        adapter=draft.adapter,
        video_only=draft.video_only,
        sentence=clip_count_sentence(draft),
        training_clips=len(draft.training),
        left_out=[LeftOutClip(path=clip.path, reason=reason) for clip, reason in draft.left_out],
        samples=sum(len(clip.samples) for clip in draft.training),
        held_out=[clip.path for index, clip in enumerate(draft.training) if index in draft.split.heldout],
        held_out_reason=draft.split.reason,
        captions_to_review=to_review,
        values=[DraftValue(name=name, value=value, reason=reason) for name, value, reason in draft.values()],
        notes=notes,
        tiny_model=is_tiny(draft.config["model"]["model_path"]),
        backup=str(backup) if backup is not None else None,
        config=str(project.config_path),
        plan=str(project.plan_path),
        dataset=str(project.dataset_path),
    )


DRAFT_TOOLS: list[Tool] = [Tool("draft_config", draft_config, DraftArguments)]
