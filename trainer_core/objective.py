"""What a run trains: the role of each modality and its conditions, as data; what is legal, and why not. No torch."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

import yaml

from trainer_core.errors import ConfigError, DataError
from trainer_core.recipes import OBJECTIVE_NAMES, recipe_text
from trainer_core.sections.strategy import Condition, FlexibleStrategy, ModalitySection

Role = Literal["generate", "frozen", "absent"]
ModalityName = Literal["video", "audio"]
AdapterName = Literal["lora", "ic-lora", "full"]
ADAPTER_NAMES: tuple[AdapterName, ...] = get_args(AdapterName)
OCCASIONAL = 0.3
"""A first frame given less often than this is a share within an objective, not the objective image-to-video."""


@dataclass(frozen=True)
class VaeFactors:
    """How many pixels (and source frames) one latent cell stands for; read from the checkpoint's own VAE."""

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
        """The condition of this type, or None."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


@dataclass(frozen=True)
class Objective:
    """Both modalities' roles. Built by `objective_of`, which refuses what can't be trained."""

    video: ModalityObjective
    audio: ModalityObjective

    def modality(self, name: ModalityName) -> ModalityObjective:
        return self.video if name == "video" else self.audio

    @property
    def uses_reference(self) -> bool:
        return any(side.condition("reference") for side in (self.video, self.audio))

    def columns(self) -> dict[str, str]:
        """The precomputed directory of every input of this objective, with the dataset column it is made from."""
        found = {"conditions": "caption"}
        for name, side in (("video", self.video), ("audio", self.audio)):
            if not side.present:
                continue
            found[side.latents_dir] = name
            reference, mask = side.condition("reference"), side.condition("mask")
            if reference is not None:
                found[reference.latents_dir] = f"reference_{name}"
            if mask is not None:
                found[mask.mask_dir] = f"{name}_mask"
        return found


def objective_of(strategy: FlexibleStrategy) -> Objective:
    """Return the objective that a strategy declares. Raises ConfigError when it can't be trained, with the reason."""
    objective = Objective(_modality("video", strategy.video), _modality("audio", strategy.audio))
    if not (objective.video.generated or objective.audio.generated):
        raise ConfigError(
            "Neither modality is generated, so there is nothing to train.", "Set is_generated: true on video or audio."
        )
    return objective


def check_shape(
    objective: Objective,
    clip: str,
    video_shape: tuple[int, int, int] | None,
    audio_frames: int | None,
    factors: VaeFactors,
) -> None:
    """Refuse a sample that the objective's conditions leave nothing to train on.

    `video_shape` is (F, H, W) in latents, `audio_frames` T; None where the modality is absent. Raises ConfigError.
    """
    if video_shape is not None:
        _check_boundaries(objective.video, clip, "latent frames", video_shape[0])
        _check_region(objective.video, clip, video_shape, factors)
        if objective.video.condition("first_frame") and objective.video.generated and video_shape[0] == 1:
            first_frame = objective.video.condition("first_frame")
            if first_frame is not None and first_frame.probability >= 1.0:
                raise ConfigError(
                    f"first_frame leaves no frame to train on: {clip} has only one.",
                    "Use longer clips or drop first_frame.",
                )
    if audio_frames is not None:
        _check_boundaries(objective.audio, clip, "audio latent frames", audio_frames)


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
    return recipe


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


def name_of(strategy: FlexibleStrategy) -> str | None:
    """Return which of the 13 objectives a strategy is, by roles and condition types; None when it is none of them."""
    wanted = _signature(strategy)
    for name in OBJECTIVE_NAMES:
        if _signature(recipe_strategy(name)) == wanted:
            return name
    return None


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


def _signature(strategy: FlexibleStrategy) -> tuple[Any, ...]:
    def side(section: ModalitySection | None) -> tuple[Any, ...]:
        if section is None:
            return ("absent",)
        kinds = sorted("prefix" if c.type == "suffix" else c.type for c in section.conditions if not _is_occasional(c))
        return ("generate" if section.is_generated else "frozen", *kinds)

    return side(strategy.video), side(strategy.audio)


def _is_occasional(condition: Condition) -> bool:
    """Whether it is a share of first frames, which makes no other objective of one that goes by text."""
    return condition.type == "first_frame" and condition.probability < OCCASIONAL


