"""A run that begins from a LoRA: what of it the run doesn't train is kept and saved unchanged, or dropped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from trainer_core.config import TrainingConfig
from trainer_core.launch import launch
from trainer_core.run_folder import RunFolder

ConfigFor = Callable[..., TrainingConfig]
NewRun = Callable[[TrainingConfig], RunFolder]


@pytest.fixture
def both(config_for: ConfigFor, new_run: NewRun) -> Path:
    """A LoRA of picture, sound and exchange that a t2v run saved, its layers moved."""
    run = new_run(config_for("t2v", {"optimization": {"steps": 2}}))
    assert launch(run) == 0, run.read_status().error
    path = run.path / str(run.read_status().last_checkpoint)
    generator = torch.Generator().manual_seed(5)
    moved = {key: torch.randn(tensor.shape, generator=generator) * 0.1 for key, tensor in load_file(path).items()}
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(moved, path.with_name("both.safetensors"), metadata=metadata)
    return path.with_name("both.safetensors")


def _continued(config_for: ConfigFor, new_run: NewRun, path: Path, **overlay: Any) -> tuple[RunFolder, dict[str, Any]]:
    config = config_for(
        "v2v_ic",
        {
            "model": {"load_checkpoint": str(path)},
            "lora": {"target_modules": [f"{block}.{layer}" for block in ("attn1", "attn2") for layer in LAYERS]},
            "optimization": {"steps": 2},
            **overlay,
        },
    )
    run = new_run(config)
    assert launch(run) == 0, run.read_status().error
    return run, load_file(run.path / str(run.read_status().last_checkpoint))


LAYERS = ("to_k", "to_q", "to_v", "to_out.0")


def _said(run: RunFolder) -> str:
    return " ".join(event.get("message", "") for event in run.events() if event["kind"] == "continued")


def test_layers_of_sound_stay_as_they_are_in_a_video_only_run(
    config_for: ConfigFor, new_run: NewRun, both: Path
) -> None:
    before = load_file(both)
    run, after = _continued(config_for, new_run, both)
    assert set(after) == set(before)
    trained = {key for key in before if ".attn1." in key or ".attn2." in key}
    others = set(before) - trained
    assert len(trained) == 2 * 2 * 8
    assert len(others) == 2 * 2 * 16
    for key in others:
        assert torch.equal(after[key], before[key]), key
    assert any(not torch.equal(after[key], before[key]) for key in trained)
    assert "32 layers of both.safetensors that this run doesn't train" in _said(run)
    assert "kept and saved unchanged; set ltx_agent.training.other_modules: drop" in _said(run)


def test_they_are_dropped_where_that_is_asked_for(config_for: ConfigFor, new_run: NewRun, both: Path) -> None:
    drop = {"ltx_agent": {"training": {"other_modules": "drop"}}}
    run, after = _continued(config_for, new_run, both, **drop)
    assert not any("audio" in key for key in after)
    assert "are dropped, as ltx_agent.training.other_modules asks" in _said(run)


def test_kept_layers_of_a_branch_that_is_there_act_while_it_trains(
    config_for: ConfigFor, new_run: NewRun, both: Path
) -> None:
    """In t2v every layer acts: trained on the picture's alone, the first loss is that of the whole file."""
    narrow = {"lora": {"target_modules": [f"attn1.{layer}" for layer in LAYERS]}}
    first = []
    for overlay in ({}, narrow):
        config = config_for("t2v", {"model": {"load_checkpoint": str(both)}, "optimization": {"steps": 2}, **overlay})
        run = new_run(config)
        assert launch(run) == 0, run.read_status().error
        first.append(json.loads(run.metrics_path.read_text().splitlines()[0])["loss"])
        saved = load_file(run.path / str(run.read_status().last_checkpoint))
        assert set(saved) == set(load_file(both))
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def test_a_layer_of_another_model_is_refused_whatever_is_asked_for(
    config_for: ConfigFor, new_run: NewRun, both: Path
) -> None:
    tensors = load_file(both)
    key = "diffusion_model.transformer_blocks.0.audio_attn1.to_q"
    tensors[f"{key}.lora_A.weight"] = torch.zeros(4, 99)
    save_file(tensors, both)
    config = config_for(
        "v2v_ic",
        {"model": {"load_checkpoint": str(both)}, "lora": {"target_modules": [f"attn1.{layer}" for layer in LAYERS]}},
    )
    run = new_run(config)
    assert launch(run) == 2
    error = str(run.read_status().error)
    assert "transformer_blocks.0.audio_attn1.to_q (32x99), which this model has as 32x32" in error
    assert "same LTX version" in error
