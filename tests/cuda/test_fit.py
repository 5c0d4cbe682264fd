"""Fitting a training on a real card: packed bases, swap, offload, 8-bit moments, measured peaks, running out."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from trainer_core.config import TrainingConfig, parse_config
from trainer_core.metrics import read_steps
from trainer_core.model.block_swap import BlockSwap
from trainer_core.model.tiny import TinySource
from trainer_core.objective import load_recipe, merged
from trainer_core.quantization_names import SCHEMES
from trainer_core.run_folder import RunStatus, create_run_folder
from trainer_core.training.loop import train
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.rehearsal import rehearse
from trainer_core.training.stop import StopRequest

pytestmark = pytest.mark.cuda

CHECKPOINTED = {"optimization": {"enable_gradient_checkpointing": True}}
# relative difference of the losses from the run without it, in bf16 on a card
SWITCHES: dict[str, tuple[dict[str, Any], float]] = {
    "checkpointing": (CHECKPOINTED, 1e-3),
    "offload": (merged(CHECKPOINTED, {"ltx_agent": {"memory": {"offload_activations": True}}}), 1e-3),
    "swap": (merged(CHECKPOINTED, {"ltx_agent": {"memory": {"swap_blocks": 2}}}), 1e-3),
    "chunks": ({"ltx_agent": {"memory": {"feed_forward_chunk_tokens": 4}}}, 5e-3),
    "text beforehand": ({"ltx_agent": {"memory": {"precompute_text": True}}}, 1e-3),
    "8-bit moments": ({"optimization": {"optimizer_type": "adamw8bit"}}, 5e-2),
}
LOSS_SHIFT = {"int8": 0.02, "int8-dynamic": 0.02, "fp8": 0.03, "nf4": 0.08}


@pytest.fixture
def config_for(tmp_path: Path, write_precomputed):
    """`config_for(overlay)`: six steps of t2v on the tiny model in bf16."""
    write_precomputed(tmp_path / "latents", ["a", "b"])

    def build(overlay: dict[str, Any] | None = None) -> TrainingConfig:
        small = {
            "model": {"model_path": "tiny"},
            "lora": {"rank": 4, "alpha": 8},
            "data": {"preprocessed_data_root": str(tmp_path / "latents"), "num_dataloader_workers": 0},
            "optimization": {"steps": 6, "learning_rate": 1e-3, "enable_gradient_checkpointing": False},
            "checkpoints": {"interval": None},
        }
        return parse_config(yaml.safe_dump(merged(merged(load_recipe("t2v"), small), overlay or {})))

    return build


def losses(folder: Path, config: TrainingConfig) -> list[float]:
    run = create_run_folder(folder)
    with StatusKeeper(run, RunStatus("starting")) as keeper, StopRequest(run) as stop:
        train(config, run, keeper, stop)
    return [row["loss"] for row in read_steps(run.metrics_path)]


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_keeps_the_losses(tmp_path, config_for, name):
    overlay, tolerance = SWITCHES[name]
    wanted = losses(tmp_path / "without", config_for())
    assert losses(tmp_path / "with", config_for(overlay)) == pytest.approx(wanted, rel=tolerance)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_lora_trains_on_a_packed_base(tmp_path, config_for, scheme):
    if scheme in ("fp8", "int8-dynamic") and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this card has no 8-bit units for it")
    wanted = losses(tmp_path / "without", config_for())
    found = losses(tmp_path / "with", config_for({"acceleration": {"quantization": scheme}}))
    assert found[0] == pytest.approx(wanted[0], rel=LOSS_SHIFT[scheme])


def test_swapped_blocks_wait_in_pinned_memory(card):
    transformer = TinySource().transformer(torch.bfloat16)
    swap = BlockSwap(transformer.transformer_blocks, 2, card)
    assert swap.host_tensors()
    assert all(tensor.is_pinned() for tensor in swap.host_tensors())


def test_a_rehearsal_measures_allocator_and_driver(tmp_path, config_for):
    found = rehearse(config_for(), tmp_path / "rehearsal")
    assert (found.error, found.ran_out, found.not_measured) == (None, None, [])
    for stage in found.stages:
        assert stage.allocated is not None
        assert stage.reserved is not None
        assert stage.driver is not None
        assert stage.allocated <= stage.reserved <= stage.driver


def test_memory_that_runs_out_on_the_card_is_a_result(tmp_path, config_for):
    torch.cuda.empty_cache()  # what earlier tests left in the allocator would serve this one
    found = rehearse(config_for({"ltx_agent": {"memory": {"limit_gb": 0.002}}}), tmp_path / "rehearsal")
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert found.ran_out is not None
    assert found.error is None
