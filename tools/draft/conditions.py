"""Conditions beside the text that the objective leaves open: which end of a clip, which region."""

from typing import Any, Literal

from tools.inspect.report.report import Clip, Sample
from trainer_core.data.buckets import CELL_FRAMES, parse_buckets
from trainer_core.errors import ConfigError, DataError
from trainer_core.memory.plan import AUDIO_LATENTS_A_SECOND
from trainer_core.units import counted

Direction = Literal["after", "before"]
EXTENSIONS = ("video_extension", "audio_extension")
MIN_OUTPAINTING_WIDTH = 64
FIRST_FRAME_SHARE = 0.1
MOST_GIVEN = 2 / 3
"""Of a sample, that an extension is given: 8 of 12 latent frames, as upstream's recipes have it at 89 frames."""
MOVING_SHARE = 0.5
"""Of the samples, that must be of moving pictures: stills teach nothing of what follows a frame."""


def set_direction(recipe: dict[str, Any], objective: str, direction: Direction | None) -> None:
    """Turn an extension's condition the way it was asked for. Raises ConfigError for other objectives."""
    if objective not in EXTENSIONS:
        if direction is not None:
            raise ConfigError(
                f"A direction ({direction}) belongs to an extension, not to {objective}.",
                f"Leave it out, or choose {' or '.join(EXTENSIONS)}.",
            )
        return
    for condition in recipe["training_strategy"][objective.removesuffix("_extension")]["conditions"]:
        if condition["type"] in ("prefix", "suffix"):
            condition["type"] = "suffix" if direction == "before" else "prefix"


def direction_reason(direction: Direction | None) -> str:
    """Return why an extension goes the way it does."""
    given, made = ("end", "before") if direction == "before" else ("beginning", "after")
    why = "you asked for it" if direction else "nobody said which direction; say so if it is the other"
    return f"the {given} of each clip is given, what comes {made} it is learned: {why}"


def fit_boundaries(strategy: dict[str, Any], training: list[Clip]) -> tuple[list[Clip], list[tuple[Clip, str]]]:
    """Make a prefix or suffix fit the samples, and leave those out that it would fill; return the clips that train, and
    those without a sample left, each with the reason.

    At most MOST_GIVEN of the usual sample (that of most seconds) is given; `strategy` is changed in place.
    """
    left_out: list[tuple[Clip, str]] = []
    for name in ("video", "audio"):
        ends = [one for one in (strategy[name] or {}).get("conditions", []) if one["type"] in ("prefix", "suffix")]
        if not ends or not training:
            continue
        lengths = sorted(_latents(name, sample) for clip in training for sample in clip.samples)
        usual = _of_most_seconds(lengths)
        for condition in ends:
            most = max(1, int(MOST_GIVEN * usual / len(ends)))
            condition["temporal_boundary"] = min(condition["temporal_boundary"], most)
        given = sum(condition["temporal_boundary"] for condition in ends)
        kept = []
        for clip in training:
            samples = [sample for sample in clip.samples if _latents(name, sample) > given]
            if samples:
                kept.append(clip.model_copy(update={"samples": samples}))
            else:
                left_out.append((clip, f"its samples are no longer than the {counted(given, 'latent frame')} given"))
        training = kept
    return training, left_out


def boundary_of(strategy: dict[str, Any], objective: str) -> int | None:
    """Return how many latent frames an extension is given; None for other objectives."""
    if objective not in EXTENSIONS:
        return None
    conditions = strategy[objective.removesuffix("_extension")]["conditions"]
    return next(one["temporal_boundary"] for one in conditions if one["type"] in ("prefix", "suffix"))


def boundary_reason(strategy: dict[str, Any], objective: str, recipes: int | None) -> str | None:
    """Return why an extension is given so many latent frames, where the recipe gives `recipes`."""
    fitted = boundary_of(strategy, objective)
    if fitted is None:
        return None
    unit = "latent frame" if objective == "video_extension" else "audio latent frame"
    if fitted == recipes:
        return f"{counted(fitted, unit)} as the recipe has it"
    return f"{counted(fitted, unit)} instead of the recipe's {recipes}: at most two thirds of the usual sample is given"


def condition_reason(conditions: list[dict[str, Any]]) -> str:
    """Return the inputs of a modality beside the text, in words."""
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


def _latents(name: str, sample: Sample) -> int:
    if name == "audio" or sample.bucket is None:
        return round(sample.duration_s * AUDIO_LATENTS_A_SECOND)
    return (parse_buckets(sample.bucket)[0].frames - 1) // CELL_FRAMES + 1


def _of_most_seconds(lengths: list[int]) -> int:
    reached = 0
    for length in lengths:
        reached += length
        if 2 * reached >= sum(lengths):
            return length
    return 1


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
