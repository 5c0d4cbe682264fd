"""Trackers read what the run writes: real TensorBoard files; a tracker that fails is an event."""

import json
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer_core.config import TrainingConfig, settings_without_effect
from trainer_core.files import append_jsonl
from trainer_core.run_folder import RunFolder, RunStatus, create_run_folder
from trainer_core.sampling.index import SampleIndex, SampleRow
from trainer_core.sampling.mux import write_png
from trainer_core.training.monitoring import trackers
from trainer_core.training.monitoring.status_writer import StatusKeeper

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


def wandb_records(path: Path) -> Iterator[bytes]:
    """Records of an offline run: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB, whose parts have
    a checksum (4 bytes), a length (2) and a type (1 whole, 2 first, 3 middle, 4 last)."""
    data, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def test_wandb_gets_figures_and_samples_offline(
    config_for: Callable[..., TrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run, events = follow(config_for("t2v", {"wandb": {"enabled": True}}), tmp_path, monkeypatch)
    assert events == []
    seen: dict[str, str] = {}
    for data in wandb_records(next((run.path / "wandb").glob("offline-run-*/*.wandb"))):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.HasField("history"):
            for item in record.history.item:
                seen[item.key or "/".join(item.nested_key)] = item.value_json
    assert (seen["loss"], seen["step_s/forward"], seen["heldout/video"]) == ("0.5", "0.25", "0.75")
    assert seen["samples/01/adapter/_type"] == '"image-file"'
    assert seen["samples/step"] == "1"


def test_trackio_gets_figures_and_samples(
    config_for: Callable[..., TrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    config = config_for("t2v", {"ltx_agent": {"trackers": {"trackio": True}}})
    _, events = follow(config, tmp_path, monkeypatch)
    assert events == []
    with closing(sqlite3.connect(tmp_path / "trackio" / f"{config.wandb.project}.db")) as database:
        rows = [json.loads(text) for (text,) in database.execute("SELECT metrics FROM metrics ORDER BY id")]
    figures = {name: value for row in rows for name, value in row.items()}
    assert (figures["loss"], figures["heldout/video"]) == (0.5, 0.75)
    assert figures["samples/01/adapter"]["_type"] == "trackio.image"


def test_a_sample_that_comes_late_is_passed_on_between_the_rows(
    config_for: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    told: list[tuple[str, int]] = []

    class Recorder:
        def log(self, values: dict[str, Any], step: int) -> None:
            told.append(("row", step))

    run = create_run_folder(tmp_path / "runs")
    feed = trackers._Feed("tensorboard", config_for("t2v"), run, None)  # type: ignore[arg-type]
    for step in (1, 2, 3):
        append_jsonl(run.metrics_path, {**ROW, "step": step})
    index = SampleIndex("model", True)
    index.samples += [SampleRow("01", step, True, "image", f"{step}.png", "", 1.0, 0.0) for step in (1, 2)]
    index.write(run.samples)
    shown = pytest.MonkeyPatch()
    shown.setitem(trackers._SHOWERS, "tensorboard", lambda _t, _f, row: told.append(("sample", row.step)))
    try:
        feed._pass_on(Recorder())
        feed._pass_on(Recorder())
    finally:
        shown.undo()
    assert told == [("row", 1), ("sample", 1), ("row", 2), ("sample", 2), ("row", 3)]


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
