"""The YAML's `validation:`: the samples that are made while a run trains, and what they are given."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from trainer_core.legacy import migrate_validation
from trainer_core.sections.base import PositiveInt, Probability, Section


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
    stg_blocks: list[int] | None = [28]  # null: every block
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
