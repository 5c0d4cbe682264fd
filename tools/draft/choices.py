"""Training values derived from the report, the user's wishes and the objective's recipe, each with its reason."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.draft.assumptions import ASKED, assumptions_of
from tools.draft.conditions import (
    Direction,
    boundary_of,
    boundary_reason,
    direction_reason,
    fit_boundaries,
    set_direction,
    set_region,
    share_first_frames,
)
from tools.draft.coverage import Coverage, coverage_of
from tools.draft.data_values import data_values
from tools.draft.heldout import Split, split_off
from tools.draft.notes import notes_of
from tools.draft.objective_words import MISSING
from tools.draft.schedule import Material, material_of, saving_interval, schedule_of, tiny_schedule
from tools.draft.select import columns_of, has_sound, sort_clips
from tools.draft.sides import choose_sides, sound_count
from tools.inspect.discover.names import displayed
from tools.inspect.report.clips import usable_clips
from tools.inspect.report.report import Clip, Report
from tools.project import ProjectFacts
from trainer_core.config import is_tiny
from trainer_core.errors import ConfigError, DataError
from trainer_core.objective import (
    ADAPTER_NAMES,
    AdapterName,
    default_adapter,
    merged,
    nested,
    objective_named,
    objective_of,
    recipe_for,
)
from trainer_core.sections.strategy import FlexibleStrategy

KINDS = "every program reads it; rslora for ranks from 64, dora for ranks of 4 to 16, lokr for a small file of a style"
MASTER_WEIGHTS_REASON = "float32 where that fits the GPU, else 24 bits: bf16 alone would round small updates away"


@dataclass(frozen=True)
class Wishes:
    """The user's wishes; None leaves the choice to us."""

    objective: str | None = None
    said: str | None = None
    adapter: str | None = None
    steps: int | None = None
    rank: int | None = None
    lora_kind: str | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    held_out: float | None = None
    held_out_clips: tuple[str, ...] = ()
    video_only: bool | None = None
    direction: Direction | None = None
    region: tuple[int, int, int, int] | None = None
    skip: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A training that was decided on. `reasons` are by dotted key of `config`; `left_out` pairs clips with why.

    `training` includes the clips that `split` holds out."""

    objective: str
    adapter: str
    video_only: bool
    config: dict[str, Any]
    reasons: dict[str, str]
    training: list[Clip]
    left_out: list[tuple[Clip, str]]
    notes: list[str]
    assumptions: list[str]
    split: Split
    coverage: Coverage

    def values(self) -> list[tuple[str, Any, str]]:
        """Every value that was chosen: its dotted key, itself, its reason."""
        found = []
        for name, reason in self.reasons.items():
            value: Any = self.config
            for part in name.split("."):
                value = value[part]
            found.append((name, value, reason))
        return found


@dataclass
class _Choices:
    """Values by dotted key, each with its reason; an empty reason is for what explains itself."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def choose(self, name: str, value: Any, reason: str) -> None:
        self.values[name] = value
        self.reasons[name] = reason


