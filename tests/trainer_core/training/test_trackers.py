"""Trackers read what the run writes: real TensorBoard files; a tracker that fails is an event."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer_core.config import TrainingConfig, settings_without_effect
from trainer_core.files import append_jsonl
from trainer_core.run_folder import RunFolder, RunStatus, create_run_folder
from trainer_core.sampling.index import SampleIndex, SampleRow
from trainer_core.sampling.mux import write_png
from trainer_core.training import trackers
from trainer_core.training.keeper import StatusKeeper

ROW = {
    "step": 1,
    "time_s": 0.0,
    "epoch": 0,
    "loss": 0.5,
    "loss_audio": None,
    "step_s": {"forward": 0.25},
    "clips": ["a"],
}
HELDOUT = {"step": 1, "heldout": {"video": 0.75, "by_sigma_bin": [1, 2]}}


def written(run: RunFolder) -> None:
    """Two rows of figures and one sample."""
    append_jsonl(run.metrics_path, ROW)
    append_jsonl(run.metrics_path, HELDOUT)
    write_png(run.samples / "01" / "x.png", np.zeros((8, 8, 3), np.uint8), {})
    index = SampleIndex("model", True)
    index.samples.append(SampleRow("01", 1, True, "image", "01/x.png", "01/x.png", 1.0, 0.0))
    index.write(run.samples)


def follow(
    config: TrainingConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[RunFolder, list[dict[str, Any]]]:
    from accelerate import Accelerator

    Accelerator(cpu=True)  # as a run has made one before
    monkeypatch.setattr(trackers, "_POLL_S", 0.01)
    run = create_run_folder(folder / "runs")
    with StatusKeeper(run, RunStatus("running")) as keeper, trackers.tracked(config, run, keeper):
        written(run)
    lines = run.events_path.read_text().splitlines() if run.events_path.exists() else []
    return run, [json.loads(line) for line in lines]


def test_tensorboard_gets_figures_and_samples(
    config_for: Callable[..., TrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = config_for("t2v", {"ltx_agent": {"trackers": {"tensorboard": True}}})
    run, events = follow(config, tmp_path, monkeypatch)
    assert events == []
    seen = EventAccumulator(str(run.path / "tensorboard"))
    seen.Reload()
    tags = seen.Tags()
    assert {"loss", "step_s/forward", "heldout/video"} <= set(tags["scalars"])
    assert "clips" not in str(tags["scalars"])
    assert tags["images"] == ["samples/01/adapter"]
    assert [event.value for event in seen.Scalars("loss")] == [0.5]


def test_a_tracker_that_fails_is_an_event(
    config_for: Callable[..., TrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setitem(trackers._OPENERS, "wandb", broken)
    monkeypatch.setattr(trackers, "find_spec", lambda _name: object())
    _, events = follow(config_for("t2v", {"wandb": {"enabled": True}}), tmp_path, monkeypatch)
    assert [(event["kind"], event["tracker"]) for event in events] == [("tracker failed", "wandb")]
    assert "no route" in events[0]["error"]


def test_a_tracker_that_is_not_installed_is_named(
    config_for: Callable[..., TrainingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer_core.config.find_spec", lambda _name: None)
    config = config_for("t2v", {"wandb": {"enabled": True}, "ltx_agent": {"trackers": {"trackio": True}}})
    notes = settings_without_effect(config)
    assert [note.split(":")[0] for note in notes] == ["wandb.enabled", "ltx_agent.trackers.trackio"]
    monkeypatch.setattr("trainer_core.config.find_spec", lambda _name: object())
    assert settings_without_effect(config) == []
