"""The room that a plan says a run's checkpoints take, against the size of a published transformer file."""

from collections.abc import Callable

import pytest

from trainer_core.config import TrainingConfig
from trainer_core.memory.plan import plan

PUBLISHED_BYTES = 42_018_190_584
"""LTX-2.5's transformer file in bfloat16: the transformer and the connectors, as each full checkpoint has them."""


@pytest.mark.parametrize("objective", ["t2v", "t2a"])
def test_a_full_checkpoint_is_as_large_as_the_published_file(
    config_for: Callable[..., TrainingConfig], objective: str
) -> None:
    def disk(kept: int, steps: int) -> int:
        overlay = {
            "model": {"training_mode": "full", "model_path": "/models/ltx-2.5.safetensors"},
            "lora": None,
            "optimization": {"steps": steps},
            "checkpoints": {
                "interval": 10, "keep_last_n": kept, "precision": "bfloat16", "save_training_state": "off"
            },
        }  # fmt: skip
        return plan(config_for(objective, overlay), version="2.5").disk_bytes

    one_more = disk(kept=0, steps=30) - disk(kept=0, steps=20)
    assert one_more == pytest.approx(PUBLISHED_BYTES, rel=0.005)
