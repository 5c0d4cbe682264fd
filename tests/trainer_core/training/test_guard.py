"""A step that is not finite: what is named, what is never applied, what may be skipped."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer_core.config import TrainingConfig
from trainer_core.data.batch import Batch
from trainer_core.files import read_jsonl
from trainer_core.launch import launch
from trainer_core.metrics import read_steps
from trainer_core.run_folder import RunFolder
from trainer_core.training.monitoring.non_finite import describe, find_non_finite
from trainer_core.training.step import StepLoss

NewRun = Callable[[TrainingConfig], RunFolder]


class Model(nn.Module):
    """Two layers in a row, the second with what a test does to it in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, inputs: Tensor, root: bool) -> Tensor:
        hidden = self.first(inputs)
        return self.second((hidden - hidden).sqrt() if root else hidden)


def batch(*clips: str) -> Batch:
    empty = torch.zeros(len(clips), 1, 1)
    return Batch(None, None, empty, empty, empty, clips, tuple(range(len(clips))))


def forward_on(model: Model, inputs: Tensor, root: bool = False) -> Callable[[Batch], StepLoss]:
    def forward(_batch: Batch) -> StepLoss:
        video = model(inputs, root).square().mean(dim=1)
        return StepLoss(video, None, torch.full((len(inputs),), 0.5), None)

    return forward


def test_the_sample_and_the_first_module_are_named() -> None:
    model = Model()
    inputs = torch.ones(2, 3)
    inputs[1, 0] = float("nan")
    found = find_non_finite(model, [batch("good", "bad")], forward_on(model, inputs))
    assert (found.clips, found.modalities, found.module, found.how) == (["bad"], ["video"], "first", "input")
    told = describe(7, found, ["good", "bad"])
    assert "Step 7: the video loss is not finite (clips: bad; sigma_video 0.500)" in told
    assert "non-finite input is first" in told


@pytest.mark.parametrize("kind", ["weight", "activation"])
def test_a_bad_weight_is_told_from_an_overflow(kind: str) -> None:
    model = Model()
    with torch.no_grad():
        if kind == "weight":
            model.second.weight[0, 0] = float("inf")
        else:
            model.second.weight.fill_(3e38)
            model.second.bias.fill_(3e38)
    found = find_non_finite(model, [batch("a")], forward_on(model, torch.full((1, 3), 1e3)))
    assert (found.module, found.how) == ("second", kind)


def test_a_gradient_that_alone_is_not_finite_is_named_and_left_nowhere() -> None:
    model = Model()
    found = find_non_finite(model, [batch("a")], forward_on(model, torch.ones(1, 3), root=True))
    assert found.modalities == []
    assert found.gradients[0] == "first.weight"
    assert "gradient of first.weight" in describe(1, found, ["a"])
    assert all(parameter.grad is None for parameter in model.parameters())


def poison(precomputed: Path, clip: int) -> None:
    path = precomputed / f"latents/clips/clip {clip}.pt"
    content = torch.load(path, weights_only=True)
    content["latents"][0, 0, 0, 0] = float("nan")
    torch.save(content, path)


def test_a_run_stops_before_the_update_and_keeps_what_it_had(
    new_run: NewRun, config_for: Any, precomputed: Path
) -> None:
    poison(precomputed, 2)
    run = new_run(config_for("t2v", {"optimization": {"steps": 8}}))
    assert launch(run) == 3, "the data is broken, not the training"
    status = run.read_status()
    error = status.error or ""
    assert status.state == "failed"
    assert "the video latents of clips/clip 2.pt hold 1 numbers that are not finite" in error
    assert "clips: clips/clip 2.pt;" in error
    assert "sigma_video" in error
    assert "first module with a non-finite input is transformer.proj_in" in error
    rows = read_steps(run.metrics_path)
    # the last whole step is saved, to go on from
    assert run.state_steps() == ([rows[-1]["step"]] if rows else [])


def test_bad_steps_are_skipped_and_counted_when_the_config_says_so(
    new_run: NewRun, config_for: Any, precomputed: Path
) -> None:
    poison(precomputed, 2)
    run = new_run(config_for("t2v", {"optimization": {"steps": 8}, "ltx_agent": {"training": {"non_finite": "skip"}}}))
    assert launch(run) == 0
    rows = read_steps(run.metrics_path)
    assert [row["step"] for row in rows] == list(range(1, 9))
    skipped = [row for row in rows if row["loss"] is None]
    assert {clip for row in skipped for clip in row["clips"]} == {"clips/clip 2.pt"}
    assert len(skipped) == 2  # once an epoch of four
    assert all(math.isfinite(row["loss"]) for row in rows if row["loss"] is not None)
    told = [event["message"] for event in run.events() if event["kind"] == "skipped step"]
    assert len(told) == 2
    assert "Skipped: 2 of at most 10" in told[1]


def test_more_skips_than_allowed_end_the_run(new_run: NewRun, config_for: Any, precomputed: Path) -> None:
    poison(precomputed, 2)
    guard = {"non_finite": "skip", "max_skipped_steps": 1}
    run = new_run(config_for("t2v", {"optimization": {"steps": 12}, "ltx_agent": {"training": guard}}))
    assert launch(run) == 3
    assert len([row for row in read_jsonl(run.metrics_path) if row.get("loss", 0) is None]) == 1
