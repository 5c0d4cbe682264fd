"""An adapter's training strategy as its metadata states it: roles, conditions, references. No torch.

The metadata comes from a file that anybody may have made, so whatever in it makes no sense counts as not said.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from trainer_core.errors import ConfigError
from trainer_core.lora.strength import whole_number
from trainer_core.objective import ModalityName, ModalityObjective, Objective, objective_named
from trainer_core.recipes import OBJECTIVE_NAMES
from trainer_core.targets import Role

METADATA_KEY = "training_strategy"
LARGEST_SCALE = 64
Scales = tuple[int, int]
"""(spatial, temporal): how many times smaller and shorter than the target a reference is."""


@dataclass(frozen=True)
class TrainedSide:
    """One modality: its role, the types of its other conditions, and the scales of its references in their order."""

    role: Role = "absent"
    conditions: tuple[str, ...] = ()
    references: tuple[Scales, ...] = ()

    @property
    def generated(self) -> bool:
        return self.role == "generate"


@dataclass(frozen=True)
class TrainedAs:
    """Both modalities of the strategy that an adapter was trained with."""

    video: TrainedSide
    audio: TrainedSide

    def modality(self, name: ModalityName) -> TrainedSide:
        return self.video if name == "video" else self.audio

    def metadata(self) -> dict[str, str]:
        """It as safetensors metadata, equal for equal strategies."""
        document = {
            name: {"role": side.role, "conditions": list(side.conditions), "references": list(side.references)}
            for name, side in (("video", self.video), ("audio", self.audio))
        }
        return {METADATA_KEY: json.dumps(document, sort_keys=True, separators=(",", ":"))}


def trained_as(objective: Objective, scales: Mapping[str, Scales] | None = None) -> TrainedAs:
    """Return what an adapter of `objective` says; `scales` by the `latents_dir` of a reference, else (1, 1)."""

    def side(role: ModalityObjective) -> TrainedSide:
        return TrainedSide(
            role.role,
            tuple(condition.type for condition in role.conditions if condition.type != "reference"),
            tuple((scales or {}).get(reference.latents_dir, (1, 1)) for reference in role.references),
        )

    return TrainedAs(side(objective.video), side(objective.audio))


def read_trained_as(metadata: Mapping[str, str]) -> TrainedAs | None:
    """Return what a file says of its training, else what its objective's recipe is; None where it says neither."""
    try:
        document = json.loads(metadata.get(METADATA_KEY, "null"))
        if isinstance(document, dict):
            return TrainedAs(_side(document["video"]), _side(document["audio"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # somebody else's key of this name: the objective may still tell
    name = metadata.get("objective")
    if name not in OBJECTIVE_NAMES:
        return None
    objective = objective_named(name)
    return trained_as(
        objective, {reference.latents_dir: stated_scales(metadata) for reference in objective.video.references}
    )


def stated_scales(metadata: Mapping[str, str]) -> Scales:
    """The scales under the keys that other readers know, which state one for all references; 1 where none is stated.

    Raises ConfigError where what is stated is no whole number.
    """
    return (
        _stated(metadata, "reference_downscale_factor", "reference_spatial_scale_factor"),
        _stated(metadata, "reference_temporal_scale_factor"),
    )


def _stated(metadata: Mapping[str, str], *names: str) -> int:
    for name in names:
        if said := metadata.get(name):
            number = whole_number(said)
            if not number:
                raise ConfigError(
                    f"The file states the {name} {said[:40]!r}, which is no whole number from 1.",
                    "Get the file again, or correct its metadata.",
                )
            return number
    return 1


def _side(document: Mapping[str, Any]) -> TrainedSide:
    role = document["role"]
    if role not in get_args(Role):
        raise ValueError(role)
    return TrainedSide(
        role,
        tuple(str(kind) for kind in document["conditions"]),
        tuple((_whole(spatial), _whole(temporal)) for spatial, temporal in document["references"]),
    )


def _whole(value: object) -> int:
    number = int(float(value)) if isinstance(value, int | float | str) and _is_number(value) else 1
    return number if 1 <= number <= LARGEST_SCALE else 1


def _is_number(value: int | float | str) -> bool:
    try:
        return abs(float(value)) < float("inf")
    except ValueError:
        return False
