"""The role of each modality and its conditions, as data; what is legal, and why not; the 13 recipes. No torch."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

import yaml

from trainer_core.errors import ConfigError, DataError
from trainer_core.recipes import OBJECTIVE_NAMES, recipe_text
from trainer_core.sections.strategy import Condition, FlexibleStrategy, ModalitySection, ReferenceCondition
from trainer_core.targets import Role, Targets, targets_of

ModalityName = Literal["video", "audio"]
AdapterName = Literal["lora", "ic-lora", "full"]
ADAPTER_NAMES: tuple[AdapterName, ...] = get_args(AdapterName)
OCCASIONAL = 0.3
"""A first frame given less often than this is a share within an objective, not the objective image-to-video."""


@dataclass(frozen=True)
class VaeFactors:
    """Pixels (and source frames) per latent cell; read from the checkpoint's own VAE."""

    time: int
    height: int
    width: int

    def latent_frames(self, frames: int) -> int:
        """Latent frames of `frames` pictures; the first picture has a latent frame of its own (causal VAE)."""
        return (frames - 1) // self.time + 1


@dataclass(frozen=True)
class ModalityObjective:
    """The role of one modality, where its latents lie, and the conditions on it."""

    role: Role
    latents_dir: str = ""
    conditions: tuple[Condition, ...] = ()

    @property
    def present(self) -> bool:
        return self.role != "absent"

    @property
    def generated(self) -> bool:
        return self.role == "generate"

    def condition(self, kind: str) -> Any | None:
        """The condition of this type, or None; of several references the first."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    @property
    def references(self) -> tuple[ReferenceCondition, ...]:
        """The reference conditions in their order; a modality may have several, each with a folder of its own."""
        return tuple(condition for condition in self.conditions if condition.type == "reference")


@dataclass(frozen=True)
class Objective:
    """Both modalities' roles. Built by `objective_of`, which refuses what can't be trained."""

    video: ModalityObjective
    audio: ModalityObjective

    def modality(self, name: ModalityName) -> ModalityObjective:
        return self.video if name == "video" else self.audio

    @property
    def uses_reference(self) -> bool:
        return any(side.references for side in (self.video, self.audio))

    @property
    def targets(self) -> Targets:
        """The layers that its LoRA is put on, with the reason."""
        return targets_of(self.video.role, self.audio.role, video_reference=bool(self.video.references))

    def columns(self) -> dict[str, str]:
        """The precomputed directory of every input of this objective, with the dataset column it is made from."""
        found = {"conditions": "caption"}
        for name, side in (("video", self.video), ("audio", self.audio)):
            if not side.present:
                continue
            found[side.latents_dir] = name
            for number, reference in enumerate(side.references, start=1):
                found[reference.latents_dir] = reference_column(name, number)
            mask = side.condition("mask")
            if mask is not None:
                found[mask.mask_dir] = f"{name}_mask"
        return found


def reference_column(modality: str, number: int) -> str:
    """The dataset column of a modality's `number`-th reference: `reference_video`, then `reference_video_2`, …"""
    return f"reference_{modality}" if number == 1 else f"reference_{modality}_{number}"


def objective_of(strategy: FlexibleStrategy) -> Objective:
    """Return the objective that a strategy declares. Raises ConfigError when it can't be trained, with the reason."""
    objective = Objective(_modality("video", strategy.video), _modality("audio", strategy.audio))
    if not (objective.video.generated or objective.audio.generated):
        raise ConfigError(
            "Neither modality is generated, so there is nothing to train.", "Set is_generated: true on video or audio."
        )
    return objective


def load_recipe(
    name: str, *, direction: Literal["prefix", "suffix"] = "prefix", low_memory: bool = False
) -> dict[str, Any]:
    """Return the training YAML of one of the 13 objectives as a plain dict: the defaults under the overlay.

    `direction: suffix` turns an extension backwards; `low_memory` applies upstream's low-VRAM values.
    Raises ConfigError for a name that is no objective.
    """
    if name not in OBJECTIVE_NAMES:
        raise ConfigError(f"`{name}` is no objective.", f"The objectives are: {', '.join(OBJECTIVE_NAMES)}.")
    recipe = merged(_recipe_file("defaults"), _recipe_file(name))
    if low_memory:
        recipe = merged(recipe, _recipe_file("low_memory"))
    if direction == "suffix":
        for modality in (recipe["training_strategy"].get("video"), recipe["training_strategy"].get("audio")):
            for condition in (modality or {}).get("conditions", []):
                if condition["type"] == "prefix":
                    condition["type"] = "suffix"
    return _with_targets(recipe)


def default_adapter(name: str, columns: Collection[str]) -> tuple[AdapterName, str]:
    """Return the adapter an objective gets when nobody chose one, and why."""
    if name.endswith("_ic"):
        return "ic-lora", "the objective learns from a reference"
    if name == "a2v" and "reference_video" in columns:
        return "ic-lora", "the data has reference clips, so the adapter learns to follow one"
    return "lora", "a small file beside the model; the objective has no reference"


