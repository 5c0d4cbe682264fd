"""A draft takes its switches from the rehearsal of this very training, and with them what samples may fill."""

from pathlib import Path
from typing import Any

from tools.draft.choices import Draft
from tools.draft.draft import DraftArguments
from tools.draft.fit import fitted
from tools.draft.tool import draft_config
from tools.rehearsal.rehearse import (
    REHEARSAL_NAME,
    RehearseArguments,
    RehearseResult,
    Trial,
    digest,
    rehearse_training,
)
from trainer_core.config import TrainingConfig, parse_config
from trainer_core.config_paths import resolve_paths
from trainer_core.files import write_json

from .conftest import make_clip

CONFIG = {
    "model": {"model_path": "tiny"},
    "lora": {"rank": 4, "alpha": 4},
    "training_strategy": {"name": "flexible", "video": {"is_generated": True, "latents_dir": "latents"}, "audio": None},
    "optimization": {"steps": 2},
    "data": {"preprocessed_data_root": "data"},
    "output_dir": "runs",
}

CHANGES = {"acceleration.quantization": "int8-quanto", "ltx_agent.memory.samples_gb": 20.5}


def rehearsed(folder: Path, config: dict[str, Any], device_peak_bytes: int | None) -> Draft:
    parsed: TrainingConfig = resolve_paths(parse_config_of(config), folder)
    trial = Trial(
        change="as drafted", changes={}, fits=True, kept=True, ran_out=None, step_s=1.0, host_peak_bytes=None,
        device_peak_bytes=device_peak_bytes, tensors_peak_bytes=10**9, stages=[], seconds=1.0,
    )  # fmt: skip
    result = RehearseResult(
        device="a card", sample="x", real_sample=True, fits=True, changes=CHANGES,
        diff="", trials=[trial], not_measured=[], config_digest=digest(parsed), time=0.0,
    )  # fmt: skip
    write_json(folder / REHEARSAL_NAME, result.model_dump(mode="json"))
    nothing: Any = None
    draft = Draft("t2v", "lora", True, config, {}, [], [], [], [], nothing, nothing)
    return fitted(draft, folder, lambda: None)


def parse_config_of(config: dict[str, Any]) -> TrainingConfig:
    import yaml

    return parse_config(yaml.safe_dump(config), "the test")


def test_switches_and_the_samples_budget_come_from_the_rehearsal(tmp_path: Path) -> None:
    made = rehearsed(tmp_path, {**CONFIG, "validation": {"samples": [{"prompt": "a fox"}]}}, 20_000_000_000)
    config = parse_config_of(made.config)
    assert config.acceleration.quantization == "int8-quanto"
    assert config.ltx_agent.memory.samples_gb == 20.5
    assert made.reasons["ltx_agent.memory.samples_gb"].startswith("measured: the rehearsal on a card")


def test_a_draft_shows_what_its_rehearsal_measured(make_project: Any) -> None:
    """Draft, rehearse in a real child that runs out of memory at first, draft again: the numbers and their reason."""
    project = make_project([make_clip(f"{name}.mp4") for name in "abc"], model="tiny")
    draft_config(project, DraftArguments())
    seen = rehearse_training(project, RehearseArguments(limit_gb=0.0072, search=False))
    assert seen.fits
    assert seen.changes
    draft_config(project, DraftArguments())
    text = project.config_path.read_text(encoding="utf-8")
    for key, value in seen.changes.items():
        name = key.rpartition(".")[2]
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{name}: "))
        assert "measured: the rehearsal on no GPU" in line
        assert str(value).lower() in line.lower()
    plan = (project.path / "plan.md").read_text(encoding="utf-8")
    assert "Rehearsed on no GPU: the CPU:" in plan
    assert f"{seen.trials[-1].step_s:.2f} s a step" in plan


def test_every_weight_on_96_gb_is_held_in_24_bits_with_the_reason(tmp_path: Path) -> None:
    config = {
        **CONFIG,
        "model": {"model_path": str(tmp_path / "none"), "training_mode": "full"},
        "lora": None,
        "optimization": {"enable_gradient_checkpointing": True, "batch_size": 1},
        "ltx_agent": {"buckets": "512x288x49", "training": {"master_weights": "auto"}},
    }
    no_split: Any = None
    draft = Draft("t2v", "full", True, config, {}, [], [], [], [], no_split, no_split)
    made = fitted(draft, tmp_path, lambda: 96 * 10**9)
    assert made.config["ltx_agent"]["training"]["master_weights"] == "float24"
    assert made.config["optimization"]["optimizer_type"] == "adamw8bit"
    assert made.reasons["ltx_agent.training.master_weights"].startswith("estimated: needed on a card of 96 GB")
    parse_config_of(made.config)
