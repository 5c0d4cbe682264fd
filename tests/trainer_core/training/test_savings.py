"""Every switch that saves memory: the losses of the run without it. Its saving is measured in tests of memory/."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from trainer_core.config import TrainingConfig, parse_config
from trainer_core.errors import ConfigError
from trainer_core.memory.live import LiveBytes
from trainer_core.metrics import read_steps
from trainer_core.model.block_swap import BlockSwap, swapped_indices
from trainer_core.objective import merged
from trainer_core.run_folder import RunStatus, create_run_folder
from trainer_core.training.loop import train
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.optim.fused import FusedOptimizer
from trainer_core.training.optim.optimizers import build_optimizer
from trainer_core.training.setup import set_up
from trainer_core.training.stop import StopRequest
from trainer_core.training.text_contexts import StoredContexts

CHECKPOINTED = {"optimization": {"enable_gradient_checkpointing": True}}
FULL = {"model": {"training_mode": "full"}, "lora": None, "optimization": {"max_grad_norm": 0.0}}


def memory(**switches: Any) -> dict[str, Any]:
    return {"ltx_agent": {"memory": switches}}


def losses(tmp_path, config: TrainingConfig, name: str) -> list[float]:
    run = create_run_folder(tmp_path / name)
    with StatusKeeper(run, RunStatus("starting")) as keeper, StopRequest(run) as stop:
        train(config, run, keeper, stop)
    return [row["loss"] for row in read_steps(run.metrics_path)]


# relative difference over six steps in float32; 0: the same arithmetic in the same order
EXACT, ROUNDED = 0.0, 1e-5
SWITCHES = {
    "checkpointing": (CHECKPOINTED, {}, EXACT),
    "offload": (merged(CHECKPOINTED, memory(offload_activations=True)), {}, EXACT),
    "swap one block": (merged(CHECKPOINTED, memory(swap_blocks=1)), {}, EXACT),
    "swap all blocks": (merged(CHECKPOINTED, memory(swap_blocks=48)), {}, EXACT),
    "chunks": (memory(feed_forward_chunk_tokens=4), {}, ROUNDED),
    "text beforehand": (memory(precompute_text=True), {}, EXACT),
    "fused": (merged(FULL, memory(fused_optimizer=True)), FULL, EXACT),
    "all but fused": (
        merged(
            CHECKPOINTED,
            memory(offload_activations=True, swap_blocks=2, feed_forward_chunk_tokens=4, precompute_text=True),
        ),
        {},
        ROUNDED,
    ),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_the_losses_are_those_without_it(tmp_path, config_for, name):
    switched, plain, tolerance = SWITCHES[name]
    wanted = losses(tmp_path, config_for("t2v", plain), "plain")
    found = losses(tmp_path, config_for("t2v", switched), "switched")
    assert found == pytest.approx(wanted, rel=tolerance or 0, abs=0)


@pytest.mark.parametrize("objective", ["t2a", "v2v_ic"])
def test_an_absent_modality_and_chunks_and_swaps_go_together(tmp_path, config_for, objective):
    switched = merged(CHECKPOINTED, memory(offload_activations=True, swap_blocks=1, feed_forward_chunk_tokens=4))
    wanted = losses(tmp_path, config_for(objective), "plain")
    assert losses(tmp_path, config_for(objective, switched), "switched") == pytest.approx(wanted, rel=ROUNDED)


def test_8_bit_moments_stay_near_full_ones(tmp_path, config_for):
    wanted = losses(tmp_path, config_for("t2v"), "plain")
    found = losses(tmp_path, config_for("t2v", {"optimization": {"optimizer_type": "adamw8bit"}}), "switched")
    assert found == pytest.approx(wanted, rel=0.02)


def test_text_beforehand_drops_the_connectors(tmp_path, config_for):
    plain = set_up(config_for("t2v"), create_run_folder(tmp_path / "plain"))
    session = set_up(config_for("t2v", memory(precompute_text=True)), create_run_folder(tmp_path / "runs"))
    assert isinstance(session.connectors, StoredContexts)
    assert session.connectors.host_bytes == 4 * 512 * (64 + 32) * 4  # samples, tokens, widths, float32
    assert sum(parameter.numel() for parameter in plain.connectors.parameters()) > 0


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.lin(x)


@pytest.mark.parametrize("count", [1, 4, 6])
def test_swapped_blocks_are_on_the_device_only_while_they_work(count):
    """On the CPU a clone stands for the copy on a card; the copies in host memory don't count."""
    blocks = nn.ModuleList(Wide() for _ in range(6)).requires_grad_(False)
    block_bytes = (64 * 64 + 64) * 4
    swap = BlockSwap(blocks, count, torch.device("cpu"))
    x = torch.randn(1, 64, requires_grad=True)
    with LiveBytes() as counted:
        counted.ignore(*swap.host_tensors())
        counted.hold(*(p for i, block in enumerate(blocks) if i not in swap.indices for p in block.parameters()))
        hidden = x
        for block in blocks:
            hidden = torch.utils.checkpoint.checkpoint(block, hidden, use_reentrant=False)
        hidden.sum().backward()
    here = (6 - count) * block_bytes
    # the one at work, the one arriving, and the one whose backward still runs
    assert counted.peak < here + min(count, 3) * block_bytes + 8 * 1024
    assert x.grad is not None


