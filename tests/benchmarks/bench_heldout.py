"""What the held-out evaluation costs of the training time, at the interval that it derives for itself."""

import statistics
import time
from itertools import repeat
from pathlib import Path

import pytest
import torch
import yaml

from trainer_core.config import parse_config
from trainer_core.objective import load_recipe, merged
from trainer_core.run_folder import create_run_folder
from trainer_core.training.evaluation.heldout import Evaluator, fitted_interval, least_interval
from trainer_core.training.optimizer_step import optimize, prepare_step
from trainer_core.training.setup import TrainingSession, set_up

pytestmark = pytest.mark.bench

CLIPS, TIMED_STEPS, TIMED_EVALUATIONS = 12, 30, 3


def write_samples(root: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for index in range(CLIPS):
        contents = {
            "latents": {
                "latents": torch.randn(128, 7, 8, 14, generator=generator),
                "num_frames": 7,
                "height": 8,
                "width": 14,
                "fps": 24.0,
            },
            "audio_latents": {"latents": torch.randn(8, 51, 16, generator=generator)},
            "conditions": {
                "video_prompt_embeds": torch.randn(512, 64, generator=generator),
                "audio_prompt_embeds": torch.randn(512, 32, generator=generator),
                "prompt_attention_mask": torch.arange(512) > 300,
            },
        }
        for directory, content in contents.items():
            (root / directory).mkdir(parents=True, exist_ok=True)
            torch.save(content, root / directory / f"clip_{index:02d}.pt")


def session_for(folder: Path) -> TrainingSession:
    overlay = {
        "model": {"model_path": "tiny"},
        "data": {"preprocessed_data_root": str(folder / "latents"), "num_dataloader_workers": 0},
        "acceleration": {"mixed_precision_mode": "no"},
        "optimization": {"enable_gradient_checkpointing": False},
        "ltx_agent": {"evaluation": {"clips": [f"clip_{index:02d}" for index in range(3)]}},
    }
    config = parse_config(yaml.safe_dump(merged(load_recipe("t2v"), overlay)))
    return set_up(config, create_run_folder(folder / "runs"))


def test_cost_of_the_held_out_evaluation(tmp_path, record_ratio):
    write_samples(tmp_path / "latents")
    session = session_for(tmp_path)
    evaluator = Evaluator(session)
    inputs = repeat(prepare_step(session, session.stream[0]))
    for step in range(TIMED_STEPS):
        optimize(session, inputs, step)
    step_s = session.pace.step_s()
    assert step_s is not None
    seconds = []
    for step in range(TIMED_EVALUATIONS):
        started = time.perf_counter()
        evaluator.evaluate(step)
        seconds.append(time.perf_counter() - started)
    evaluation_s = statistics.median(seconds)
    steps, share = session.config.optimization.steps, evaluator.plan.share
    interval = fitted_interval(least_interval(share, steps, step_s, evaluation_s), session.config.checkpoints.interval)
    times = len({0, steps, *range(0, steps, interval)})
    note = (
        f"{evaluator.plan.forwards} forward passes every {interval} of {steps} steps, {times} times with the first and "
        f"the last; {evaluation_s / step_s:.1f} steps' time each"
    )
    record_ratio("held-out evaluation against training time", times * evaluation_s / (steps * step_s), 0.05, note)
