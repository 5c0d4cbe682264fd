"""metrics.jsonl: one row a step with the contract's fields, held-out rows apart."""

import json
from pathlib import Path

import pytest

from trainer_core import metrics
from trainer_core.files import append_jsonl
from trainer_core.metrics import StepMetrics, StepSeconds, append_step, described_steps, read_steps


def _step(number: int) -> StepMetrics:
    return StepMetrics(
        step=number,
        time_s=1000.5 + number,
        epoch=0,
        loss=1.5,
        loss_video=0.25,
        loss_audio=1.25,
        sigma_video=0.5,
        sigma_audio=None,
        lr=1e-4,
        grad_norm=0.1,
        step_s=StepSeconds(data=0.1, forward=0.2, backward=0.3, optimizer=0.4),
        memory_bytes=123,
        samples_seen=number,
        clips=["a\nb.mp4.pt"],
    )


def test_a_step_reads_back_with_every_field_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_step(path, _step(1))
    assert path.read_text().count("\n") == 1
    assert read_steps(path) == [
        {
            "step": 1,
            "time_s": 1001.5,
            "epoch": 0,
            "loss": 1.5,
            "loss_video": 0.25,
            "loss_audio": 1.25,
            "sigma_video": 0.5,
            "sigma_audio": None,
            "lr": 1e-4,
            "grad_norm": 0.1,
            "step_s": {"data": 0.1, "forward": 0.2, "backward": 0.3, "optimizer": 0.4},
            "memory_bytes": 123,
            "samples_seen": 1,
            "clips": ["a\nb.mp4.pt"],
            "changed_weights": None,
        }
    ]


def test_heldout_rows_and_half_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_step(path, _step(1))
    append_jsonl(path, {"step": 1, "heldout": {"video": 0.2, "audio": 1.1, "by_sigma_bin": []}})
    append_step(path, _step(2))
    with path.open("a") as handle:
        handle.write('{"step": 3, "loss":')
    assert [row["step"] for row in read_steps(path)] == [1, 2]


def test_no_file_yet_means_no_steps(tmp_path: Path) -> None:
    assert read_steps(tmp_path / "metrics.jsonl") == []


def test_a_long_run_is_described_by_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5}) + "\n" for step in range(1, 1001)]
    path.write_text("".join(lines) + '{"step": 1001, "lo')
    assert [row["step"] for row in described_steps(path)] == list(range(1, 1001))
    monkeypatch.setattr(metrics, "HEAD_BYTES", 90)
    for tail_bytes in range(500, 560):  # wherever the cut falls, only whole lines count
        monkeypatch.setattr(metrics, "TAIL_BYTES", tail_bytes)
        steps = [row["step"] for row in described_steps(path)]
        assert steps[:3] == [1, 2, 3]
        assert steps[3] > 900
        assert steps[3:] == list(range(steps[3], 1001))
