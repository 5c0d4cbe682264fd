"""The held-out evaluation: fixed, apart from training, within its share of the time, and it moves nothing."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trainer_core.config import TrainingConfig
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import read_json, read_jsonl
from trainer_core.launch import launch
from trainer_core.metrics import heldout_rows, read_steps
from trainer_core.run_folder import RunFolder
from trainer_core.training.evaluation.heldout import fitted_interval, least_interval
from trainer_core.training.evaluation.split import divide
from trainer_core.verdict.heldout import best_evaluated

NewRun = Callable[[TrainingConfig], RunFolder]
HELD = {"ltx_agent": {"evaluation": {"interval": 2, "clips": ["clips/clip 1", "clips/clip 3"]}}}


@pytest.fixture
def evaluated(new_run: NewRun, config_for: Any) -> RunFolder:
    run = new_run(config_for("t2v", {**HELD, "checkpoints": {"interval": 2, "keep_last_n": 1}}))
    assert launch(run) == 0
    return run


def test_rows_are_by_modality_bin_and_clip_and_relative_to_step_0(evaluated: RunFolder) -> None:
    rows = heldout_rows(evaluated.metrics_path)
    assert [row["step"] for row in rows] == [0, 2, 4, 6]
    for part, clips in (("heldout", {"clips/clip 1", "clips/clip 3"}), ("train", None)):
        first, last = rows[0][part], rows[-1][part]
        assert first["relative"] == {"video": 1.0, "audio": 1.0}
        assert last["relative"]["video"] == pytest.approx(last["video"] / first["video"])
        assert list(last["by_sigma_bin"]["video"]) == ["0.00-0.25", "0.25-0.50", "0.50-0.75", "0.75-1.00"]
        bins = list(last["by_sigma_bin"]["audio"].values())
        assert last["audio"] == pytest.approx(sum(bins) / len(bins))
        assert last["audio"] == pytest.approx(sum(one["audio"] for one in last["clips"].values()) / len(last["clips"]))
        if clips:
            assert set(last["clips"]) == clips
    assert not set(rows[0]["train"]["clips"]) & set(rows[0]["heldout"]["clips"])


def test_what_is_held_out_is_never_trained_on(evaluated: RunFolder) -> None:
    seen = {clip for row in read_steps(evaluated.metrics_path) for clip in row["clips"]}
    assert seen == {"clips/clip 0.pt", "clips/clip 2.pt"}


def test_the_best_checkpoint_is_kept_marked_and_linked(evaluated: RunFolder) -> None:
    best = best_evaluated([row for row in heldout_rows(evaluated.metrics_path) if row["step"] > 0])
    status = evaluated.read_status()
    assert status.best_checkpoint == f"checkpoints/lora_weights_step_{best:05d}.safetensors"
    assert (evaluated.checkpoints / "best.safetensors").resolve() == (evaluated.path / status.best_checkpoint).resolve()
    assert (evaluated.checkpoints / "lora_weights_step_00006.safetensors").exists()


def test_evaluating_changes_nothing_that_is_trained(new_run: NewRun, config_for: Any) -> None:
    dropout = {"lora": {"dropout": 0.2}}
    seldom = {"evaluation": {**HELD["ltx_agent"]["evaluation"], "interval": 100}}
    often, rarely = (new_run(config_for("t2v", {**dropout, **overlay})) for overlay in (HELD, {"ltx_agent": seldom}))
    assert launch(often) == launch(rarely) == 0
    one, other = (load_file(run.checkpoints / "lora_weights_step_00006.safetensors") for run in (often, rarely))
    assert all(torch.equal(one[key], other[key]) for key in one)
    first, second = (heldout_rows(run.metrics_path)[-1] for run in (often, rarely))
    assert first["heldout"]["clips"] == second["heldout"]["clips"]  # the same noise, however often it was evaluated


def test_the_average_is_what_is_evaluated_and_saved_beside(new_run: NewRun, config_for: Any) -> None:
    overlay = {"ltx_agent": {**HELD["ltx_agent"], "training": {"ema_decay": 0.5}}}
    run, plain = new_run(config_for("t2v", overlay)), new_run(config_for("t2v", HELD))
    assert launch(run) == launch(plain) == 0
    raw, average, other = (
        load_file(one.checkpoints / f"{name}lora_weights_step_00006.safetensors")
        for one, name in ((run, ""), (run, "ema_"), (plain, ""))
    )
    assert all(torch.equal(raw[key], other[key]) for key in raw)
    assert any(not torch.equal(raw[key], average[key]) for key in raw)
    values = [heldout_rows(one.metrics_path)[-1]["heldout"]["video"] for one in (run, plain)]
    assert values[0] != values[1]
    assert run.read_status().best_checkpoint == "checkpoints/ema_lora_weights_step_00006.safetensors"


def test_the_interval_follows_from_measured_times(new_run: NewRun, config_for: Any) -> None:
    overlay = {
        "optimization": {"steps": 40},
        "checkpoints": {"interval": 20},
        "ltx_agent": {"evaluation": {"share": 0.5, "clips": ["clips/clip 3"]}},
    }
    run = new_run(config_for("t2v", overlay))
    assert launch(run) == 0
    plan = read_json(run.evaluation_path)
    assert plan["interval"] is not None
    assert plan["interval"] % 20 == 0 or 20 % plan["interval"] == 0
    rows = [row["step"] for row in heldout_rows(run.metrics_path)]
    assert rows[0] == 0
    assert rows[-1] == 40


@pytest.mark.parametrize(
    ("least", "checkpoints", "interval"),
    [(97, None, 97), (97, 250, 125), (1, 250, 1), (251, 250, 500), (250, 250, 250)],
)
def test_an_interval_meets_the_checkpoints(least: int, checkpoints: int | None, interval: int) -> None:
    assert fitted_interval(least, checkpoints) == interval


@pytest.mark.parametrize("evaluation_s", [0.5, 3.0, 40.0])
def test_the_interval_keeps_to_the_share_with_first_and_last_evaluation(evaluation_s: float) -> None:
    steps, step_s, share = 2000, 1.0, 0.05
    interval = least_interval(share, steps, step_s, evaluation_s)
    times = len({0, steps, *range(0, steps, interval)})
    assert times * evaluation_s <= share * steps * step_s or times == 2
    assert least_interval(share, steps, step_s, 1e6) == steps


def test_a_name_that_is_no_sample_and_holding_all_out_are_refused(new_run: NewRun, config_for: Any) -> None:
    for clips, code in (
        (["clips/clip 9"], ConfigError.exit_code),
        ([f"clips/clip {n}" for n in range(4)], DataError.exit_code),
    ):
        run = new_run(config_for("t2v", {"ltx_agent": {"evaluation": {"clips": clips}}}))
        assert launch(run) == code


def test_a_clips_name_stands_for_its_windows() -> None:
    from trainer_core.data.dataset import SampleFiles

    samples = [SampleFiles(f"a/one.mp4.{index:03d}.pt", {}, ()) for index in range(2)]
    samples.append(SampleFiles("a/other.mp4.000.pt", {}, ()))
    train, held = divide(samples, {"a/one.mp4"})
    assert [sample.name for sample in held] == ["a/one.mp4.000.pt", "a/one.mp4.001.pt"]
    assert [sample.name for sample in train] == ["a/other.mp4.000.pt"]


def test_a_run_without_held_out_clips_trains_as_before(new_run: NewRun, config_for: Any) -> None:
    run = new_run(config_for("t2v", {"optimization": {"steps": 2}}))
    assert launch(run) == 0
    assert heldout_rows(run.metrics_path) == []
    assert math.isfinite(read_jsonl(run.metrics_path)[-1]["loss"])
