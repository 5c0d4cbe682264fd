"""Keys of `validation:` that upstream has deprecated, turned into their successors. No torch."""

import logging
from typing import Any

logger = logging.getLogger(__name__)


_SUCCESSORS: dict[str, tuple[str, ...]] = {
    "prompts": ("samples",),
    "images": ("samples",),
    "reference_videos": ("samples",),
    "reference_downscale_factor": ("samples",),
    "include_reference_in_output": ("samples",),
    "guidance_scale": ("video_cfg_scale", "audio_cfg_scale"),
    "stg_scale": ("video_stg_scale", "audio_stg_scale"),
    "stg_mode": ("video_stg_scale", "audio_stg_scale"),
}
STG_MODES = ("stg_av", "stg_v")
"""Deprecated: STG of both modalities, or of video alone."""


def migrate_validation(values: dict[str, Any]) -> dict[str, Any]:
    """Turn the deprecated keys of `validation:` into their successors, and say so in the log.

    Raises ValueError for one that stands beside its successor, and for entries that don't match.
    """
    values = dict(values)
    old = {name: values.pop(name) for name in _SUCCESSORS if name in values}
    old = {name: value for name, value in old.items() if value is not None}
    if not old:
        return values
    for name in old:
        beside = [successor for successor in _SUCCESSORS[name] if values.get(successor) not in (None, [])]
        if beside:
            raise ValueError(
                f"`{name}` (deprecated) and {' and '.join(f'`{one}`' for one in beside)} are both given; keep "
                f"{' and '.join(f'`{one}`' for one in _SUCCESSORS[name])} alone"
            )
    prompts, images, references = (old.get(name) or [] for name in ("prompts", "images", "reference_videos"))
    for name, given in (("images", images), ("reference_videos", references)):
        if given and len(given) != len(prompts):
            raise ValueError(
                f"{name} has {len(given)} entries but prompts has {len(prompts)}; give one for each prompt"
            )
    if prompts:
        values["samples"] = [
            _migrated_sample(
                prompt,
                images[index] if images else None,
                references[index] if references else None,
                old.get("reference_downscale_factor") or 1,
                bool(old.get("include_reference_in_output")),
            )
            for index, prompt in enumerate(prompts)
        ]
    if "guidance_scale" in old:
        values["video_cfg_scale"] = values["audio_cfg_scale"] = old["guidance_scale"]
    if "stg_scale" in old:
        values["video_stg_scale"] = values["audio_stg_scale"] = old["stg_scale"]
    mode = old.get("stg_mode", "stg_av")
    if mode not in STG_MODES:
        raise ValueError(f"stg_mode is {mode!r}; it can be {' or '.join(STG_MODES)}")
    if mode == "stg_v":
        values["audio_stg_scale"] = 0.0
    logger.warning("validation: %s %s deprecated; migrated.", ", ".join(old), "is" if len(old) == 1 else "are")
    return values


def _migrated_sample(
    prompt: str, image: str | None, reference: str | None, downscale: int, shown: bool
) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = []
    if image is not None:
        conditions.append({"type": "first_frame", "image_or_video": image})
    if reference is not None:
        conditions.append(
            {"type": "reference", "video": reference, "downscale_factor": downscale, "include_in_output": shown}
        )
    return {"prompt": prompt, "conditions": conditions}
