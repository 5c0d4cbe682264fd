"""Latent grids against an objective's conditions: what they leave to train on, and how a reference's grid relates.

F, H, W latent frames, rows and columns. No torch.
"""

from trainer_core.errors import ConfigError, DataError
from trainer_core.objective import ModalityObjective, Objective, VaeFactors


def check_shape(
    objective: Objective,
    clip: str,
    video_shape: tuple[int, int, int] | None,
    audio_frames: int | None,
    factors: VaeFactors,
) -> None:
    """Refuse a sample that the objective's conditions leave nothing to train on.

    `video_shape` is (F, H, W) in latents, `audio_frames` T; None where the modality is absent. Raises ConfigError.
    """
    if video_shape is not None:
        _check_boundaries(objective.video, clip, "latent frames", video_shape[0])
        _check_region(objective.video, clip, video_shape, factors)
        if objective.video.condition("first_frame") and objective.video.generated and video_shape[0] == 1:
            first_frame = objective.video.condition("first_frame")
            if first_frame is not None and first_frame.probability >= 1.0:
                raise ConfigError(
                    f"first_frame leaves no frame to train on: {clip} has only one.",
                    "Use longer clips or drop first_frame.",
                )
    if audio_frames is not None:
        _check_boundaries(objective.audio, clip, "audio latent frames", audio_frames)


def _check_boundaries(side: ModalityObjective, clip: str, unit: str, length: int) -> None:
    given = 0
    for kind in ("prefix", "suffix"):
        condition = side.condition(kind)
        if condition is None:
            continue
        given += condition.temporal_boundary
        if given >= length:
            raise ConfigError(
                f"{kind} of {condition.temporal_boundary} {unit} leaves no frame to train on: {clip} has {length}.",
                f"Use at most {max(length - 1, 0)} in all, or longer clips.",
            )


def _check_region(side: ModalityObjective, clip: str, shape: tuple[int, int, int], factors: VaeFactors) -> None:
    condition = side.condition("spatial_crop")
    if condition is None:
        return
    y1, x1, y2, x2 = condition.spatial_region
    height, width = shape[1] * factors.height, shape[2] * factors.width
    if y2 > height or x2 > width:
        raise ConfigError(
            f"spatial_region y1,x1,y2,x2 = {y1},{x1},{y2},{x2} lies outside the {width}x{height} picture of {clip}.",
            "Keep the region inside the bucket's picture.",
        )
    rows, columns = latent_region(condition.spatial_region, factors)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        raise ConfigError(
            f"spatial_region y1,x1,y2,x2 = {y1},{x1},{y2},{x2} is empty once its ends are rounded down to whole latent "
            f"cells of {factors.width}x{factors.height} pixels.",
            f"Choose a region that reaches over a multiple of {factors.height} rows and {factors.width} columns.",
        )
    if (rows.stop - rows.start) * (columns.stop - columns.start) >= shape[1] * shape[2]:
        raise ConfigError(
            f"spatial_region y1,x1,y2,x2 = {y1},{x1},{y2},{x2} covers the whole {width}x{height} picture of {clip}: "
            "nothing is left to generate.",
            "Choose a smaller region.",
        )


def latent_region(region: tuple[int, int, int, int], factors: VaeFactors) -> tuple[slice, slice]:
    """Return the rows and columns of latent cells of a pixel region y1, x1, y2, x2, both ends rounded down.

    So a cell that the region's beginning cuts is given whole, one that its end cuts is generated whole. Source: the
    official LTX trainer.
    """
    y1, x1, y2, x2 = region
    return slice(y1 // factors.height, y2 // factors.height), slice(x1 // factors.width, x2 // factors.width)


def reference_scales(target: tuple[int, ...], source: tuple[int, ...], clip: str = "reference") -> tuple[int, int]:
    """Return (spatial, temporal) downscale factors of a reference grid (F, H, W) against the target's.

    Raises DataError when the reference is neither of the target's size, nor an even fraction of it, nor one frame.
    """
    (frames, height, width), (own_frames, own_height, own_width) = target, source
    spatial = height // own_height
    if spatial * own_height != height or spatial * own_width != width:
        raise DataError(
            f"{clip}: the reference's {own_width}x{own_height} latents are no whole fraction of {width}x{height}.",
            "Make the reference as large as the target, or downscale both sides by the same whole factor.",
        )
    if own_frames in (1, frames):
        return spatial, 1
    temporal, rest = divmod(frames - 1, own_frames - 1)
    if rest or temporal < 1:
        raise DataError(
            f"{clip}: the reference has {own_frames} latent frames, the target {frames}: it must have as many, one, "
            "or an even fraction (frames - 1 divisible).",
            "Encode the reference with the target's length, as one image, or every S-th frame.",
        )
    return spatial, temporal
