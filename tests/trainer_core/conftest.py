"""A precomputed folder, and a training config on it, for the tests of the trainer core."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer_core.config import TrainingConfig, parse_config
from trainer_core.objective import load_recipe, merged


@pytest.fixture
def precomputed(tmp_path: Path, write_precomputed: Callable[..., Path]) -> Path:
    """Four samples with everything in them."""
    return write_precomputed(tmp_path / ".precomputed", [f"clips/clip {index}" for index in range(4)])


ConfigFor = Callable[..., TrainingConfig]


@pytest.fixture
def config_for(precomputed: Path) -> ConfigFor:
    """`config_for(objective, **overlay)`: a run of six steps on the tiny model in float32."""

    def build(objective: str, overlay: dict[str, Any] | None = None) -> TrainingConfig:
        small = {
            "model": {"model_path": "tiny"},
            "lora": {"rank": 4, "alpha": 8},
            "data": {"preprocessed_data_root": str(precomputed), "num_dataloader_workers": 0},
            "acceleration": {"mixed_precision_mode": "no"},
            "optimization": {"steps": 6, "learning_rate": 1e-3, "enable_gradient_checkpointing": False},
            "checkpoints": {"interval": None, "precision": "float32"},
        }
        recipe = load_recipe(objective)
        if objective == "video_extension":  # these samples have three latent frames
            recipe["training_strategy"]["video"]["conditions"][0]["temporal_boundary"] = 1
        document = merged(merged(recipe, small), overlay or {})
        return parse_config(yaml.safe_dump(document))

    return build
