"""The ladder: quickest savings first, one change at a time, never one that can't work, and a diff to approve."""

from typing import Any

import pytest
import yaml

from trainer_core.config import TrainingConfig, parse_config
from trainer_core.memory.ladder import RUNGS, ladder_of, next_rung, value_at
from trainer_core.objective import load_recipe, merged
from trainer_core.resume_config import is_changeable


def config_with(overlay: dict[str, Any] | None = None) -> TrainingConfig:
    small = {"model": {"model_path": "tiny"}, "data": {"preprocessed_data_root": "x"}}
    return parse_config(yaml.safe_dump(merged(merged(load_recipe("t2v"), small), overlay or {})))


FULL = {"model": {"training_mode": "full"}, "lora": None}
BARE = {"optimization": {"enable_gradient_checkpointing": False, "batch_size": 2}}


def test_a_lora_goes_down_the_whole_ladder_and_stops() -> None:
    names = [step.rung for step in ladder_of(config_with(BARE))]
    assert names == [rung.name for rung in RUNGS if rung.adapter in (None, "lora") and rung.stage == "step"]
    assert [step.rung for step in ladder_of(config_with(BARE), "encoding")] == ["text-encoder-8bit"]


def test_a_full_training_is_never_told_to_pack_or_swap_its_base() -> None:
    steps = ladder_of(config_with(merged(BARE, FULL)))
    assert {"int8-base", "4-bit-base", "swap-12-blocks"}.isdisjoint({step.rung for step in steps})
    # two samples a batch became two accumulated micro-batches, which a fused optimizer can't do
    assert "fused-optimizer" not in {step.rung for step in steps}
    alone = ladder_of(config_with(merged(FULL, {"optimization": {"batch_size": 1}})))
    assert "fused-optimizer" in {step.rung for step in alone}


def test_a_full_training_gives_up_precision_last_and_a_resume_never_does() -> None:
    steps = ladder_of(config_with(merged(FULL, {"optimization": {"batch_size": 1}})))
    names = [step.rung for step in steps]
    order = ["8-bit-optimizer", "fused-optimizer", "24-bit-weights", "stochastic-rounding"]
    assert [name for name in names if name in order] == order
    assert steps[-1].config.ltx_agent.training.master_weights == "stochastic"
    assert not is_changeable("ltx_agent.training.master_weights")
    in_float32 = ladder_of(config_with(merged(FULL, {"acceleration": {"mixed_precision_mode": "no"}})))
    assert {"24-bit-weights", "stochastic-rounding"}.isdisjoint({step.rung for step in in_float32})
    lion = ladder_of(config_with(merged(FULL, {"optimization": {"optimizer_type": "lion"}})))
    assert {"8-bit-optimizer", "24-bit-weights", "fused-optimizer"}.isdisjoint({step.rung for step in lion})


def test_a_step_changes_what_it_says_and_nothing_else() -> None:
    config = config_with(BARE)
    for step in ladder_of(config):
        before, after = config.model_dump(mode="json"), step.config.model_dump(mode="json")
        for key, (old, new) in step.changes.items():
            assert value_at(before, key) == old
            assert value_at(after, key) == new
        changed = [line for line in step.diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
        assert len(changed) == len(step.changes)
        config = step.config


def test_a_batch_becomes_accumulated_samples() -> None:
    step = next_rung(config_with({"optimization": {"batch_size": 4, "gradient_accumulation_steps": 2}}), BEFORE_BATCH)
    assert step is not None
    assert (step.config.optimization.batch_size, step.config.optimization.gradient_accumulation_steps) == (1, 8)


BEFORE_BATCH = frozenset({"gradient-checkpointing", "precompute-text"})


@pytest.mark.parametrize("name", ["int8-quanto", "int8", "int8-dynamic", "fp8-quanto"])
def test_an_8_bit_base_goes_on_to_four_bits(name: str) -> None:
    steps = ladder_of(config_with({"acceleration": {"quantization": name}}))
    assert "int8-base" not in {step.rung for step in steps}
    assert steps[-1].changes == {"acceleration.quantization": (name, "int4-quanto")}


def test_a_rung_that_was_tried_is_skipped() -> None:
    first = next_rung(config_with(BARE))
    assert first is not None
    second = next_rung(config_with(BARE), frozenset({first.rung}))
    assert second is not None
    assert second.rung != first.rung
