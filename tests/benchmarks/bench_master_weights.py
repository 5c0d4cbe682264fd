"""Full training's total update over 200 steps, by what its weights are held in, against the same run in float32."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from trainer_core.config import parse_config
from trainer_core.objective import load_recipe, merged
from trainer_core.run_folder import create_run_folder
from trainer_core.training.loop import read_inputs
from trainer_core.training.optimizer_step import optimize
from trainer_core.training.setup import TrainingSession, set_up

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

STEPS = 200
RATES = (1e-5, 2e-5, 1e-4)
LEAST_COSINE = 0.95
LENGTH_TOLERANCE = {"float32": 0.01, "float24": 0.05}
CLIPS = [f"clips/clip {index}" for index in range(4)]


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory, write_precomputed: Any) -> Path:
    return write_precomputed(tmp_path_factory.mktemp("latents"), CLIPS)


@pytest.fixture(scope="module")
def total_update(latents: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`total_update(precision, master, rate)`: all trained weights after the run less those before it, in float64."""
    return cache(lambda *run: _total_update(latents, tmp_path_factory.mktemp("runs"), *run))


def _total_update(latents: Path, runs: Path, precision: str, master: str, rate: float) -> Tensor:
    overlay = {
        "model": {"model_path": "tiny", "training_mode": "full"},
        "lora": None,
        "data": {"preprocessed_data_root": str(latents), "num_dataloader_workers": 0},
        "acceleration": {"mixed_precision_mode": precision},
        "optimization": {"steps": STEPS, "learning_rate": rate, "enable_gradient_checkpointing": False},
        "ltx_agent": {"training": {"master_weights": master}},
    }
    session = set_up(parse_config(yaml.safe_dump(merged(load_recipe("t2a"), overlay))), create_run_folder(runs))
    before, inputs = _weights(session), read_inputs(session)
    for step in range(STEPS):
        optimize(session, inputs, step)
    return _weights(session) - before


def _weights(session: TrainingSession) -> Tensor:
    """The weights as they are held: 24-bit ones with their last 8 bits."""
    held = getattr(session.optimizer, "get_param_fp32", lambda parameter, _state: parameter)
    state = session.optimizer.state
    return torch.cat(
        [held(parameter.detach(), state.get(parameter, {})).double().flatten() for parameter in session.parameters]
    )


def _compared(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Cosine between two updates, and the length of the first as a share of the second's."""
    return float(found @ wanted / found.norm() / wanted.norm()), float(found.norm() / wanted.norm())


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("master", ["float32", "float24", "stochastic"])
def test_the_total_update_is_that_of_a_float32_run(
    total_update: Any, record_ratio: Any, master: str, rate: float
) -> None:
    cosine, length = _compared(total_update("bf16", master, rate), total_update("no", "auto", rate))
    size = f"tiny 2.3, t2a, every weight, {STEPS} steps, bf16 compute; the float32 run computes in float32 too"
    limit = LENGTH_TOLERANCE.get(master)
    turned = None if limit is None else 1 - LEAST_COSINE
    record_ratio(f"total update at {rate:g}, {master} weights: 1 - cosine", 1 - cosine, turned, size)
    record_ratio(f"total update at {rate:g}, {master} weights: error of its length", abs(length - 1), limit, size)
    if limit is not None:
        assert cosine >= LEAST_COSINE
        assert abs(length - 1) <= limit
