"""The measured table's children: what a switch keeps on the host isn't counted, and the losses stay."""

from dataclasses import replace
from pathlib import Path

import pytest

from trainer_core.memory import measured
from trainer_core.memory.measured import LORA, SWITCHES, measure, write_model


@pytest.mark.soak
def test_each_switch_saves_memory_and_leaves_the_losses(tmp_path: Path) -> None:
    write_model(tmp_path)
    seen = {case: measure(tmp_path, case) for pair in SWITCHES.values() for case in pair[:2]}
    for name, (plain, switched, tolerance) in SWITCHES.items():
        before, after = seen[plain], seen[switched]
        assert after.peak_bytes < before.peak_bytes, name
        assert after.losses == pytest.approx(before.losses, rel=tolerance or 0, abs=0), name


def test_swapped_blocks_stay_out_of_anonymous_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "LAYERS", 6)
    write_model(tmp_path)
    weights = (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").stat().st_size
    plain = measure(tmp_path, LORA)
    swapped = measure(tmp_path, replace(LORA, swap_blocks=6))
    assert swapped.losses == plain.losses
    assert plain.peak_bytes - swapped.peak_bytes > 0.2 * weights
