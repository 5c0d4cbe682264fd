"""What the model is given beside the text where the objective leaves it open: which end of a clip, which region."""

from typing import Any, Literal

from tools.inspect.report.report import Clip, Sample
from trainer_core.data.buckets import CELL_FRAMES
from trainer_core.errors import ConfigError, DataError
from trainer_core.memory.plan import AUDIO_LATENTS_A_SECOND
from trainer_core.units import counted

Direction = Literal["after", "before"]
EXTENSIONS = ("video_extension", "audio_extension")
MIN_OUTPAINTING_WIDTH = 64


def set_direction(recipe: dict[str, Any], objective: str, direction: Direction | None) -> None:
    """Turn an extension's condition the way it was asked for. Raises ConfigError for other objectives."""
    if objective not in EXTENSIONS:
        if direction is not None:
            raise ConfigError(
                f"A direction ({direction}) belongs to an extension, not to {objective}.",
                f"Leave it out, or choose {' or '.join(EXTENSIONS)}.",
            )
        return
    for condition in _boundaries(recipe, objective):
        condition["type"] = "suffix" if direction == "before" else "prefix"


def direction_reason(direction: Direction | None) -> str:
    """Why an extension goes the way it does."""
    given, made = ("end", "before") if direction == "before" else ("beginning", "after")
    why = "you asked for it" if direction else "nobody said which direction; say so if it is the other"
    return f"the {given} of each clip is given, what comes {made} it is learned: {why}"


def fit_boundary(recipe: dict[str, Any], objective: str, training: list[Clip]) -> str | None:
    """Shorten what an extension is given to at most half of the shortest sample; return the reason.

    None for other objectives. Raises DataError when a sample has nothing to give and to learn from.
    """
    if objective not in EXTENSIONS:
        return None
    video = objective == "video_extension"
    lengths = [_latent_frames(sample, video=video) for clip in training for sample in clip.samples]
    shortest, unit = min(lengths), "latent frames" if video else "audio latent frames"
    if shortest < 2:
        raise DataError(
            f"{objective} needs samples of at least 2 {unit}; the shortest has {shortest}.",
            "Leave out stills and the shortest clips, or choose another objective.",
        )
    usual = fitted = 0
    for condition in _boundaries(recipe, objective):
        usual = condition["temporal_boundary"]
        fitted = condition["temporal_boundary"] = min(usual, shortest // 2)
    if fitted == usual:
        return f"{counted(fitted, unit[:-1])} as the recipe has it; the shortest sample has {shortest}"
    return (
        f"{counted(fitted, unit[:-1])} instead of the recipe's {usual}: at most half of the shortest sample, which has "
        f"{shortest}, is given"
    )


def condition_reason(conditions: list[dict[str, Any]]) -> str:
    """What a modality is given beside the text, in words."""
    return "given to go by: " + "; ".join(map(_in_words, conditions))


_WORDS = {
    "first_frame": "the first frame",
    "prefix": "the beginning",
    "suffix": "the end",
    "spatial_crop": "a part of the picture",
    "mask": "what the mask keeps (1 = keep, 0 = generate)",
    "reference": "the reference",
}


def _in_words(condition: dict[str, Any]) -> str:
    probability = condition.get("probability", 1.0)
    often = "always" if probability >= 1 else f"in {probability:.0%} of the steps, so that it works without too"
    return f"{_WORDS[condition['type']]}, {often}"


def _boundaries(recipe: dict[str, Any], objective: str) -> list[dict[str, Any]]:
    """The prefix or suffix of an extension."""
    conditions = recipe["training_strategy"][objective.removesuffix("_extension")]["conditions"]
    return [condition for condition in conditions if condition["type"] in ("prefix", "suffix")]


def _latent_frames(sample: Sample, *, video: bool) -> int:
    if video and sample.bucket is not None:
        return (int(sample.bucket.rpartition("x")[2]) - 1) // CELL_FRAMES + 1
    return max(round(sample.duration_s * AUDIO_LATENTS_A_SECOND), 1)


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
