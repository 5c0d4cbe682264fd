"""The measured table's children: what a switch keeps on the host isn't counted, and the losses stay."""

from pathlib import Path

import pytest
from measured_savings import (
    ENCODER_TOLERANCE,
    SWITCHES,
    encode,
    measure,
    states_apart,
    write_encoder,
    write_model,
)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_each_switch_saves_memory_and_leaves_the_losses(tmp_path: Path) -> None:
    write_model(tmp_path)
    seen = {case: measure(tmp_path, case) for pair in SWITCHES.values() for case in pair[:2]}
    for name, (plain, switched, tolerance) in SWITCHES.items():
        before, after = seen[plain], seen[switched]
        assert after.peak_bytes < before.peak_bytes, name
        assert after.losses == pytest.approx(before.losses, rel=tolerance or 0, abs=0), name


def test_a_text_encoder_in_8_bits_takes_half_and_reads_nearly_the_same(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    whole, packed = (encode(tmp_path, in_8bit=in_8bit) for in_8bit in (False, True))
    assert packed.peak_bytes < 0.7 * whole.peak_bytes
    assert 0 < states_apart(whole, packed) < ENCODER_TOLERANCE
