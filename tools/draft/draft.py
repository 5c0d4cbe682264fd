"""From a project to the text of its config: what was asked for, decided, spelled out and checked, then written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tools.caption.store.captions import captions_by_clip, read_captions
from tools.draft.annotated import annotated_yaml, replace_drafted
from tools.draft.choices import Draft, Wishes, decide
from tools.draft.conditions import Direction
from tools.draft.coverage import write_coverage
from tools.draft.dataset import dataset_rows, write_dataset
from tools.draft.fit import fitted
from tools.draft.heldout import LARGEST_FRACTION
from tools.draft.plan import plan_text
from tools.draft.recipe_reasons import recipe_reasons
from tools.draft.references import REFERENCES
from tools.draft.sample_prompts import with_samples
from tools.inspect.report.clips import read_report
from tools.inspect.report.report import Report
from tools.machine import device_bytes
from tools.project import Project, ProjectFacts
from trainer_core.config import parse_config
from trainer_core.errors import ConfigError
from trainer_core.files import write_text
from trainer_core.objective import objective_of
from trainer_core.sections.own import AdapterKind, ObjectiveName
from trainer_core.strict import Strict

AdapterName = Literal["lora", "ic-lora", "full"]
LONGEST_SAID = 600
"""Characters: a goal, and the answer to a question about it."""


class DraftArguments(Strict):
    """The user's wishes; leave null whatever they didn't name."""

    objective: Annotated[ObjectiveName | None, Field(description="null derives it from the clips.")] = None
    said: Annotated[
        str | None,
        Field(
            max_length=LONGEST_SAID,
            description="The user's own words that `objective` was read from: the plan shows both side by side.",
        ),
    ] = None
    adapter: Annotated[AdapterName | None, Field(description="null: ic-lora for the _ic objectives, else lora.")] = None
    steps: Annotated[int | None, Field(ge=1, description="Optimizer steps.")] = None
    rank: Annotated[int | None, Field(ge=1, le=1024, description="Rank of the LoRA.")] = None
    lora_kind: Annotated[
        AdapterKind | None,
        Field(description="The LoRA's kind: rslora for ranks from 64, dora for low ranks, lokr for a small file."),
    ] = None
    learning_rate: Annotated[float | None, Field(gt=0, lt=1, allow_inf_nan=False)] = None
    batch_size: Annotated[int | None, Field(ge=1, description="Samples a step.")] = None
    held_out: Annotated[
        float | None,
        Field(ge=0, le=LARGEST_FRACTION, description="Share of samples kept from training to judge it by; 0 none."),
    ] = None
    held_out_clips: Annotated[
        tuple[str, ...], Field(description="Hold out these clips (names, `*` allowed) and what looks like them.")
    ] = ()

    video_only: Annotated[
        bool | None, Field(description="true trains the picture alone though the clips have sound.")
    ] = None
    direction: Annotated[
        Direction | None, Field(description="Extensions only: make what comes after the clip, or what comes before it.")
    ] = None
    region: Annotated[
        tuple[int, int, int, int] | None,
        Field(description="Outpainting only: y1, x1, y2, x2 in pixels of the part that is given."),
    ] = None
    skip: Annotated[
        tuple[str, ...] | None,
        Field(description=f"Clips to leave out; an empty list leaves out none. {REFERENCES}"),
    ] = None
    only: Annotated[
        tuple[str, ...] | None,
        Field(description="The clips to train on and no others, by the same references; an empty list takes all."),
    ] = None
    forget: Annotated[
        tuple[str, ...],
        Field(description="Names of arguments that were asked for before and no longer are: they are derived again."),
    ] = ()


@dataclass(frozen=True)
class Drafted:
    """A draft and the YAML that says it."""

    report: Report
    draft: Draft
    text: str


def facts_with(facts: ProjectFacts, arguments: DraftArguments) -> ProjectFacts:
    """Return project.json's facts with what is asked for now: it stays asked for until something else is."""
    named = arguments.model_dump(exclude_unset=True, exclude_none=True, mode="json")
    forgotten = named.pop("forget", [])
    own: dict[str, Any] = {name: None for name in ("objective", "adapter") if name in forgotten}
    own |= {name: named.pop(name) for name in ("objective", "adapter") if name in named}
    kept = {name: value for name, value in facts.asked.items() if name not in forgotten}
    if own.get("objective", facts.objective) != facts.objective:
        for name in ("direction", "region", "said", "video_only"):  # they belonged to the other objective
            kept.pop(name, None)
    return facts.model_copy(update={**own, "asked": {**kept, **named}})


def draft_of(project: Project, facts: ProjectFacts, memory_bytes: Callable[[], int | None] = device_bytes) -> Drafted:
    """Return what these facts lead to, checked as a whole; writes nothing. `memory_bytes`: the card's; None, none."""
    report = read_report(project)
    asked = {name: value for name, value in facts.asked.items() if "." not in name}
    try:
        arguments = DraftArguments.model_validate(asked)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']} (given: {fault['input']})" for fault in error.errors())
        raise ConfigError(f"That can't be asked for: {faults}.", "Ask for another value.") from error
    named = arguments.model_dump(exclude={"forget"})
    wishes = Wishes(**{**named, "skip": arguments.skip or (), "only": arguments.only or ()})
    decided = decide(report, facts, wishes)
    draft = fitted(with_samples(decided, dataset_rows(project, decided)), project.path, memory_bytes)
    text = annotated_yaml(draft.config, {**recipe_reasons(draft.config), **draft.reasons})
    objective_of(parse_config(text, "the drafted config").strategy)
    return Drafted(report, draft, text)


def write_draft(project: Project, facts: ProjectFacts, drafted: Drafted) -> tuple[int, Path | None]:
    """Write the dataset, the plan, the config and the facts.

    Returns how many captions of the training wait for a review, and where an edited config is kept.
    """
    draft = drafted.draft
    write_dataset(project, draft)
    write_coverage(project, draft.coverage)
    captions = captions_by_clip(read_captions(project.captions_path), draft.training)
    to_review = sum(entry.needs_review for entry in captions.values())
    said = str(facts.asked.get("said") or facts.goal)
    write_text(project.plan_path, plan_text(draft, to_review, said))
    backup = replace_drafted(project.config_path, drafted.text)
    if facts != project.facts:
        project.write_facts(facts)
    return to_review, backup
