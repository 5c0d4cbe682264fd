"""Writes cells.json: what each of the 13 x 3 cells of objectives and adapters trains, and which columns it needs.

python tests/golden/make_cells.py
"""

import json
from pathlib import Path
from typing import Any

from trainer_core.errors import DataError
from trainer_core.model.ltx import branch_of
from trainer_core.model.tiny import tiny_source
from trainer_core.objective import OBJECTIVE_NAMES, default_adapter, objective_of, recipe_for
from trainer_core.sections.strategy import FlexibleStrategy

GOLDEN = Path(__file__).with_name("cells.json")
ADAPTERS = ("lora", "ic-lora", "full")
PLAIN = frozenset({"caption", "video", "audio"})
ALL = PLAIN | {"reference_video", "reference_audio", "video_mask", "audio_mask"}


def cell(name: str, adapter: Any) -> dict[str, Any]:
    """One cell, with every column there, and what the plain columns lack for it."""
    from trainer_core.adapters import lora_targets, trained_branches

    recipe = recipe_for(name, adapter, ALL)
    objective = objective_of(FlexibleStrategy.model_validate(recipe["training_strategy"]))
    found: dict[str, Any] = {
        side: " ".join([role.role, *(condition.type for condition in role.conditions)])
        for side, role in (("video", objective.video), ("audio", objective.audio))
    }
    found["branches"] = sorted(trained_branches(objective))
    if recipe["lora"] is not None:
        import torch

        found["targets"] = recipe["lora"]["target_modules"]
        reached = lora_targets(tiny_source("tiny").transformer(torch.float32), found["targets"], objective)
        found["modules"] = len(reached)
        found["branches"] = sorted({branch_of(module) for module in reached})
    found["columns"] = sorted(set(objective.columns().values()))
    try:
        recipe_for(name, adapter, PLAIN)
        found["refused"] = None
    except DataError as error:
        found["refused"] = error.message
    return found


def table() -> dict[str, dict[str, Any]]:
    return {
        name: {adapter: cell(name, adapter) for adapter in ADAPTERS}
        | {"default": default_adapter(name, PLAIN)[0], "default with references": default_adapter(name, ALL)[0]}
        for name in OBJECTIVE_NAMES
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(table(), indent=1) + "\n", encoding="utf-8")
