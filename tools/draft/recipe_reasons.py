"""Reasons for a recipe's own values, where the data and the machine have no say."""

from typing import Any

from tools.draft.conditions import condition_reason
from tools.draft.experiments import flattened

_REASONS: dict[str, str] = {
    "lora.dropout": "none: plain LoRA, as the recipe has it",
    "training_strategy.name": "the strategy that every objective is written in",
    "optimization.gradient_accumulation_steps": "each batch is a step of its own",
    "optimization.max_grad_norm": "a longer gradient is cut to this length",
    "optimization.optimizer_type": "the usual optimizer of LoRA training",
    "optimization.scheduler_type": "the learning rate falls evenly to the last step",
    "checkpoints.keep_last_n": "so many of the saved adapters stay",
    "flow_matching.timestep_sampling_mode": "noise levels by the number of tokens, as LTX-2 was trained",
    "seed": "the same seed gives the same run",
}
_LATENTS = {
    "latents": "where encoding puts the pictures",
    "audio_latents": "where encoding puts the sound",
}
_GENERATED = {True: "the adapter learns to make it", False: "given as it is: the other one follows it"}


def recipe_reasons(config: dict[str, Any]) -> dict[str, str]:
    """A reason for each value of `config` that a recipe set, by dotted key."""
    reasons = {}
    for name, value in flattened(config).items():
        reason = _REASONS.get(name) or _modality_reason(name, value)
        if reason is not None:
            reasons[name] = reason
    return reasons


def _modality_reason(name: str, value: Any) -> str | None:
    section, _, key = name.rpartition(".")
    if name in ("training_strategy.video", "training_strategy.audio") and value is None:
        return "this objective takes none"
    if not section.startswith("training_strategy."):
        return None
    if key == "is_generated":
        return _GENERATED[value]
    if key == "latents_dir":
        return _LATENTS.get(value)
    return condition_reason(value) if key == "conditions" and value else None
