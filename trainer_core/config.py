"""The training YAML: upstream's schema, strict, plus our optional `ltx_agent:` section. No torch.

Source of names and defaults: the official LTX trainer's configuration (see ARCHITECTURE.md, "Formats").
A key that nobody knows, a value out of range and a duplicate key are errors with line and column.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trainer_core.data.buckets import parse_buckets
from trainer_core.errors import ConfigError
from trainer_core.files import write_text
from trainer_core.legacy import migrate_validation
from trainer_core.recipes import OBJECTIVE_NAMES
from trainer_core.yaml_errors import Loader, describe, one_line, refuse_duplicates


def _is_objective(name: str) -> str:
    if name not in OBJECTIVE_NAMES:
        raise ValueError(f"`{name}` is no objective; the objectives are {', '.join(OBJECTIVE_NAMES)}")
    return name


ObjectiveName = Annotated[str, AfterValidator(_is_objective), Field(json_schema_extra={"enum": list(OBJECTIVE_NAMES)})]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]


class Section(BaseModel):
    """A mapping of the YAML in which every key must be known."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


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


class FirstFrameCondition(Section):
    """The first latent frame is given clean."""

    type: Literal["first_frame"]
    probability: Probability = 1.0


class PrefixCondition(Section):
    """The first `temporal_boundary` latent frames are given clean."""

    type: Literal["prefix"]
    temporal_boundary: PositiveInt
    probability: Probability = 1.0


class SuffixCondition(Section):
    """The last `temporal_boundary` latent frames are given clean."""

    type: Literal["suffix"]
    temporal_boundary: PositiveInt
    probability: Probability = 1.0


