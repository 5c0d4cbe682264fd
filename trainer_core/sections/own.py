"""The YAML's `ltx_agent:`: what upstream's schema has no word for."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from trainer_core.data.buckets import parse_buckets
from trainer_core.errors import ConfigError
from trainer_core.optimizer_names import MASTER_WEIGHTS, MasterWeights, described
from trainer_core.recipes import OBJECTIVE_NAMES
from trainer_core.sections.base import PositiveInt, Section


def _is_objective(name: str) -> str:
    if name not in OBJECTIVE_NAMES:
        raise ValueError(f"`{name}` is no objective; the objectives are {', '.join(OBJECTIVE_NAMES)}")
    return name


ObjectiveName = Annotated[str, AfterValidator(_is_objective), Field(json_schema_extra={"enum": list(OBJECTIVE_NAMES)})]


class MemorySection(Section):
    """Switches that trade time for memory; none of them changes what is learned."""

    offload_activations: bool = False
    swap_blocks: Annotated[int, Field(ge=0)] = 0
    feed_forward_chunk_tokens: PositiveInt | None = None
    fused_optimizer: bool = False
    precompute_text: bool = False
    # the most of the device that a run may take, for a shared card; without a GPU it counts tensors
    limit_gb: Annotated[float, Field(gt=0)] | None = None
    # the most of the device that samples may fill during training, as a rehearsal measured it; null: limit_gb, or all
    samples_gb: Annotated[float, Field(gt=0)] | None = None


SHIFT = "noise levels are moved towards noise above 1 (for layout, motion, rhythm), towards the clean end below 1"


class NoiseSection(Section):
    """The noise levels that are trained on, beside flow_matching's: another distribution, and a shift by modality."""

    sampling_mode: Annotated[
        Literal["logit_normal"] | None,
        Field(
            description="null: flow_matching.timestep_sampling_mode. logit_normal: middle noise levels whatever a "
            "sample's size, for short clips and sounds or fine texture, where the usual mode trains mostly on noise."
        ),
    ] = None
    mean: Annotated[
        float,
        Field(ge=-10, le=10, description="Of logit_normal: above 0 to train nearer to noise, below 0 on detail."),
    ] = 0.0
    std: Annotated[
        float, Field(ge=0.01, le=10, description="Of logit_normal: smaller to train on a narrower band of levels.")
    ] = 1.0
    video_shift: Annotated[float, Field(ge=0.05, le=20, description=f"Of the video: {SHIFT}; 1 changes nothing.")] = 1.0
    audio_shift: Annotated[float, Field(ge=0.05, le=20, description=f"Of the audio: {SHIFT}; 1 changes nothing.")] = 1.0

    @model_validator(mode="after")
    def _mean_and_std_have_their_mode(self) -> Self:
        if self.sampling_mode is None and (self.mean, self.std) != (0.0, 1.0):
            key = f"mean {self.mean:g}" if self.mean else f"std {self.std:g}"
            raise ValueError(
                f"{key} is of logit_normal alone, and sampling_mode is null: set sampling_mode: logit_normal, or leave "
                "it out (video_shift and audio_shift move every mode)"
            )
        return self


class EvaluationSection(Section):
    """The held-out evaluation. `share` is the most of the training time it may take; `interval` in steps, null: derived
    from `share` and measured times; `clips` names samples to hold out where the dataset declares no split."""

    share: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    interval: PositiveInt | None = None
    clips: list[str] = []


class TrainingSection(Section):
    """The run's update of its weights, and its guards. `master_weights`: the precision full training holds them in
    (a LoRA's are always float32). `ema_decay`: an exponential moving average of the weights is kept and saved beside
    them; `non_finite`: a step whose loss or gradient is not finite ends the run, or is skipped up to
    `max_skipped_steps`; `early_stop`: the run ends when the verdict is sure of a plateau, overfitting or divergence;
    `other_modules`: the layers of `model.load_checkpoint` that this run doesn't train, such as those of sound in a
    video-only run, are kept and saved unchanged, or dropped."""

    master_weights: Annotated[
        MasterWeights, Field(description=described(MASTER_WEIGHTS, "What full training in bf16 holds its weights in."))
    ] = "auto"
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    non_finite: Literal["stop", "skip"] = "stop"
    max_skipped_steps: PositiveInt = 10
    early_stop: bool = False
    other_modules: Literal["keep", "drop"] = "keep"


AdapterKind = Literal["lora", "rslora", "dora", "lokr"]


class LoraKindSection(Section):
    """The kind of adapter that `lora:` trains, with the rank, alpha, dropout and target_modules from there."""

    kind: Annotated[
        AdapterKind,
        Field(
            description="lora: the usual, read by everything. rslora: alpha over the root of the rank instead of the "
            "rank; take it for ranks of 64 and more, where plain LoRA learns too slowly. dora: also learns the length "
            "of each row; take it where a LoRA of low rank (4 to 16) stays behind full training, at about 1.5 times "
            "the time of a step. lokr: a Kronecker product; take it for a style in a file of a few MB, with a learning "
            "rate 2 to 5 times lower than LoRA's."
        ),
    ] = "lora"
    factor: Annotated[
        int,
        Field(
            ge=2,
            description="LoKr alone: the side of its small matrix. A larger one makes a smaller file that can learn "
            "less; 4 to 16 are usual.",
        ),
    ] = 8


class TrackersSection(Section):
    """Experiment trackers beside upstream's `wandb:`; trackio takes its project's name from there too."""

    tensorboard: bool = False
    trackio: bool = False


class LtxAgentSection(Section):
    """Settings that upstream's schema has no word for; `ltx-agent export --upstream` leaves them out."""

    objective: ObjectiveName | None = None
    dataset: str | None = None
    buckets: str | None = None
    frame_rate: Annotated[float, Field(gt=0)] | None = None
    trigger: str | None = None
    # a sample that lacks an input of the objective, such as a silent clip where sound is trained: `refuse` stops the
    # run before it begins, `leave_out` trains without it and names it
    incomplete_samples: Literal["refuse", "leave_out"] = "refuse"
    reference_spatial_scale: PositiveInt = 1
    reference_temporal_scale: PositiveInt = 1
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    torch_compile: bool = False
    memory: MemorySection = MemorySection()
    evaluation: EvaluationSection = EvaluationSection()
    training: TrainingSection = TrainingSection()
    lora: LoraKindSection = LoraKindSection()
    noise: NoiseSection = NoiseSection()
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
