"""A draft takes its switches from the rehearsal of this very training, and with them what samples may fill."""

from pathlib import Path
from typing import Any

import pytest

from tools.draft.choices import Draft
from tools.draft.fit import SAMPLES_MARGIN, fitted
from tools.draft.rehearse import REHEARSAL_NAME, RehearseResult, Trial, digest
from trainer_core.config import TrainingConfig, parse_config, resolve_paths
from trainer_core.files import write_json

CONFIG = {
    "model": {"model_path": "tiny"},
    "lora": {"rank": 4, "alpha": 4},
    "training_strategy": {"name": "flexible", "video": {"is_generated": True, "latents_dir": "latents"}, "audio": None},
    "optimization": {"steps": 2},
    "data": {"preprocessed_data_root": "data"},
    "output_dir": "runs",
}


def rehearsed(folder: Path, config: dict[str, Any], device_peak_bytes: int | None) -> Draft:
    parsed: TrainingConfig = resolve_paths(parse_config_of(config), folder)
    trial = Trial(
        change="as drafted", changes={}, fits=True, kept=True, ran_out=None, step_s=1.0, host_peak_bytes=None,
        device_peak_bytes=device_peak_bytes, tensors_peak_bytes=10**9, stages=[], seconds=1.0,
    )  # fmt: skip
    result = RehearseResult(
        device="a card", sample="x", real_sample=True, fits=True, changes={"acceleration.quantization": "int8-quanto"},
        diff="", trials=[trial], not_measured=[], config_digest=digest(parsed), time=0.0,
    )  # fmt: skip
    write_json(folder / REHEARSAL_NAME, result.model_dump(mode="json"))
    no_split: Any = None
    draft = Draft("t2v", "lora", True, config, {}, [], [], [], [], no_split)
    return fitted(draft, folder, lambda: None)


def parse_config_of(config: dict[str, Any]) -> TrainingConfig:
    import yaml

    return parse_config(yaml.safe_dump(config), "the test")


@pytest.mark.parametrize(("peak", "wanted"), [(20_000_000_000, 20 * SAMPLES_MARGIN), (None, None)])
def test_samples_may_fill_what_the_rehearsal_reached(tmp_path: Path, peak: int | None, wanted: float | None) -> None:
    made = rehearsed(tmp_path, {**CONFIG, "validation": {"samples": [{"prompt": "a fox"}]}}, peak)
    config = parse_config_of(made.config)
    assert config.acceleration.quantization == "int8-quanto"
    assert config.ltx_agent.memory.samples_gb == (pytest.approx(wanted) if wanted is not None else None)
    assert ("ltx_agent.memory.samples_gb" in made.reasons) == (wanted is not None)


def test_without_samples_no_budget_is_written(tmp_path: Path) -> None:
    made = rehearsed(tmp_path, CONFIG, 20_000_000_000)
    assert "ltx_agent" not in made.config