class SpatialCropCondition(Section):
    """The pixels inside `spatial_region` (y1, x1, y2, x2) are given clean; what lies around them is generated."""

    type: Literal["spatial_crop"]
    spatial_region: tuple[int, int, int, int]
    probability: Probability = 1.0

    @field_validator("spatial_region")
    @classmethod
    def _is_a_region(cls, region: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        y1, x1, y2, x2 = region
        if min(region) < 0 or y2 <= y1 or x2 <= x1:
            raise ValueError(
                f"region y1,x1,y2,x2 = {region} is empty; y2 must exceed y1 and x2 exceed x1, none negative"
            )
        return region


class MaskCondition(Section):
    """Tokens where the stored mask is 1 are given clean (1 = keep, 0 = generate)."""

    type: Literal["mask"]
    mask_dir: str
    probability: Probability = 1.0


class ReferenceCondition(Section):
    """Clean reference tokens stand before the target's (in-context LoRA)."""

    type: Literal["reference"]
    latents_dir: str
    probability: Probability = 1.0


Condition = Annotated[
    FirstFrameCondition | PrefixCondition | SuffixCondition | SpatialCropCondition | MaskCondition | ReferenceCondition,
    Field(discriminator="type"),
]


class ModalitySection(Section):
    """One modality of the objective: generated (trained) or frozen (given clean); null in the YAML means absent."""

    is_generated: bool
    latents_dir: str
    conditions: list[Condition] = []


class FlexibleStrategy(Section):
    name: Literal["flexible"] = "flexible"
    video: ModalitySection | None = None
    audio: ModalitySection | None = None


class TextToVideoStrategy(Section):
    """Legacy strategy, accepted for old YAML files."""

    name: Literal["text_to_video"]
    first_frame_conditioning_p: Probability = 0.1
    with_audio: bool = False
    audio_latents_dir: str = "audio_latents"


class VideoToVideoStrategy(Section):
    """Legacy strategy, accepted for old YAML files."""

    name: Literal["video_to_video"]
    first_frame_conditioning_p: Probability = 0.1
    reference_latents_dir: str = "reference_latents"


class OptimizationSection(Section):
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    steps: PositiveInt = 3000
    batch_size: PositiveInt = 2
    gradient_accumulation_steps: PositiveInt = 1
    max_grad_norm: NonNegativeFloat = 1.0
    optimizer_type: Literal["adamw", "adamw8bit"] = "adamw"
    scheduler_type: Literal["linear", "constant", "cosine", "cosine_with_restarts", "polynomial", "step"] = "linear"
    scheduler_params: dict[str, Any] = {}
    enable_gradient_checkpointing: bool = False


class AccelerationSection(Section):
    mixed_precision_mode: Literal["bf16", "fp16", "no"] = "bf16"
    # the first five are upstream's words; trainer_core/quantization.py says what each becomes here
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
        return "no" if value is False else value


class DataSection(Section):
    preprocessed_data_root: str
    num_dataloader_workers: Annotated[int, Field(ge=0)] = 2


class FirstFrameSample(Section):
    type: Literal["first_frame"]
    image_or_video: str


class PrefixSample(Section):
    type: Literal["prefix"]
    video: str | None = None
    audio: str | None = None
    num_frames: PositiveInt | None = None
    duration: Annotated[float, Field(gt=0)] | None = None


class SuffixSample(Section):
    type: Literal["suffix"]
    video: str | None = None
    audio: str | None = None
    num_frames: PositiveInt | None = None
    duration: Annotated[float, Field(gt=0)] | None = None


class SpatialCropSample(Section):
    type: Literal["spatial_crop"]
    video: str
    spatial_region: tuple[int, int, int, int]


class MaskSample(Section):
    type: Literal["mask"]
    video: str | None = None
    audio: str | None = None
    mask: str


class ReferenceSample(Section):
    type: Literal["reference"]
    video: str | None = None
    audio: str | None = None
    downscale_factor: PositiveInt = 1
    temporal_scale_factor: PositiveInt = 1
    include_in_output: bool = False


class VideoToAudioSample(Section):
    type: Literal["video_to_audio"]
    video: str


class AudioToVideoSample(Section):
    type: Literal["audio_to_video"]
    audio: str


SampleCondition = Annotated[
    FirstFrameSample
    | PrefixSample
    | SuffixSample
    | SpatialCropSample
    | MaskSample
    | ReferenceSample
    | VideoToAudioSample
    | AudioToVideoSample,
    Field(discriminator="type"),
]


def _are_legal_dims(dims: tuple[int, int, int]) -> tuple[int, int, int]:
    width, height, frames = dims
    if width < 32 or height < 32 or width % 32 or height % 32 or frames < 1 or frames % 8 != 1:
        raise ValueError(f"width, height, frames = {dims}; sides must be multiples of 32, frames % 8 == 1")
    return dims


VideoDims = Annotated[tuple[int, int, int], AfterValidator(_are_legal_dims)]


class ValidationSample(Section):
    prompt: str
    conditions: list[SampleCondition] = []
    video_dims: VideoDims | None = None
    seed: int | None = None


class ValidationSection(Section):
    samples: list[ValidationSample] = []
    negative_prompt: str = "worst quality, inconsistent motion, blurry, jittery, distorted"
    video_dims: VideoDims = (960, 544, 89)
    frame_rate: Annotated[float, Field(gt=0)] = 24
    seed: int = 42
    inference_steps: PositiveInt = 30
    interval: PositiveInt | None = 100
    video_cfg_scale: float = 3
    audio_cfg_scale: float = 7
    video_stg_scale: float = 1
    audio_stg_scale: float = 1
    stg_blocks: list[int] = [28]
    guidance_rescale: Probability = 0.7
    video_modality_guidance_scale: float = 3
    audio_modality_guidance_scale: float = 3
    generate_audio: bool = True
    generate_video: bool = True
    skip_initial_validation: bool = False

    @model_validator(mode="before")
    @classmethod
    def _migrate_deprecated(cls, values: Any) -> Any:
        return migrate_validation(values) if isinstance(values, dict) else values


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
    timestep_sampling_mode: Literal["shifted_logit_normal", "uniform"] = "shifted_logit_normal"
    timestep_sampling_params: dict[str, Any] = {}


class MemorySection(Section):
    """What trades time for memory; none of it changes what is learned."""

    offload_activations: bool = False
    swap_blocks: Annotated[int, Field(ge=0)] = 0
    feed_forward_chunk_tokens: PositiveInt | None = None
    fused_optimizer: bool = False
    precompute_text: bool = False
    # the most of the device that a run may take, for a shared card; without a GPU it counts tensors
    limit_gb: Annotated[float, Field(gt=0)] | None = None
    # the most of the device that samples may fill during training, as a rehearsal measured it; null: limit_gb, or all
    samples_gb: Annotated[float, Field(gt=0)] | None = None


class EvaluationSection(Section):
    """The held-out evaluation. `share` is the most of the training time it may take; `interval` in steps, null: derived
    from `share` and measured times; `clips` names samples to hold out where the dataset declares no split."""

    share: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    interval: PositiveInt | None = None
    clips: list[str] = []


class TrainingSection(Section):
    """How a run is guarded. `ema_decay`: an exponential moving average of the weights is kept and saved beside them;
    `non_finite`: a step whose loss or gradient is not finite ends the run, or is skipped up to `max_skipped_steps`;
    `early_stop`: the run ends when the verdict is sure of a plateau, overfitting or divergence."""

    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    non_finite: Literal["stop", "skip"] = "stop"
    max_skipped_steps: PositiveInt = 10
    early_stop: bool = False


class TrackersSection(Section):
    """Experiment trackers beside upstream's `wandb:`; trackio takes its project's name from there too."""

    tensorboard: bool = False
    trackio: bool = False


class LtxAgentSection(Section):
    """What upstream's schema has no word for; `ltx-agent export --upstream` leaves it out."""

    objective: ObjectiveName | None = None
    dataset: str | None = None
    buckets: str | None = None
    frame_rate: Annotated[float, Field(gt=0)] | None = None
    trigger: str | None = None
    reference_spatial_scale: PositiveInt = 1
    reference_temporal_scale: PositiveInt = 1
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    torch_compile: bool = False
    memory: MemorySection = MemorySection()
    evaluation: EvaluationSection = EvaluationSection()
    training: TrainingSection = TrainingSection()
    trackers: TrackersSection = TrackersSection()

    @field_validator("buckets")
    @classmethod
    def _are_buckets(cls, spelling: str | None) -> str | None:
        if spelling is not None:
            try:
                parse_buckets(spelling)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return spelling


class TrainingConfig(Section):
    """One training run, completely."""

    model: ModelSection
    lora: LoraSection | None = None
    training_strategy: Annotated[
        FlexibleStrategy | TextToVideoStrategy | VideoToVideoStrategy, Field(discriminator="name")
    ]
    optimization: OptimizationSection = OptimizationSection()
    acceleration: AccelerationSection = AccelerationSection()
    data: DataSection
    validation: ValidationSection = Field(default_factory=ValidationSection)
    checkpoints: CheckpointsSection = CheckpointsSection()
    hub: HubSection = HubSection()
    wandb: WandbSection = WandbSection()
    flow_matching: FlowMatchingSection = FlowMatchingSection()
    seed: int = 42
    output_dir: str = "outputs"
    ltx_agent: LtxAgentSection = LtxAgentSection()

    @model_validator(mode="before")
    @classmethod
    def _name_the_strategy(cls, values: Any) -> Any:
        strategy = values.get("training_strategy") if isinstance(values, dict) else None
        if isinstance(strategy, dict) and "name" not in strategy:
            return {**values, "training_strategy": {"name": "flexible", **strategy}}
        return values

    @model_validator(mode="after")
    def _lora_has_its_section(self) -> Self:
        if self.model.training_mode == "lora" and self.lora is None:
            raise ValueError(
                "training_mode is lora but there is no `lora:` section; add one (rank, alpha, target_modules)"
            )
        return self

    @model_validator(mode="after")
    def _memory_switches_go_together(self) -> Self:
        savings, options = self.ltx_agent.memory, self.optimization
        full = self.model.training_mode == "full"
        if (savings.swap_blocks or savings.offload_activations) and not options.enable_gradient_checkpointing:
            key = "swap_blocks" if savings.swap_blocks else "offload_activations"
            raise ValueError(
                f"ltx_agent.memory.{key} needs optimization.enable_gradient_checkpointing: true; without it the "
                "backward pass would keep everything on the device"
            )
        if savings.swap_blocks and full:
            raise ValueError("ltx_agent.memory.swap_blocks is for a frozen base; full training moves every block")
        if savings.swap_blocks and self.ltx_agent.torch_compile:
            raise ValueError("ltx_agent.memory.swap_blocks can't go with ltx_agent.torch_compile: set one of them off")
        if savings.fused_optimizer:
            if not full:
                raise ValueError("ltx_agent.memory.fused_optimizer is for full training; a LoRA's gradients are small")
            if options.gradient_accumulation_steps != 1 or options.max_grad_norm != 0:
                raise ValueError(
                    "ltx_agent.memory.fused_optimizer updates before the other gradients exist: set "
                    "optimization.gradient_accumulation_steps: 1 and max_grad_norm: 0"
                )
        return self

    @property
    def strategy(self) -> FlexibleStrategy:
        """The training strategy, a legacy one rewritten as the flexible one it stands for."""
        return _as_flexible(self.training_strategy)


def load_config(path: Path) -> TrainingConfig:
    """Read a training YAML. Raises ConfigError that names line, column and the nearest known key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"There is no config file {path}.", "Draft one with `ltx-agent draft`.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.", "Give a readable UTF-8 YAML file.") from error
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "config") -> TrainingConfig:
    """Parse a training YAML given as text; `name` stands in error messages."""
    try:
        root = yaml.compose(text, Loader=Loader)
        refuse_duplicates(root, name)
        values = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {one_line(str(error))}.", "Correct it and try again.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{name} holds no mapping of sections.", "Start it with `model:`, `data:`, …")
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        problems = [describe(problem, root, name, TrainingConfig) for problem in error.errors()]
        raise ConfigError("\n".join(problems), "Correct the file and try again.") from error


def dump_config(config: TrainingConfig) -> str:
    """Return the resolved YAML of `config`, every value written out; `load_config` reads it back equal."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def settings_without_effect(config: TrainingConfig) -> list[str]:
    """Name the settings of an upstream YAML that this version accepts and does not act on, one sentence each."""
    found = []
    if config.hub.push_to_hub:
        found.append("hub.push_to_hub: the trainer pushes nothing; `ltx-agent export --push` does, after you said yes.")
    for name, key in wanted_trackers(config).items():
        if find_spec(name) is None:
            found.append(
                f"{key}: the package {name} is not installed; nothing is logged there, see metrics.jsonl. "
                "`pip install 'ltx-agent[trackers]'` brings it."
            )
    return found


def wanted_trackers(config: TrainingConfig) -> dict[str, str]:
    """The experiment trackers that the config asks for: the package of each, and the key that asks."""
    asked = {
        "wandb": ("wandb.enabled", config.wandb.enabled),
        "trackio": ("ltx_agent.trackers.trackio", config.ltx_agent.trackers.trackio),
        "tensorboard": ("ltx_agent.trackers.tensorboard", config.ltx_agent.trackers.tensorboard),
    }
    return {name: key for name, (key, wanted) in asked.items() if wanted}


def schema_text() -> str:
    """Return the JSON schema of the training YAML, for editors to complete from."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **TrainingConfig.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def is_tiny(model_path: str) -> bool:
    """Whether `model_path` asks for the small random model: `tiny`, `tiny:2.0`, `tiny:2.3`, `tiny:2.5`."""
    return model_path == "tiny" or model_path.startswith("tiny:")


def resolve_paths(config: TrainingConfig, base: Path) -> TrainingConfig:
    """Return `config` with absolute paths; a relative one counts from `base` or, when only that exists, from here."""

    def absolute(value: str | None) -> str | None:
        if value is None or Path(value).is_absolute():
            return value
        beside, here = base / Path(value).expanduser(), Path(value).expanduser()
        return str((here if here.exists() and not beside.exists() else beside).absolute())

    return _with_paths(config, absolute)


def paths_of(config: TrainingConfig) -> list[str]:
    """Return every file and folder that `config` names, as it spells them."""
    found: list[str] = []

    def note(value: str | None) -> str | None:
        if value is not None:
            found.append(value)
        return value

    _with_paths(config, note)
    return found


def paths_added(before: TrainingConfig, after: TrainingConfig, base: Path) -> list[str]:
    """Return the files, absolute against `base`, that `after` names and `before` doesn't."""
    known = paths_of(resolve_paths(before, base))
    return [path for path in paths_of(resolve_paths(after, base)) if path not in known]


CONDITION_FILES = ("image_or_video", "video", "audio", "mask")
"""The keys of a sample's conditions that name files."""


def _with_paths(config: TrainingConfig, change: Callable[[str | None], str | None]) -> TrainingConfig:
    """Return `config` with `change` done to every path in it."""

    def changed(sample: ValidationSample) -> ValidationSample:
        conditions = [
            one.model_copy(update={name: change(getattr(one, name)) for name in CONDITION_FILES if hasattr(one, name)})
            for one in sample.conditions
        ]
        return sample.model_copy(update={"conditions": conditions})

    model, data, samples = config.model, config.data, config.validation.samples
    local = {
        name: change(getattr(model, name))
        for name in ("text_encoder_path", "video_vae_path", "audio_vae_path", "load_checkpoint")
    }
    model_path = model.model_path if is_tiny(model.model_path) else change(model.model_path)
    return config.model_copy(
        update={
            "model": model.model_copy(update={**local, "model_path": model_path}),
            "data": data.model_copy(update={"preprocessed_data_root": change(data.preprocessed_data_root)}),
            "validation": config.validation.model_copy(update={"samples": [changed(sample) for sample in samples]}),
            "output_dir": change(config.output_dir),
            "ltx_agent": config.ltx_agent.model_copy(update={"dataset": change(config.ltx_agent.dataset)}),
        }
    )


def _as_flexible(strategy: FlexibleStrategy | TextToVideoStrategy | VideoToVideoStrategy) -> FlexibleStrategy:
    if isinstance(strategy, FlexibleStrategy):
        return strategy
    first_frame = FirstFrameCondition(type="first_frame", probability=strategy.first_frame_conditioning_p)
    conditions: list[Any] = [first_frame] if first_frame.probability > 0 else []
    audio = None
    if isinstance(strategy, VideoToVideoStrategy):
        conditions.append(ReferenceCondition(type="reference", latents_dir=strategy.reference_latents_dir))
    elif strategy.with_audio:
        audio = ModalitySection(is_generated=True, latents_dir=strategy.audio_latents_dir)
    video = ModalitySection(is_generated=True, latents_dir="latents", conditions=conditions)
    return FlexibleStrategy(video=video, audio=audio)


if __name__ == "__main__":
    write_text(Path("examples/training.schema.json"), schema_text())