def decide(report: Report, facts: ProjectFacts, wishes: Wishes) -> Draft:
    """Return the training for these clips. Raises DataError when the data can't carry it, naming what is missing."""
    objective, objective_reason = _choose_objective(report, facts, wishes)
    columns = columns_of(report)
    adapter, adapter_reason = _choose_adapter(objective, columns, facts, wishes)
    sides = choose_sides(report, objective, wishes.video_only)
    _refuse_impossible(report, objective, without_sound=sides.video_only)
    recipe = recipe_for(objective, adapter, columns | {"audio"} if sides.video_only else columns)
    if sides.video_only:
        recipe["training_strategy"]["audio"] = None
    set_direction(recipe, objective, wishes.direction)
    strategy = recipe["training_strategy"]
    needs = (strategy["video"] is not None, strategy["audio"] is not None)
    training, left_out = sort_clips(report, strategy, wishes.skip, wishes.only)
    recipes = boundary_of(strategy, objective)
    training, too_short = fit_boundaries(strategy, training)
    boundary = boundary_reason(strategy, objective, recipes)
    left_out += too_short
    if not training:
        listed = "; ".join(f"{displayed(clip.path)}: {reason}" for clip, reason in left_out)
        raise DataError(f"No clip can train {objective}: {listed}.", "Add clips, or choose another objective.")
    split = split_off(training, wishes.held_out, wishes.held_out_clips)
    trained = [clip for index, clip in enumerate(training) if index not in split.heldout]
    choices = _Choices()
    choices.choose("ltx_agent.objective", objective, objective_reason)
    frame_rate = report.summary.frame_rate if needs[0] else None
    for name, (value, reason) in data_values(facts, training, split, frame_rate).items():
        choices.choose(name, value, reason)
    _choose_model(choices, facts, wishes, recipe, (adapter, adapter_reason))
    groups = [group for index, group in enumerate(split.groups) if index not in split.heldout]
    _choose_optimization(choices, facts, wishes, recipe, material_of(trained, groups), adapter)
    first_frames = share_first_frames(recipe, objective, trained)
    if first_frames is not None:
        choices.reasons["training_strategy.video.conditions"] = first_frames
    if sides.video_only:
        choices.reasons["training_strategy.audio"] = f"absent: {sides.reason}"
    if boundary is not None:
        given = f"{direction_reason(wishes.direction)}; {boundary}"
        choices.reasons[f"training_strategy.{objective.removesuffix('_extension')}.conditions"] = given
    if objective == "video_outpainting":
        choices.reasons["training_strategy.video.conditions"] = set_region(recipe, training, wishes.region)
    if adapter == "full":
        choices.reasons["lora"] = "none: every weight is trained"
    for name, value in facts.asked.items():
        if "." in name:
            choices.choose(name, value, ASKED)
    config = _in_reading_order(merged(recipe, nested(choices.values)))
    return Draft(
        objective=objective,
        adapter=adapter,
        video_only=sides.video_only,
        config=config,
        reasons=in_order_of(config, choices.reasons),
        training=training,
        left_out=left_out,
        notes=notes_of(facts, objective, sides, training, left_out, split),
        assumptions=[*assumptions_of(choices.reasons, choices.values, facts.trigger), *facts.assumed],
        split=split,
        coverage=coverage_of(report, training, split.heldout, left_out),
    )


def in_order_of(config: dict[str, Any], reasons: dict[str, str]) -> dict[str, str]:
    """Reasons by dotted key, in the order of the config's sections."""
    sections = list(config)
    return dict(sorted(reasons.items(), key=lambda item: sections.index(item[0].split(".")[0])))


def _choose_objective(report: Report, facts: ProjectFacts, wishes: Wishes) -> tuple[str, str]:
    asked = wishes.objective or facts.objective
    if asked is not None:
        return asked, "what your words were understood as; plan.md has them side by side" if wishes.said else ASKED
    usable = usable_clips(report)
    shown = [clip for clip in usable if clip.kind != "audio" and clip.samples]
    if not shown and any(clip.kind == "audio" for clip in usable):
        return "t2a", "there is sound only"
    if any(has_sound(clip) for clip in shown):
        return "t2v", sound_count(shown)
    if all(clip.kind == "image" for clip in shown):
        return "t2v", "there are still images only"
    return "t2v", "the clips have a picture but no usable sound"


def _refuse_impossible(report: Report, objective: str, *, without_sound: bool) -> None:
    verdict = report.objectives.get(objective)
    lacking = [] if verdict is None else [name for name in verdict.missing if not (without_sound and name == "audio")]
    nothing_cut = not any(clip.samples for clip in usable_clips(report))  # each clip's own reason says more
    if verdict is None or verdict.possible or not lacking or nothing_cut:
        return
    missing = ", ".join(lacking)
    possible = ", ".join(name for name, entry in report.objectives.items() if entry.possible) or "none"
    how = " ".join(MISSING[column][1] for column in lacking)
    raise DataError(
        f"{objective} can't be trained on these clips: {missing} is missing.",
        f"{how} Or choose an objective these clips can carry: {possible}.",
    )


