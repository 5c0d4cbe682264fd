"""A training YAML as the official trainer's strict schema reads it: our own section and words left out. No torch."""

import math

from trainer_core.config import TrainingConfig, dump_config
from trainer_core.errors import ConfigError
from trainer_core.quantization_names import upstream_name
from trainer_core.sections.run import LoraSection


def upstream_yaml(config: TrainingConfig) -> str:
    """The config with upstream's keys and words alone; a comment on top names what has no word there."""
    ours = config.acceleration.quantization
    theirs = upstream_name(ours) if ours is not None else None
    acceleration = config.acceleration.model_copy(update={"quantization": theirs})
    lora, kind_said = upstream_lora(config)
    plain = config.model_copy(update={"training_strategy": config.strategy, "acceleration": acceleration, "lora": lora})
    lines = dump_config(plain).split("\n")
    start = next(index for index, line in enumerate(lines) if line.startswith("ltx_agent:"))
    end = next((index for index in range(start + 1, len(lines)) if lines[index][:1].strip()), len(lines))
    said = (
        [f"# quantization {ours} has no counterpart in the official trainer: left out"] if ours and not theirs else []
    )
    return "\n".join([*kind_said, *said, *lines[:start], *lines[end:]]).rstrip("\n") + "\n"


def upstream_lora(config: TrainingConfig) -> tuple[LoraSection | None, list[str]]:
    """The `lora:` section that trains the same there, and comments on what was changed in it.

    rsLoRA is a plain LoRA of another alpha. Raises ConfigError for a kind of adapter that isn't known there.
    """
    lora, kind = config.lora, config.ltx_agent.lora.kind
    if lora is None or kind == "lora":
        return lora, []
    if kind != "rslora":
        raise ConfigError(
            f"ltx_agent.lora.kind {kind} has no counterpart in the official trainer, which trains plain LoRA alone.",
            "Export without the form `upstream`, or train with ltx_agent.lora.kind: lora.",
        )
    alpha = lora.alpha * math.sqrt(lora.rank)
    comment = (
        f"# rsLoRA of alpha {lora.alpha:g} is written as the plain LoRA that it is, of alpha {alpha:g}: alpha times "
        "the root of the rank"
    )
    return lora.model_copy(update={"alpha": alpha}), [comment]
