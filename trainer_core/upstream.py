"""A training YAML as the official trainer's strict schema reads it: our own section and words left out. No torch.

What its schema refuses is rounded, with a comment, where the training stays the same, and refused where it wouldn't.
"""

import math
from collections.abc import Iterator
from typing import Any

import yaml

from trainer_core.config import TrainingConfig
from trainer_core.errors import ConfigError
from trainer_core.quantization_names import upstream_name
from trainer_core.sections.run import LoraSection

LEAST_RANK = 2
_LEAST_GUIDANCE = {
    "video_cfg_scale": 1.0,
    "audio_cfg_scale": 1.0,
    "video_stg_scale": 0.0,
    "audio_stg_scale": 0.0,
    "video_modality_guidance_scale": 1.0,
    "audio_modality_guidance_scale": 1.0,
}
"""The scales at which each guidance does nothing: upstream takes none below."""
_KEYS: dict[str, tuple[str, ...]] = {
    "model": (
        "model_path",
        "text_encoder_path",
        "video_vae_path",
        "audio_vae_path",
        "training_mode",
        "load_checkpoint",
    ),
    "lora": ("rank", "alpha", "dropout", "target_modules"),
    "training_strategy": ("name", "video", "audio"),
    "optimization": (
        "learning_rate",
        "steps",
        "batch_size",
        "gradient_accumulation_steps",
        "max_grad_norm",
        "optimizer_type",
        "scheduler_type",
        "scheduler_params",
        "enable_gradient_checkpointing",
    ),
    "acceleration": (
        "mixed_precision_mode",
        "quantization",
        "load_text_encoder_in_8bit",
        "offload_optimizer_during_validation",
    ),
    "data": ("preprocessed_data_root", "num_dataloader_workers"),
    "validation": (
        "samples",
        "negative_prompt",
        "video_dims",
        "frame_rate",
        "seed",
        "inference_steps",
        "interval",
        "video_cfg_scale",
        "audio_cfg_scale",
        "video_stg_scale",
        "audio_stg_scale",
        "stg_blocks",
        "guidance_rescale",
        "video_modality_guidance_scale",
        "audio_modality_guidance_scale",
        "generate_audio",
        "generate_video",
        "skip_initial_validation",
    ),
    "checkpoints": ("interval", "keep_last_n", "precision", "no_resume", "save_training_state"),
    "hub": ("push_to_hub", "hub_model_id"),
    "wandb": ("enabled", "project", "entity", "tags", "log_validation_videos"),
    "flow_matching": ("timestep_sampling_mode", "timestep_sampling_params"),
}
"""Upstream's sections and their keys; it refuses any other."""
_WORDS: dict[str, tuple[str, ...]] = {
    "optimization.optimizer_type": ("adamw", "adamw8bit"),
    "optimization.scheduler_type": ("linear", "constant", "cosine", "cosine_with_restarts", "polynomial", "step"),
    "acceleration.mixed_precision_mode": ("bf16", "fp16", "no"),
    "checkpoints.precision": ("bfloat16", "float32"),
    "flow_matching.timestep_sampling_mode": ("shifted_logit_normal", "uniform"),
}
_WITHOUT_EFFECT_ON_TRAINING = frozenset(
    {
        "dataset",
        "buckets",
        "frame_rate",
        "trigger",
        "objective",
        "memory",
        "evaluation",
        "trackers",
        "torch_compile",
        "incomplete_samples",
        "reference_spatial_scale",
        "reference_temporal_scale",
    }
)
"""Keys of `ltx_agent:` that are in the encoded data already, or change how fast and how watched a run is, not what it
learns; every other one that isn't at its default is named in a comment."""


def upstream_yaml(config: TrainingConfig) -> str:
    """The config with upstream's keys and words alone; comments on top name what was left out and what was rounded.

    Raises ConfigError for what upstream's schema refuses and nothing near it would train the same.
    """
    lora, kind_said = upstream_lora(config)
    plain = config.model_copy(update={"training_strategy": config.strategy, "lora": lora})
    document: dict[str, Any] = plain.model_dump(mode="json")
    ours = document.pop("ltx_agent")
    said = [*kind_said, *_left_out(config, ours), *_quantization(document["acceleration"])]
    _refuse_unknown_words(document)
    _drop_own_keys(config, document)
    said += [*_round_lora(document.get("lora")), *_round_guidance(document)]
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return "".join(f"# {line}\n" for line in said) + text.rstrip("\n") + "\n"


