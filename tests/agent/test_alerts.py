"""Watching a run costs little however long it is."""

import time
from pathlib import Path
from typing import Any

import pytest

import agent.session.alerts
from agent.session.alerts import Watch
from tools.project import Project
from trainer_core.files import append_jsonl
from trainer_core.run_folder import RunStatus, create_run_folder

STEP = {"data": 0.1, "forward": 0.5, "backward": 1.0, "optimizer": 0.1}


def row(step: int, loss: float) -> dict[str, Any]:
    values = {"epoch": 0, "lr": 1e-4, "grad_norm": 0.5, "memory_bytes": 1, "samples_seen": step, "clips": []}
    return {"step": step, "time_s": float(step), "loss": loss, "loss_video": loss, "step_s": STEP, **values}


def test_metrics_are_read_again_only_when_they_have_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    watch = Watch(project)
    run = create_run_folder(project.runs_path)
    reads: list[str] = []
    described = agent.session.alerts.describe_run

    def counted(folder: Any) -> Any:
        reads.append(folder.id)
        return described(folder)

    monkeypatch.setattr(agent.session.alerts, "describe_run", counted)
    for step in range(1, 201):
        append_jsonl(run.metrics_path, row(step, 1.0))
    run.write_status(RunStatus("queued", step=200, steps=4000, started_at=time.time()))
    watch.look()
    append_jsonl(run.metrics_path, row(201, 1.0))
    run.write_status(RunStatus("queued", step=201, steps=4000, started_at=time.time()))
    assert watch.look() == []
    assert len(reads) == 1
    for step in range(202, 401):
        append_jsonl(run.metrics_path, row(step, 0.02 * 1.03**step))
    run.write_status(RunStatus("queued", step=400, steps=4000, started_at=time.time()))
    assert [alert.level for alert in watch.look()] == ["stop"]
    assert len(reads) == 2
    run.write_status(RunStatus("failed", step=400, steps=4000, started_at=time.time(), error="Gone."))
    assert ["failed" in alert.message for alert in watch.look()] == [True]
    assert len(reads) == 3
