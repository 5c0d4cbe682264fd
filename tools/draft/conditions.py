"""What the model is given beside the text where the objective leaves it open: which end of a clip, which region."""

from typing import Any, Literal

from tools.inspect.report.report import Clip
from trainer_core.errors import ConfigError, DataError

Direction = Literal["after", "before"]
EXTENSIONS = ("video_extension", "audio_extension")
MIN_OUTPAINTING_WIDTH = 64
FIRST_FRAME_SHARE = 0.1
MOVING_SHARE = 0.5
"""Of the samples, that must be of moving pictures: stills teach nothing of what follows a frame."""


def set_direction(recipe: dict[str, Any], objective: str, direction: Direction | None) -> str | None:
    """Turn an extension's condition the way it was asked for; return the reason, None for other objectives."""
    if objective not in EXTENSIONS:
        if direction is not None:
            raise ConfigError(
                f"A direction ({direction}) belongs to an extension, not to {objective}.",
                f"Leave it out, or choose {' or '.join(EXTENSIONS)}.",
            )
        return None
    modality = objective.removesuffix("_extension")
    for condition in recipe["training_strategy"][modality]["conditions"]:
        if condition["type"] in ("prefix", "suffix"):
            condition["type"] = "suffix" if direction == "before" else "prefix"
    given, made = ("end", "before") if direction == "before" else ("beginning", "after")
    why = "you asked for it" if direction else "nobody said which direction; say so if it is the other"
    return f"the {given} of each clip is given, what comes {made} it is learned: {why}"


def share_first_frames(recipe: dict[str, Any], objective: str, trained: list[Clip]) -> str | None:
    """Give text-to-video a share of samples that begin from a picture, where clips move; return the reason, else None.

    Upstream's text-to-video strategy has the same share by default (`first_frame_conditioning_p`).
    """
    samples = [sample for clip in trained for sample in clip.samples]
    moving = sum(len(clip.samples) for clip in trained if clip.kind == "video")
    section = recipe["training_strategy"]["video"]
    if objective != "t2v" or section.get("conditions") or moving < MOVING_SHARE * len(samples):
        return None
    section["conditions"] = [{"type": "first_frame", "probability": FIRST_FRAME_SHARE}]
    return (
        "one sample in ten gets its first frame, as in upstream's text-to-video: what is trained on clips is mostly "
        "used from a picture too, and must not forget how to go on from one"
    )


def set_region(recipe: dict[str, Any], training: list[Clip], asked: tuple[int, int, int, int] | None) -> str:
    """Say which part of the picture is given: what was asked for, else the middle half of the narrowest sample."""
    sizes = [[int(part) for part in bucket.split("x")] for bucket in _buckets(training)]
    width, height = min(size[0] for size in sizes), min(size[1] for size in sizes)
    if width < MIN_OUTPAINTING_WIDTH:
        raise DataError(
            f"video_outpainting needs samples at least {MIN_OUTPAINTING_WIDTH} pixels wide; the narrowest has {width}.",
            "Use larger clips.",
        )
    left = max(32, width // 4 // 32 * 32)
    region = list(asked) if asked else [0, left, height, max(left + 32, width - left)]
    for condition in recipe["training_strategy"]["video"]["conditions"]:
        if condition["type"] == "spatial_crop":
            condition["spatial_region"] = region
    why = "you asked for it" if asked else "nobody named a region, so it is the middle; say so if it is another"
    return f"y1, x1, y2, x2 in pixels: given; what lies beside is made: {why}"


def _buckets(training: list[Clip]) -> set[str]:
    return {sample.bucket for clip in training for sample in clip.samples if sample.bucket is not None}