def _modality(name: ModalityName, section: ModalitySection | None) -> ModalityObjective:
    if section is None:
        return ModalityObjective("absent")
    kinds = [condition.type for condition in section.conditions]
    for kind in kinds:
        if name == "audio" and kind in ("first_frame", "spatial_crop"):
            raise ConfigError(f"`{kind}` is a condition on video; audio has no pictures.", "Remove it from audio.")
        if not section.is_generated:
            raise ConfigError(
                f"`{kind}` on the frozen {name} does nothing: all of it is given clean already.",
                f"Remove the condition, or set is_generated: true on {name}.",
            )
        if kinds.count(kind) > 1:
            raise ConfigError(f"`{kind}` stands twice on {name}.", "Keep one of them.")
    return ModalityObjective(
        "generate" if section.is_generated else "frozen", section.latents_dir, tuple(section.conditions)
    )


def _check_boundaries(side: ModalityObjective, clip: str, unit: str, length: int) -> None:
    given = 0
    for kind in ("prefix", "suffix"):
        condition = side.condition(kind)
        if condition is None:
            continue
        given += condition.temporal_boundary
        if given >= length:
            raise ConfigError(
                f"{kind} of {condition.temporal_boundary} {unit} leaves no frame to train on: {clip} has {length}.",
                f"Use at most {max(length - 1, 0)} in all, or longer clips.",
            )


def _check_region(side: ModalityObjective, clip: str, shape: tuple[int, int, int], factors: VaeFactors) -> None:
    condition = side.condition("spatial_crop")
    if condition is None:
        return
    y1, x1, y2, x2 = condition.spatial_region
    height, width = shape[1] * factors.height, shape[2] * factors.width
    if y2 > height or x2 > width:
        raise ConfigError(
            f"spatial_region y1,x1,y2,x2 = {y1},{x1},{y2},{x2} lies outside the {width}x{height} picture of {clip}.",
            "Keep the region inside the bucket's picture.",
        )
    rows, columns = latent_region(condition.spatial_region, factors)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        raise ConfigError(
            f"spatial_region y1,x1,y2,x2 = {y1},{x1},{y2},{x2} holds no whole latent cell of "
            f"{factors.width}x{factors.height} pixels.",
            "Choose a larger region.",
        )
    if (rows.stop - rows.start) * (columns.stop - columns.start) >= shape[1] * shape[2]:
        raise ConfigError(
            f"spatial_region y1,x1,y2,x2 = {y1},{x1},{y2},{x2} covers the whole {width}x{height} picture of {clip}: "
            "nothing is left to generate.",
            "Choose a smaller region.",
        )


def latent_region(region: tuple[int, int, int, int], factors: VaeFactors) -> tuple[slice, slice]:
    """Return the rows and columns of latent cells that lie wholly inside a pixel region y1, x1, y2, x2."""
    y1, x1, y2, x2 = region
    rows = slice(-(-y1 // factors.height), y2 // factors.height)
    columns = slice(-(-x1 // factors.width), x2 // factors.width)
    return rows, columns


def reference_scales(target: tuple[int, ...], source: tuple[int, ...], clip: str = "reference") -> tuple[int, int]:
    """Return (spatial, temporal) downscale factors of a reference grid (F, H, W) against the target's.

    Raises DataError when the reference is neither of the target's size, nor an even fraction of it, nor one frame.
    """
    (frames, height, width), (own_frames, own_height, own_width) = target, source
    spatial = height // own_height
    if spatial * own_height != height or spatial * own_width != width:
        raise DataError(
            f"{clip}: the reference's {own_width}x{own_height} latents are no whole fraction of {width}x{height}.",
            "Make the reference as large as the target, or downscale both sides by the same whole factor.",
        )
    if own_frames in (1, frames):
        return spatial, 1
    temporal, rest = divmod(frames - 1, own_frames - 1)
    if rest or temporal < 1:
        raise DataError(
            f"{clip}: the reference has {own_frames} latent frames, the target {frames}: it must have as many, one, "
            "or an even fraction (frames - 1 divisible).",
            "Encode the reference with the target's length, as one image, or every S-th frame.",
        )
    return spatial, temporal
