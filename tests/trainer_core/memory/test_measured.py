"""The measured table's children: what a switch keeps on the host isn't counted, and the losses stay."""

from pathlib import Path

import pytest

from trainer_core.memory.measured import SWITCHES, measure, write_model


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_each_switch_saves_memory_and_leaves_the_losses(tmp_path: Path) -> None:
    write_model(tmp_path)
    seen = {case: measure(tmp_path, case) for pair in SWITCHES.values() for case in pair[:2]}
    for name, (plain, switched, tolerance) in SWITCHES.items():
        before, after = seen[plain], seen[switched]
        assert after.peak_bytes < before.peak_bytes, name
        assert after.losses == pytest.approx(before.losses, rel=tolerance or 0, abs=0), name
