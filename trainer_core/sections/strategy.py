"""The YAML's `training_strategy:`: what is generated, what is given, and upstream's two legacy spellings of it."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from trainer_core.sections.base import PositiveInt, Probability, Section


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


def as_flexible(strategy: FlexibleStrategy | TextToVideoStrategy | VideoToVideoStrategy) -> FlexibleStrategy:
    """Return `strategy`, a legacy one rewritten as the flexible one it stands for."""
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
