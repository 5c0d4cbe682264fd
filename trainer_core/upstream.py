"""A training YAML as the official trainer's strict schema reads it: our own section and words left out. No torch."""

from trainer_core.config import TrainingConfig, dump_config
from trainer_core.quantization_names import upstream_name


def upstream_yaml(config: TrainingConfig) -> str:
    """The config with upstream's keys and words alone; a comment on top names what has no word there."""
    ours = config.acceleration.quantization
    theirs = upstream_name(ours) if ours is not None else None
    acceleration = config.acceleration.model_copy(update={"quantization": theirs})
    plain = config.model_copy(update={"training_strategy": config.strategy, "acceleration": acceleration})
    lines = dump_config(plain).split("\n")
    start = next(index for index, line in enumerate(lines) if line.startswith("ltx_agent:"))
    end = next((index for index in range(start + 1, len(lines)) if lines[index][:1].strip()), len(lines))
    said = (
        [f"# quantization {ours} has no counterpart in the official trainer: left out"] if ours and not theirs else []
    )
    return "\n".join([*said, *lines[:start], *lines[end:]]).rstrip("\n") + "\n"
