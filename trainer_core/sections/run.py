"""Upstream's sections on one run: the model, the adapter, the optimizer, the data, what is saved and logged."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from trainer_core.optimizer_names import OPTIMIZERS, OptimizerName, described
from trainer_core.sections.base import NonNegativeFloat, PositiveInt, Section


class ModelSection(Section):
    model_path: str
    text_encoder_path: str | None = None
    video_vae_path: str | None = None
    audio_vae_path: str | None = None
    training_mode: Literal["lora", "full"] = "lora"
    load_checkpoint: str | None = None


class LoraSection(Section):
    rank: PositiveInt = 64
    alpha: Annotated[float, Field(gt=0)] = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[list[str], Field(min_length=1)] = ["to_k", "to_q", "to_v", "to_out.0"]


class OptimizationSection(Section):
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    steps: PositiveInt = 3000
    batch_size: PositiveInt = 2
    gradient_accumulation_steps: PositiveInt = 1
    max_grad_norm: NonNegativeFloat = 1.0
    # the first two are upstream's words
    optimizer_type: Annotated[
        OptimizerName,
        Field(
            description=described({name: facts.when for name, facts in OPTIMIZERS.items()}, "How weights are moved.")
        ),
    ] = "adamw"
    scheduler_type: Literal["linear", "constant", "cosine", "cosine_with_restarts", "polynomial", "step"] = "linear"
    scheduler_params: dict[str, Any] = {}
    enable_gradient_checkpointing: bool = False


class AccelerationSection(Section):
    mixed_precision_mode: Literal["bf16", "fp16", "no"] = "bf16"
    # the first five are upstream's words; trainer_core/quantization_names.py says what each becomes here
    quantization: (
        Literal[
            "int8-quanto",
            "int4-quanto",
            "int2-quanto",
            "fp8-quanto",
            "fp8uz-quanto",
            "int8",
            "int8-dynamic",
            "fp8",
            "nf4",
        ]
        | None
    ) = None
    load_text_encoder_in_8bit: bool = False
    offload_optimizer_during_validation: bool = False

    @field_validator("mixed_precision_mode", mode="before")
    @classmethod
    def _yaml_reads_no_as_false(cls, value: Any) -> Any:
        return "no" if value is False or value is None else value  # null asks for no mixed precision too


class DataSection(Section):
    preprocessed_data_root: str
    num_dataloader_workers: Annotated[int, Field(ge=0)] = 2


class CheckpointsSection(Section):
    interval: PositiveInt | None = None
    keep_last_n: Annotated[int, Field(ge=-1)] = 1
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    no_resume: bool = False
    save_training_state: Literal["minimal", "full", "off"] = "minimal"

    @field_validator("save_training_state", mode="before")
    @classmethod
    def _yaml_reads_off_as_false(cls, value: Any) -> Any:
        return "off" if value is False else value


class HubSection(Section):
    push_to_hub: bool = False
    hub_model_id: str | None = None


class WandbSection(Section):
    enabled: bool = False
    project: str = "ltxv-trainer"
    entity: str | None = None
    tags: list[str] = []
    log_validation_videos: bool = True


class FlowMatchingSection(Section):
    timestep_sampling_mode: Annotated[
        Literal["shifted_logit_normal", "uniform"],
        Field(
            description="How noise levels are drawn. shifted_logit_normal: as LTX-2 was trained, nearer to noise the "
            "more tokens a sample has. uniform: when every level must count alike, as for restoration or a comparison. "
            "ltx_agent.noise has logit_normal and a shift for each modality."
        ),
    ] = "shifted_logit_normal"
    timestep_sampling_params: dict[str, Any] = {}
