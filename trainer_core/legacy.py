"""Keys of `validation:` that upstream has deprecated, turned into their successors. No torch."""

import logging
from typing import Any

logger = logging.getLogger(__name__)


def migrate_validation(values: dict[str, Any]) -> dict[str, Any]:
    """Turn the deprecated keys of `validation:` into their successors, and say so in the log."""
    values = dict(values)
    old = {
        name: values.pop(name)
        for name in (
            "prompts",
            "images",
            "reference_videos",
            "reference_downscale_factor",
            "include_reference_in_output",
            "guidance_scale",
            "stg_scale",
            "stg_mode",
        )
        if name in values
    }
    if not old:
        return values
    logger.warning("validation: %s %s deprecated; migrated.", ", ".join(old), "is" if len(old) == 1 else "are")
    prompts, images, references = (old.get(name) or [] for name in ("prompts", "images", "reference_videos"))
    for name, given in (("images", images), ("reference_videos", references)):
        if given and len(given) != len(prompts):
            raise ValueError(
                f"{name} has {len(given)} entries but prompts has {len(prompts)}; give one for each prompt"
            )
    if prompts and values.get("samples"):
        raise ValueError("both `prompts` (deprecated) and `samples` are given; keep `samples`")
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
    if old.get("guidance_scale") is not None:
        values.setdefault("video_cfg_scale", old["guidance_scale"])
    if old.get("stg_scale") is not None:
        values.setdefault("video_stg_scale", old["stg_scale"])
        values.setdefault("audio_stg_scale", old["stg_scale"])
    if old.get("stg_mode") == "stg_v":
        values.setdefault("audio_stg_scale", 0.0)
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
