"""What to train and how: derived from the report, the wishes and the objective's recipe, each with its reason."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.draft.assumptions import ASKED, assumptions_of
from tools.draft.conditions import (
    Direction,
    direction_reason,
    fit_boundary,
    set_direction,
    set_region,
)
from tools.draft.heldout import Split, split_off
from tools.draft.select import columns_of, has_sound, sort_clips
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
    load_recipe,
    merged,
    nested,
    objective_of,
    recipe_for,
)
from trainer_core.sections.strategy import FlexibleStrategy
from trainer_core.units import counted

TINY_STEPS = 60
TINY_RANK = 8
TINY_LEARNING_RATE = 2e-3
TINY_BATCH_SIZE = 2
RECIPE = "the objective's recipe"
MASTER_WEIGHTS_REASON = "float32 where that fits the GPU, else 24 bits: bf16 alone would round small updates away"


@dataclass(frozen=True)
class Wishes:
    """What the person asked for; None leaves the choice to us."""

    objective: str | None = None
    adapter: str | None = None
    steps: int | None = None
    rank: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    held_out: float | None = None
    held_out_clips: tuple[str, ...] = ()
    video_only: bool | None = None
    direction: Direction | None = None
    region: tuple[int, int, int, int] | None = None
    skip: tuple[str, ...] = ()


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
    silent = objective == "t2v" and not any(has_sound(clip) and clip.samples for clip in usable_clips(report))
    video_only = silent or _wants_video_only(objective, wishes)
    if not video_only:
        _refuse_impossible(report, objective)
    recipe = recipe_for(objective, adapter, columns | {"audio"} if video_only else columns)
    if video_only:
        recipe["training_strategy"]["audio"] = None
    set_direction(recipe, objective, wishes.direction)
    strategy = recipe["training_strategy"]
    needs = (strategy["video"] is not None, strategy["audio"] is not None)
    training, left_out = sort_clips(report, strategy, wishes.skip)
    if not training:
        listed = "; ".join(f"{displayed(clip.path)}: {reason}" for clip, reason in left_out)
        raise DataError(f"No clip can train {objective}: {listed}.", "Add clips, or choose another objective.")
    split = split_off(training, wishes.held_out, wishes.held_out_clips)
    choices = _Choices()
    choices.choose("ltx_agent.objective", objective, objective_reason)
    _choose_data(choices, report, facts, training, split, needs_video=needs[0])
    _choose_model(choices, facts, wishes, recipe, (adapter, adapter_reason))
    trained = [clip for index, clip in enumerate(training) if index not in split.heldout]
    _choose_optimization(choices, facts, wishes, recipe, trained)
    if video_only:
        choices.reasons["training_strategy.audio"] = f"absent: {'no clip has usable sound' if silent else ASKED}"
    length = fit_boundary(recipe, objective, training)
    if length is not None:
        given = direction_reason(wishes.direction)
        choices.reasons[f"training_strategy.{objective.removesuffix('_extension')}.conditions"] = f"{given}; {length}"
    if objective == "video_outpainting":
        choices.reasons["training_strategy.video.conditions"] = set_region(recipe, training, wishes.region)
    if adapter == "full":
        choices.reasons["lora"] = "none: every weight is trained"
    for name, value in facts.asked.items():
        if "." in name:
            choices.choose(name, value, ASKED)
    config = _in_reading_order(merged(recipe, nested(choices.values)))
    sections = list(config)
    return Draft(
        objective=objective,
        adapter=adapter,
        video_only=video_only,
        config=config,
        reasons=dict(sorted(choices.reasons.items(), key=lambda item: sections.index(item[0].split(".")[0]))),
        training=training,
        left_out=left_out,
        notes=_notes(facts, wishes, objective, silent, training, left_out),
        assumptions=[*assumptions_of(choices.reasons, choices.values, facts.trigger), *facts.assumed],
        split=split,
    )


def _choose_objective(report: Report, facts: ProjectFacts, wishes: Wishes) -> tuple[str, str]:
    asked = wishes.objective or facts.objective
    if asked is not None:
        return asked, ASKED
    if all(clip.kind == "audio" for clip in usable_clips(report)):
        return "t2a", "there is sound only"
    if any(has_sound(clip) and clip.samples for clip in usable_clips(report)):
        return "t2v", "the clips have picture and sound, so both are trained"
    return "t2v", "the clips have a picture but no usable sound"


def _wants_video_only(objective: str, wishes: Wishes) -> bool:
    """Whether the sound is left out because the person asked. Raises ConfigError where that leaves nothing."""
    if not wishes.video_only:
        return False
    strategy = {"audio": None, "video": None, **load_recipe(objective)["training_strategy"]}
    if not (strategy["video"] and strategy["video"]["is_generated"]):
        raise ConfigError(
            f"{objective} makes sound, so it can't train the picture alone.", "Choose another objective, such as t2v."
        )
    if strategy["audio"] and not strategy["audio"]["is_generated"]:
        raise ConfigError(
            f"{objective} makes the picture from the sound, so the sound can't be left out.", "Choose t2v or i2v."
        )
    return True


def _refuse_impossible(report: Report, objective: str) -> None:
    verdict = report.objectives.get(objective)
    if verdict is None or verdict.possible:
        return
    missing = ", ".join(verdict.missing)
    possible = ", ".join(name for name, entry in report.objectives.items() if entry.possible) or "none"
    raise DataError(
        f"{objective} can't be trained on these clips: {missing} is missing.",
        f"Add it to the data, or choose an objective these clips can carry: {possible}.",
    )


def _choose_adapter(
    objective: str, columns: Collection[str], facts: ProjectFacts, wishes: Wishes
) -> tuple[AdapterName, str]:
    asked = wishes.adapter or facts.adapter
    if asked is None or (asked == "lora" and objective.endswith("_ic")):
        return default_adapter(objective, columns)
    for adapter in ADAPTER_NAMES:
        if adapter == asked:
            return adapter, ASKED
    raise ConfigError(f"`{asked}` is no adapter.", f"Choose {', '.join(ADAPTER_NAMES)}.")


def _choose_data(
    choices: _Choices,
    report: Report,
    facts: ProjectFacts,
    training: list[Clip],
    split: Split,
    *,
    needs_video: bool,
) -> None:
    buckets = _samples_by_bucket(training)
    samples = sum(len(clip.samples) for clip in training)
    choices.choose(
        "ltx_agent.dataset",
        "dataset.jsonl",
        f"{counted(len(training), 'clip')}, {counted(samples, 'sample')}; held out: {split.reason}",
    )
    if buckets:
        sizes = ", ".join(f"{count} of {bucket}" for bucket, count in buckets.most_common())
        spelled = ";".join(bucket for bucket, _ in buckets.most_common())
        choices.choose("ltx_agent.buckets", spelled, f"width x height x frames, from the clips: {sizes}")
    if needs_video:
        rate = report.summary.frame_rate
        choices.choose("ltx_agent.frame_rate", rate, "pictures a second, as the clips were cut into samples")
    if facts.trigger:
        choices.choose("ltx_agent.trigger", facts.trigger, "put before each caption when text is encoded")
    workers, why = (0, "the samples are tiny too") if is_tiny(facts.model) else (2, "they read ahead of training")
    choices.choose("data.preprocessed_data_root", ".precomputed", "beside this file; encoding fills it")
    choices.choose("data.num_dataloader_workers", workers, why)
    choices.choose("output_dir", "runs", "beside this file; each run has a folder of its own")


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
    rank = (TINY_RANK, "the tiny model's layers are a few dozen wide") if tiny else (recipe["lora"]["rank"], RECIPE)
    choices.choose("lora.rank", *_asked_or(wishes.rank, rank))
    choices.choose("lora.alpha", choices.values["lora.rank"], "equal to the rank: the adapter works at plain strength")
    targets = objective_of(FlexibleStrategy.model_validate(recipe["training_strategy"])).targets
    choices.choose("lora.target_modules", list(targets.modules), targets.reason)


def _choose_optimization(
    choices: _Choices, facts: ProjectFacts, wishes: Wishes, recipe: dict[str, Any], training: list[Clip]
) -> None:
    tiny = is_tiny(facts.model)
    base = recipe["optimization"]
    samples = sum(len(clip.samples) for clip in training)
    rate = (TINY_LEARNING_RATE, "high, so that few steps show a change") if tiny else (base["learning_rate"], RECIPE)
    steps = (TINY_STEPS, "enough to see the whole way work, in about a minute") if tiny else (base["steps"], RECIPE)
    batch = min(TINY_BATCH_SIZE, samples) if tiny else base["batch_size"]
    choices.choose("optimization.learning_rate", *_asked_or(wishes.learning_rate, rate))
    choices.choose("optimization.steps", *_asked_or(wishes.steps, steps))
    choices.choose(
        "optimization.batch_size",
        *_asked_or(wishes.batch_size, (batch, f"of {counted(samples, 'sample')} in all")),
    )
    memory = (False, "not needed for a tiny model") if tiny else (True, "saves memory, costs time")
    choices.choose("optimization.enable_gradient_checkpointing", *memory)
    interval = min(recipe["checkpoints"]["interval"], max(1, choices.values["optimization.steps"] // 2))
    choices.choose("checkpoints.interval", interval, "steps between saved adapters; the last step is always saved")
    choices.choose("checkpoints.save_training_state", "minimal", "what a resume needs, at the newest two checkpoints")
    choices.choose("validation.samples", [], "no prompts are sampled while it trains")
    choices.choose("validation.interval", None, "none, as there are no prompts")


def _asked_or(wish: Any, derived: tuple[Any, str]) -> tuple[Any, str]:
    return derived if wish is None else (wish, ASKED)


def _samples_by_bucket(training: list[Clip]) -> Counter[str]:
    return Counter(sample.bucket for clip in training for sample in clip.samples if sample.bucket is not None)


def _model_path(model: str) -> str:
    if is_tiny(model):
        return model
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model


def _in_reading_order(values: dict[str, Any]) -> dict[str, Any]:
    first = ("ltx_agent", "model", "lora", "training_strategy", "optimization", "acceleration", "data")
    return {name: values[name] for name in (*first, *values) if name in values}


def _notes(
    facts: ProjectFacts,
    wishes: Wishes,
    objective: str,
    video_only: bool,
    training: list[Clip],
    left_out: list[tuple[Clip, str]],
) -> list[str]:
    notes = []
    if video_only:
        notes.append("No clip has usable sound, so only the picture is trained and the adapter leaves sound alone.")
    if len(training) < len(left_out):
        fewer = f"Fewer clips train ({len(training)}) than are left out ({len(left_out)})."
        soundless = sum(clip.kind == "video" and bool(clip.samples) and not has_sound(clip) for clip, _ in left_out)
        if objective == "t2v" and soundless:
            fewer += f" {soundless} of them lack only sound: asked in the talk for `only the picture`, they train too."
        notes.append(fewer)
    if not is_tiny(facts.model) and not Path(facts.model).expanduser().exists():
        notes.append(f"The model {displayed(facts.model)} was not found here; training will need it.")
    if objective.endswith("_ic") and (wishes.adapter or facts.adapter) == "lora":
        notes.append("A LoRA that learns from a reference is an IC-LoRA, so that is what is drafted.")
    return notes
