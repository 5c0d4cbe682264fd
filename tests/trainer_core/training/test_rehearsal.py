"""A rehearsal runs the largest sample once through everything, measures it, and leaves the dataset alone."""

from pathlib import Path

import pytest
import torch

from trainer_core.config import TrainingConfig
from trainer_core.errors import DataError
from trainer_core.files import write_jsonl
from trainer_core.objective import OBJECTIVE_NAMES
from trainer_core.training.rehearsal import rehearse
from trainer_core.training.worst_batch import worst_data

SAMPLE = {"video_dims": [64, 64, 9], "samples": [{"prompt": "a fox"}], "inference_steps": 2}


def peak(config: TrainingConfig, folder: Path) -> int:
    found = rehearse(config, folder)
    assert found.error is None
    return max(stage.tensors or 0 for stage in found.stages)


def test_every_stage_is_measured_and_what_cannot_be_is_said(tmp_path, config_for):
    config = config_for("t2v", {"validation": SAMPLE, "optimization": {"batch_size": 2}})
    found = rehearse(config, tmp_path / "rehearsal")
    assert found.error is None
    stages = {stage.name: stage for stage in found.stages}
    assert list(stages) == ["encoding prompts", "loading", "training step", "evaluation", "sampling", "saving"]
    assert found.real_sample
    assert found.step_s is not None
    assert all(stage.host > 2**26 for stage in found.stages)
    step = stages["training step"]
    assert step.tensors is not None
    assert step.tensors > 4_000_000  # the tiny model in float32 is 1.7 MB; its activations are more
    assert (step.allocated, step.reserved, step.driver) == (None, None, None)
    assert any("card" in what for what in found.not_measured)


def test_memory_that_runs_out_is_a_result_with_its_stage(tmp_path, config_for):
    config = config_for("t2v", {"ltx_agent": {"memory": {"limit_gb": 0.003}}})
    found = rehearse(config, tmp_path / "rehearsal")
    assert found.ran_out == "training step"
    assert found.error is None


@pytest.mark.parametrize("objective", OBJECTIVE_NAMES)
def test_the_worst_data_serves_every_objective_before_anything_is_encoded(tmp_path, config_for, objective):
    config = config_for(objective)
    rows = [{"start_s": 0.0, "duration_s": 0.7, "bucket": size} for size in ("64x64x9", "96x64x17", "96x64x9")]
    write_jsonl(tmp_path / "dataset.jsonl", [{"video": "a.mp4", "caption": "a", "samples": rows, "has_audio": True}])
    empty = config.model_copy(
        update={
            "data": config.data.model_copy(update={"preprocessed_data_root": str(tmp_path / "nothing")}),
            "ltx_agent": config.ltx_agent.model_copy(update={"dataset": str(tmp_path / "dataset.jsonl")}),
        }
    )
    small, what, real = worst_data(empty, tmp_path / "rehearsal")
    assert not real
    assert "random numbers" in what
    assert small.ltx_agent.dataset is None
    latents = sorted((tmp_path / "rehearsal" / "data").rglob("*.pt"))
    assert latents
    if config.strategy.video is not None:
        assert torch.load(tmp_path / "rehearsal" / "data" / "latents" / "worst-0.pt")["latents"].shape == (128, 3, 2, 3)


def test_data_that_nobody_declared_is_refused(tmp_path, config_for):
    config = config_for("t2v")
    empty = config.model_copy(
        update={"data": config.data.model_copy(update={"preprocessed_data_root": str(tmp_path / "nothing")})}
    )
    with pytest.raises(DataError, match="Nothing says"):
        worst_data(empty, tmp_path / "rehearsal")