def recipe_for(name: str, adapter: AdapterName, columns: Collection[str]) -> dict[str, Any]:
    """Return the training YAML of one cell of objectives x adapters, for a dataset that has `columns`.

    An IC-LoRA gets a reference condition on each generated modality that has references. Raises DataError naming the
    column that the dataset lacks.
    """
    recipe = load_recipe(name)
    recipe["model"] = {**recipe["model"], "training_mode": "full" if adapter == "full" else "lora"}
    if adapter == "full":
        recipe["lora"] = None
    strategy = recipe["training_strategy"]
    if adapter == "ic-lora":
        _add_references(strategy, columns)
        recipe = _with_targets(recipe)
    objective = objective_of(FlexibleStrategy.model_validate(strategy))
    needed = list(objective.columns().values())
    if adapter == "ic-lora" and not objective.uses_reference:
        generated = [side for side in ("video", "audio") if (strategy.get(side) or {}).get("is_generated")]
        needed.append(f"reference_{generated[0]}")
    lacking = [column for column in needed if column not in columns]
    if lacking:
        raise DataError(
            f"{name} with the adapter {adapter} needs {' and '.join(f'`{column}`' for column in lacking)}; "
            f"the dataset has only the columns {', '.join(sorted(columns))}.",
            "Add what is missing, or choose an objective and adapter that do without.",
        )
    return recipe


def _with_targets(recipe: dict[str, Any]) -> dict[str, Any]:
    """`recipe` with its LoRA on the layers that its strategy's roles call for."""
    targets = objective_of(FlexibleStrategy.model_validate(recipe["training_strategy"])).targets
    return merged(recipe, {"lora": {"target_modules": list(targets.modules)}})


def _add_references(strategy: dict[str, Any], columns: Collection[str]) -> None:
    for side, directory in (("video", "reference_latents"), ("audio", "reference_audio_latents")):
        section = strategy.get(side)
        if not section or not section["is_generated"] or f"reference_{side}" not in columns:
            continue
        conditions = section.setdefault("conditions", [])
        if not any(condition["type"] == "reference" for condition in conditions):
            conditions.append({"type": "reference", "latents_dir": directory})


def recipe_strategy(name: str) -> FlexibleStrategy:
    """The strategy of an objective's recipe as it stands."""
    return FlexibleStrategy.model_validate(load_recipe(name)["training_strategy"])


def objective_named(name: str) -> Objective:
    """The objective of that name, as its recipe has it."""
    return objective_of(recipe_strategy(name))


def name_of(strategy: FlexibleStrategy) -> str:
    """Return which of the 13 objectives a strategy is: by its roles and references first, then by what else is given.

    Extra conditions change nothing as long as roles and references are the same: an in-context strategy with a first
    frame stays in-context. Raises ConfigError where neither modality is generated, as `objective_of` does.
    """
    objective = objective_of(strategy)
    video, audio = objective.video, objective.audio
    if not video.generated:
        return "v2a" if video.present else _audio_name(audio)
    if audio.role == "frozen":
        return "a2v"
    if video.references and (not audio.present or audio.references):
        return "av2av_ic" if audio.present else "v2v_ic"
    return next((name for kind, name in _NAMES_BY_VIDEO_CONDITION if _names(video.condition(kind))), "t2v")


def _names(condition: Condition | None) -> bool:
    """True if a condition makes another objective: a share of first frames within text-to-video does not."""
    return condition is not None and (condition.type != "first_frame" or condition.probability >= OCCASIONAL)


_NAMES_BY_VIDEO_CONDITION = (
    ("mask", "video_inpainting"),
    ("spatial_crop", "video_outpainting"),
    ("prefix", "video_extension"),
    ("suffix", "video_extension"),
    ("first_frame", "i2v"),
)
"""The condition that names an objective without references; of several the one that leaves least to generate."""


def _audio_name(audio: ModalityObjective) -> str:
    if audio.references:
        return "a2a_ic"
    if audio.condition("mask"):
        return "audio_inpainting"
    return "audio_extension" if audio.condition("prefix") or audio.condition("suffix") else "t2a"


def merged(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `overlay` laid over it, mapping by mapping; neither is changed."""
    result = dict(base)
    for key, value in overlay.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return `{"a.b": value}` as `{"a": {"b": value}}`."""
    result: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, key = name.split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return result


def _recipe_file(name: str) -> dict[str, Any]:
    return yaml.safe_load(recipe_text(name))


def _modality(name: ModalityName, section: ModalitySection | None) -> ModalityObjective:
    if section is None:
        return ModalityObjective("absent")
    kinds = [condition.type for condition in section.conditions]
    for kind in kinds:
        if name == "audio" and kind in ("first_frame", "spatial_crop"):
            raise ConfigError(f"`{kind}` is a condition on video; audio has no pictures.", "Remove it from audio.")
        if not section.is_generated and kind != "reference":  # a reference adds tokens that are attended to
            raise ConfigError(
                f"`{kind}` on the frozen {name} does nothing: all of it is given clean already. Only a `reference` "
                "adds something to it.",
                f"Remove the condition, or set is_generated: true on {name}.",
            )
        if kinds.count(kind) > 1 and kind != "reference":
            raise ConfigError(
                f"`{kind}` stands {kinds.count(kind)} times on {name}; only references may be several.",
                "Keep one of them.",
            )
    folders = [condition.latents_dir for condition in section.conditions if condition.type == "reference"]
    for folder in folders:
        if folders.count(folder) > 1 or folder == section.latents_dir:
            whose = f"{folders.count(folder)} references" if folders.count(folder) > 1 else "a reference and the target"
            raise ConfigError(
                f"latents_dir `{folder}` on {name} stands for {whose}: each needs a folder of its own.",
                f"Name another one, such as `{folder}_2`.",
            )
    return ModalityObjective(
        "generate" if section.is_generated else "frozen", section.latents_dir, tuple(section.conditions)
    )