def _choose_adapter(
    objective: str, columns: Collection[str], facts: ProjectFacts, wishes: Wishes
) -> tuple[AdapterName, str]:
    asked = wishes.adapter or facts.adapter
    if asked is None or (asked == "lora" and objective.endswith("_ic")):
        return default_adapter(objective, columns)
    reference = "reference_video" if objective_named(objective).video.generated else "reference_audio"
    if asked == "ic-lora" and not {"reference_video", "reference_audio"} & set(columns):
        raise DataError(
            f"{objective} with the adapter ic-lora needs `{reference}`, and no clip has one.",
            f"{MISSING[reference][1]} Or train a plain LoRA.",
        )
    for adapter in ADAPTER_NAMES:
        if adapter == asked:
            return adapter, ASKED
    raise ConfigError(f"`{asked}` is no adapter.", f"Choose {', '.join(ADAPTER_NAMES)}.")


def _choose_model(
    choices: _Choices,
    facts: ProjectFacts,
    wishes: Wishes,
    recipe: dict[str, Any],
    chosen: tuple[AdapterName, str],
) -> None:
    adapter, why_adapter = chosen
    tiny = is_tiny(facts.model)
    named = "a small random model: it shows that everything works" if tiny else "the model you named"
    choices.choose("model.model_path", _model_path(facts.model), named)
    precision = (
        ("no", "full precision: the tiny model is no burden") if tiny else ("bf16", "half the memory of full precision")
    )
    choices.choose("acceleration.mixed_precision_mode", *precision)
    if adapter == "full":
        choices.choose("model.training_mode", "full", f"every weight is trained: {why_adapter}")
        if not tiny:
            choices.choose("ltx_agent.training.master_weights", "auto", MASTER_WEIGHTS_REASON)
        return
    choices.choose("model.training_mode", "lora", f"{adapter}: {why_adapter}")
    choices.choose("ltx_agent.lora.kind", *_asked_or(wishes.lora_kind, ("lora", KINDS)))
    targets = objective_of(FlexibleStrategy.model_validate(recipe["training_strategy"])).targets
    choices.choose("lora.target_modules", list(targets.modules), targets.reason)


def _choose_optimization(
    choices: _Choices,
    facts: ProjectFacts,
    wishes: Wishes,
    recipe: dict[str, Any],
    material: Material,
    adapter: AdapterName,
) -> None:
    tiny = is_tiny(facts.model)
    schedule = tiny_schedule(material) if tiny else schedule_of(material, adapter, recipe)
    asked = {
        "lora.rank": wishes.rank,
        "optimization.learning_rate": wishes.learning_rate,
        "optimization.steps": wishes.steps,
        "optimization.batch_size": wishes.batch_size,
    }
    for name, derived in schedule.values.items():
        if not (name.startswith("lora.") and adapter == "full"):
            choices.choose(name, *_asked_or(asked.get(name), derived))
    if wishes.batch_size is not None and wishes.batch_size != schedule.values["optimization.batch_size"][0]:
        together = schedule.samples_a_step
        accumulation = max(1, round(together / wishes.batch_size))
        why = f"with your batch a step sees {wishes.batch_size * accumulation} samples"
        choices.choose("optimization.gradient_accumulation_steps", accumulation, why)
    if "lora.rank" in choices.values:
        rank = choices.values["lora.rank"]
        choices.choose("lora.alpha", rank, "equal to the rank: the adapter works at plain strength")
    memory = (False, "not needed for a tiny model") if tiny else (True, "saves memory, costs time")
    choices.choose("optimization.enable_gradient_checkpointing", *memory)
    choices.choose("checkpoints.interval", *saving_interval(choices.values["optimization.steps"]))
    choices.choose("checkpoints.save_training_state", "minimal", "what a resume needs, at the newest two checkpoints")


def _asked_or(wish: Any, derived: tuple[Any, str]) -> tuple[Any, str]:
    return derived if wish is None else (wish, ASKED)


def _model_path(model: str) -> str:
    if is_tiny(model):
        return model
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model


def _in_reading_order(values: dict[str, Any]) -> dict[str, Any]:
    first = ("ltx_agent", "model", "lora", "training_strategy", "optimization", "acceleration", "data")
    return {name: values[name] for name in (*first, *values) if name in values}
