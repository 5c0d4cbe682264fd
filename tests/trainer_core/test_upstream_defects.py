"""Defects of the official trainer (see ARCHITECTURE.md) that no other test covers, each with the right behaviour."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open

from trainer_core.config import TrainingConfig, dump_config
from trainer_core.data.batch import Batch, ModalityBatch
from trainer_core.data.encoding.cache import read_tensors
from trainer_core.data.encoding.encode import encode_dataset
from trainer_core.data.windows import read_windows
from trainer_core.files import write_jsonl
from trainer_core.launch import launch
from trainer_core.model.tiny import tiny_source
from trainer_core.run_folder import create_run_folder
from trainer_core.sections.own import LtxAgentSection
from trainer_core.training.optimizer_step import sample_generators


def batch_of(indices: tuple[int, ...], epoch: int) -> Batch:
    count = len(indices)
    features = torch.zeros(count, 4, 4)
    video = ModalityBatch(torch.zeros(count, 128, 2, 2, 2), torch.full((count,), 24.0))
    return Batch(video, None, features, features, torch.ones(count, 4), ("a",) * count, indices, epoch)


def test_no_two_samples_share_their_noise_whatever_the_rank():
    seen = [
        torch.randn(4, generator=generator).tolist()
        for batch in (batch_of((0, 1), 0), batch_of((2,), 0), batch_of((0,), 1))
        for generator in sample_generators(42, batch)
    ]
    assert len({tuple(one) for one in seen}) == len(seen)


def test_the_same_sample_gets_the_same_noise_in_any_batch():
    alone, together = sample_generators(42, batch_of((5,), 3)), sample_generators(42, batch_of((1, 5), 3))
    assert torch.equal(torch.randn(8, generator=alone[0]), torch.randn(8, generator=together[1]))


def test_the_reference_scale_comes_from_the_latents_not_from_the_folder_one_stands_in(
    tmp_path, config_for, precomputed, monkeypatch
):
    for path in (precomputed / "reference_latents").rglob("*.pt"):
        torch.save({"latents": torch.zeros(128, 3, 1, 1), "fps": 24.0}, path)
    for directory in ("latents", "conditions"):
        for path in (precomputed / directory).rglob("*.pt"):
            content = torch.load(path, weights_only=True)
            if directory == "latents":
                content["latents"] = torch.zeros(128, 3, 2, 2)
            torch.save(content, path)
    run = create_run_folder(tmp_path / "runs")
    run.config_path.write_text(dump_config(config_for("v2v_ic", {"optimization": {"steps": 1}})))
    monkeypatch.chdir("/")
    assert launch(run) == 0, run.read_status().error
    with safe_open(run.checkpoints / "lora_weights_step_00001.safetensors", framework="pt") as file:
        metadata = file.metadata()
    for key in ("reference_downscale_factor", "reference_spatial_scale_factor", "ss_reference_downscale_factor"):
        assert metadata[key] == "2"
    assert "reference_temporal_scale_factor" not in metadata


def encoded(tmp_path: Path, config_for, objective: str, row: dict, frame_rate: float) -> tuple[TrainingConfig, str]:
    dataset = tmp_path / "project" / "dataset.jsonl"
    digest = hashlib.sha256(Path(row["video"]).read_bytes()).hexdigest()
    write_jsonl(dataset, [{"caption": "A meadow.", "sha256": digest, "has_audio": True, **row}])
    base = config_for(objective, {"data": {"preprocessed_data_root": str(tmp_path / "project" / ".precomputed")}})
    config = base.model_copy(update={"ltx_agent": LtxAgentSection(dataset=str(dataset), frame_rate=frame_rate)})
    encode_dataset(config)
    return config, read_windows(config)[0].name


def file_of(config: TrainingConfig, directory: str, name: str) -> dict:
    return read_tensors(Path(config.data.preprocessed_data_root) / directory / f"{name}.pt")


@pytest.fixture
def bunny(real_clips) -> Path:
    return next(path for path in sorted(real_clips.iterdir()) if "bunny" in path.name)


def test_a_mask_is_cropped_with_the_picture_not_stretched(tmp_path, config_for, bunny):
    mask = np.zeros((90, 160, 3), np.uint8)  # the picture is 16:9, the bucket square: the sides fall away
    mask[:, 35:125] = 255
    assert cv2.imwrite(str(tmp_path / "mask.png"), mask)
    row = {"video": str(bunny), "video_mask": str(tmp_path / "mask.png")}
    row["samples"] = [{"start_s": 0.0, "duration_s": 9 / 24, "bucket": "64x64x9"}]
    config, name = encoded(tmp_path, config_for, "video_inpainting", row, 24.0)
    assert float(file_of(config, "video_masks", name)["mask"].min()) == 1.0


def test_the_sound_is_as_long_as_its_window_at_any_frame_rate(tmp_path, config_for, bunny):
    row = {"video": str(bunny), "samples": [{"start_s": 0.0, "duration_s": 9 / 12, "bucket": "64x64x9"}]}
    config, name = encoded(tmp_path, config_for, "t2v", row, 12.0)
    sound = file_of(config, "audio_latents", name)
    assert sound["duration"] == 0.75
    assert sound["num_time_steps"] == 19  # 0.75 s at 25 a second, rounded up; 9 frames / 25 would give 9
    assert file_of(config, "latents", name)["fps"] == 12.0


def test_an_image_keeps_the_datasets_frame_rate(tmp_path, config_for):
    assert cv2.imwrite(str(tmp_path / "still.png"), np.full((64, 64, 3), 128, np.uint8))
    row = {
        "video": str(tmp_path / "still.png"),
        "samples": [{"start_s": 0.0, "duration_s": 1 / 24, "bucket": "64x64x1"}],
    }
    strategy = {"training_strategy": {"audio": None}}
    config, name = encoded(
        tmp_path, lambda objective, overlay: config_for(objective, {**overlay, **strategy}), "t2v", row, 24.0
    )
    latents = file_of(config, "latents", name)
    assert (latents["num_frames"], latents["fps"]) == (1, 24.0)


def test_vae_factors_come_from_the_checkpoint():
    factors = tiny_source("tiny").factors
    assert (factors.time, factors.height, factors.width) == (8, 32, 32)
    assert [factors.latent_frames(frames) for frames in (1, 9, 17, 89)] == [1, 2, 3, 12]