def test_blocks_to_swap_are_spread_evenly():
    assert swapped_indices(48, 12) == list(range(2, 48, 4))
    assert swapped_indices(48, 0) == []
    assert swapped_indices(2, 48) == [0, 1]
    assert len(set(swapped_indices(48, 36))) == 36


@pytest.mark.parametrize(
    ("overlay", "reason"),
    [
        (memory(swap_blocks=1), "needs optimization.enable_gradient_checkpointing"),
        (memory(offload_activations=True), "needs optimization.enable_gradient_checkpointing"),
        (merged(merged(CHECKPOINTED, FULL), memory(swap_blocks=1)), "frozen base"),
        (memory(fused_optimizer=True), "for full training"),
        (merged(FULL, {"optimization": {"max_grad_norm": 1.0}} | memory(fused_optimizer=True)), "max_grad_norm: 0"),
    ],
)
def test_switches_that_contradict_each_other_are_refused(config_for, overlay, reason):
    with pytest.raises(ConfigError, match=reason):
        config_for("t2v", overlay)


def test_a_fused_optimizer_keeps_its_state_over_a_reload(config_for):
    torch.manual_seed(0)
    section = config_for("t2v").optimization
    weights = [nn.Parameter(torch.randn(4, 4)) for _ in range(2)]
    optimizer = build_optimizer(section, weights, fused=True)
    assert isinstance(optimizer, FusedOptimizer)
    sum((weight**2).sum() for weight in weights).backward()
    assert all(weight.grad is None for weight in weights)
    assert optimizer.take_norm() > 0
    again = [nn.Parameter(weight.detach().clone()) for weight in weights]
    other = build_optimizer(section, again, fused=True)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for copies in (weights, again):
        for _ in range(2):
            sum((weight**2).sum() for weight in copies).backward()
    assert all(torch.equal(one, two) for one, two in zip(weights, again, strict=True))


def test_a_fused_optimizer_does_not_apply_a_gradient_that_is_not_finite(config_for):
    weight = nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(config_for("t2v").optimization, [weight], fused=True)
    (weight * torch.tensor([1.0, float("nan"), 1.0])).sum().backward()
    assert torch.equal(weight.detach(), torch.ones(3))
    assert isinstance(optimizer, FusedOptimizer)
    assert optimizer.take_norm() != optimizer.take_norm()  # nan, then nothing


def test_the_schema_knows_the_switches():
    with pytest.raises(ConfigError, match="swap_block"):
        parse_config("ltx_agent: {memory: {swap_block: 3}}")
