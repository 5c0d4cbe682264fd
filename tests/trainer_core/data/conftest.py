"""A dataset of two clips, three windows each, and the config of its encode."""

import hashlib
from pathlib import Path

import pytest

from trainer_core.config import TrainingConfig
from trainer_core.files import write_jsonl
from trainer_core.sections.own import LtxAgentSection


@pytest.fixture
def encode_rows(tmp_path: Path, real_clips: Path) -> Path:
    """dataset.jsonl: both clips of Big Buck Bunny, with sound."""
    samples = [{"start_s": index * 0.375, "duration_s": 9 / 24, "bucket": "96x64x9"} for index in range(3)]
    rows = [
        {
            "video": str(clip),
            "caption": f"{clip.stem}: a white rabbit in a meadow.",
            "sha256": hashlib.sha256(clip.read_bytes()).hexdigest(),
            "has_audio": True,
            "samples": samples,
        }
        for clip in sorted(real_clips.glob("bunny*"))
    ]
    path = tmp_path / "project" / "dataset.jsonl"
    write_jsonl(path, rows)
    return path


@pytest.fixture
def encode_config(config_for, encode_rows: Path, tmp_path: Path) -> TrainingConfig:
    """t2v on these rows: 6 samples, 18 files."""
    base = config_for("t2v", {"data": {"preprocessed_data_root": str(tmp_path / "project/.precomputed")}})
    return base.model_copy(update={"ltx_agent": LtxAgentSection(dataset=str(encode_rows), frame_rate=24.0)})
