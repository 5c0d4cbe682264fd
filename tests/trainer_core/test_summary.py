"""run-summary.md says what the run's files say, and lets no anybody's text out of its place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer_core.config import TrainingConfig, dump_config
from trainer_core.files import file_digest
from trainer_core.launch import launch
from trainer_core.run_folder import RunFolder, create_run_folder
from trainer_core.summary import safetensors_metadata


@pytest.fixture
def run(tmp_path: Path, config_for: Callable[..., TrainingConfig]) -> RunFolder:
    overlay: dict[str, Any] = {
        "optimization": {"steps": 4},
        "checkpoints": {"interval": 2, "keep_last_n": 2},
        "ltx_agent": {"evaluation": {"interval": 2, "clips": ["clips/clip 3"]}, "trigger": "a|b <script>"},
    }
    run = create_run_folder(tmp_path / "runs")
    run.config_path.write_text(dump_config(config_for("t2v", overlay)))
    assert launch(run) == 0
    return run


def test_the_summary_of_a_run(run: RunFolder) -> None:
    text = run.summary_path.read_text(encoding="utf-8")
    assert text.startswith(f"# Run {run.id}: finished at step 4 of 4")
    assert "tiny random model" in text
    assert f"`{file_digest(run.config_path)}`" in text
    for path in run.checkpoints.glob("lora*"):
        line = next(line for line in text.splitlines() if f"checkpoints/{path.name}" in line)
        assert f"`{file_digest(path)}`" in line
        assert "weak" in line or "healthy" in line or "dead" in line
        assert safetensors_metadata(path)["base_fingerprint"] in line
    assert "best by held-out loss" in text
    assert "3 to train on, 1 held out" in text
    assert "| 4 | video " in text
    assert "resume" in text
    assert "--steps 6" in text
    assert "of the training time" in text
    assert "| optimizer | adamw |" in text
    assert "| weights held in | float32 |" in text


def test_the_doctors_findings_are_kept(run: RunFolder) -> None:
    from trainer_core.files import read_jsonl

    rows = read_jsonl(run.doctor_path)
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        assert set(row["prediction_change"]) == {"video", "audio"}
        assert row["matched"] == row["modules"] > 0
        assert row["sha256"] == file_digest(Path(row["file"]))


def test_a_file_without_metadata_has_none(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"short")
    assert safetensors_metadata(tmp_path / "x.safetensors") == {}
