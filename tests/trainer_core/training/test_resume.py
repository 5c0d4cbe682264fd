"""Resuming gives what an uninterrupted run gives, bit for bit, whenever and however it was interrupted."""

from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file

from trainer_core.config import TrainingConfig
from trainer_core.files import read_jsonl
from trainer_core.launch import launch
from trainer_core.run_folder import RunFolder
from trainer_core.training.state import read_state

NewRun = Callable[[TrainingConfig], RunFolder]
TIMES = frozenset({"time_s", "step_s", "memory_bytes", "seconds"})


def measured(run: RunFolder) -> list[dict[str, Any]]:
    """Every metrics row without what a clock or the machine decides."""
    return [{key: value for key, value in row.items() if key not in TIMES} for row in read_jsonl(run.metrics_path)]


def weights(run: RunFolder, step: int) -> dict[str, torch.Tensor]:
    found = {}
    for path in run.checkpoints.glob(f"*_step_{step:05d}.safetensors"):
        found |= {f"{path.name}:{key}": tensor for key, tensor in load_file(path).items()}
    return found


def content(run: RunFolder, step: int) -> dict[str, Any]:
    saved = read_state(run.states / f"step_{step:05d}").content
    return {key: value for key, value in saved.items() if key not in ("resumes_done",)}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def assert_same_end(run: RunFolder, reference: RunFolder, step: int = 12) -> None:
    assert measured(run) == measured(reference)
    mine, others = weights(run, step), weights(reference, step)
    assert mine.keys() == others.keys()
    assert mine
    assert all(torch.equal(mine[key], others[key]) for key in mine)
    assert equal(content(run, step), content(reference, step))
    assert list(run.path.rglob(".part-*")) == []


def test_a_stopped_run_goes_on_as_if_it_had_not_been(new_run: NewRun, exact_run: Callable[..., TrainingConfig]) -> None:
    reference, run = new_run(exact_run()), new_run(exact_run())
    assert launch(reference) == 0
    assert [row["step"] for row in read_jsonl(reference.metrics_path) if "heldout" in row] == [0, 3, 6, 9, 12]
    run.stop_request_path.write_text("stop")
    assert launch(run) == 0
    run.stop_request_path.unlink()
    assert launch(run) == 0
    assert_same_end(run, reference)