def _left_out(config: TrainingConfig, ours: dict[str, Any]) -> Iterator[str]:
    usual: dict[str, Any] = type(config.ltx_agent)().model_dump(mode="json")
    if ours["warmup_steps"]:
        yield (
            f"ltx_agent.warmup_steps {ours['warmup_steps']} is left out: the official trainer has no warm-up, its "
            "learning rate starts at the full value"
        )
    for name, value in ours.items():
        if name in _WITHOUT_EFFECT_ON_TRAINING or name in ("warmup_steps", "lora") or value == usual[name]:
            continue
        parts = (
            {key: part for key, part in value.items() if part != usual[name][key]} if isinstance(value, dict) else {}
        )
        for key, part in parts.items():
            yield f"ltx_agent.{name}.{key} {part} is left out: the official trainer has no word for it"
        if not parts:
            yield f"ltx_agent.{name} {value} is left out: the official trainer has no word for it"


def _quantization(acceleration: dict[str, Any]) -> Iterator[str]:
    ours = acceleration["quantization"]
    acceleration["quantization"] = upstream_name(ours) if ours is not None else None
    if ours is not None and acceleration["quantization"] is None:
        yield f"quantization {ours} has no counterpart in the official trainer: left out"


def _refuse_unknown_words(document: dict[str, Any]) -> None:
    for name, allowed in _WORDS.items():
        section, key = name.split(".")
        value = document[section][key]
        if value not in allowed:
            raise ConfigError(
                f"{name} {value!r} has no counterpart in the official trainer, which takes {', '.join(allowed)}.",
                f"Export without the form `upstream`, or set {name} to one of these.",
            )


def _drop_own_keys(config: TrainingConfig, document: dict[str, Any]) -> None:
    """Remove keys of upstream's sections that are ours alone. Raises ConfigError for one that isn't at its default."""
    for section, known in _KEYS.items():
        values = document.get(section)
        if values is None:
            continue
        usual = {name: field.default for name, field in type(getattr(config, section)).model_fields.items()}
        for key in [key for key in values if key not in known]:
            value = values.pop(key)
            if value != usual.get(key):
                raise ConfigError(
                    f"{section}.{key} {value!r} has no counterpart in the official trainer.",
                    f"Export without the form `upstream`, or set {section}.{key} to {usual.get(key)!r}.",
                )


def _round_lora(lora: dict[str, Any] | None) -> Iterator[str]:
    if lora is None:
        return
    rank, alpha = lora["rank"], lora["alpha"]
    if rank < LEAST_RANK:
        raise ConfigError(
            f"lora.rank {rank}: the official trainer takes {LEAST_RANK} or more.",
            f"Export without the form `upstream`, or train with lora.rank {LEAST_RANK}.",
        )
    whole = round(alpha)
    if whole < 1:
        raise ConfigError(
            f"lora.alpha {alpha:g}: the official trainer takes whole numbers from 1, which would act "
            f"{1 / alpha:.3g} times as strongly.",
            "Export without the form `upstream`, or train with lora.alpha 1 or more.",
        )
    lora["alpha"] = whole
    if whole != alpha:
        yield (
            f"lora.alpha {alpha:g} is rounded to {whole}, as the official trainer takes whole numbers: alpha/rank is "
            f"{whole / rank:.4g} instead of {alpha / rank:.4g}"
        )


def _round_guidance(document: dict[str, Any]) -> Iterator[str]:
    """Guidance that the schema has no room for: samples alone depend on it, training doesn't."""
    validation = document["validation"]
    for key, floor in _LEAST_GUIDANCE.items():
        value = validation[key]
        if value < floor:
            validation[key] = floor
            yield (
                f"validation.{key} {value:g} is raised to {floor:g}, the least that the official trainer takes: its "
                "samples will differ, the training won't"
            )


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
        f"rsLoRA of alpha {lora.alpha:g} is written as the plain LoRA that it is, of alpha {alpha:g}: alpha times "
        "the root of the rank"
    )
    return lora.model_copy(update={"alpha": alpha}), [comment]
