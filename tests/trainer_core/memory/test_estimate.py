"""The estimate against the real classes: weights counted exactly, a step's peak within 5 % of its trace."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from memory_trace import step, trace
from released_models import released_transformer

from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.estimate import CARDS_GB, estimate, trained_weights
from trainer_core.memory.sizes import adapted, block_linears, block_small_weights, outer_weights

TOLERANCE = 0.05
_spec = importlib.util.spec_from_file_location("memory_grid", Path(__file__).with_name("grid.py"))
assert _spec is not None
assert _spec.loader is not None
grid = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(grid)
CELLS: dict[str, Cell] = grid.cells()
DRAWN: dict[str, Cell] = grid.drawn()
SAMPLED = ("2.5 sound alone 140", "full fused sound alone", "full float24 fused sound alone", "offload sound alone")
BASE = Cell("2.3", Side(4000), Side(93))


@pytest.mark.parametrize("version", ["2.0", "2.3", "2.5"])
def test_weights_are_counted_as_the_class_has_them(version):
    real = sum(parameter.numel() for parameter in released_transformer(version, 1).parameters())
    ours = sum(one.weights for one in block_linears(version)) + sum(block_small_weights(version).values())
    assert ours + sum(outer_weights(version).values()) == real


def test_the_adapter_is_the_one_that_was_counted_on_the_real_model():
    from trainer_core.memory.sizes import lora_weights

    assert lora_weights(BASE) == pytest.approx(213.9e6, rel=0.001)
    assert lora_weights(replace(BASE, audio=None)) == pytest.approx(100.7e6, rel=0.001)
    assert len(adapted(BASE)) == 24


def test_the_grid_has_sixty_cells():
    assert len(CELLS) >= 60


def _error(cell: Cell) -> float:
    return estimate(cell).step_peak_bytes / trace(cell).peak - 1


@pytest.mark.parametrize("name", SAMPLED)
def test_an_estimate_is_near_its_trace(name):
    assert abs(_error(CELLS[name])) < TOLERANCE


FEW_BITS = {
    "a lone branch's matrix": Cell("2.3", None, Side(108), quantization="fp8", layers=8),
    "rounded activations": Cell("2.0", Side(9000), None, quantization="int8-dynamic", layers=8),
    "rounded activations in chunks": Cell(
        "2.0", Side(6000), None, batch=3, quantization="int8-dynamic", chunk_tokens=4096, layers=8
    ),
}


@pytest.mark.parametrize("name", FEW_BITS)
def test_what_few_bits_take_beside_themselves_is_near_its_trace(name):
    """Eight blocks, in which it weighs more than in 48."""
    assert abs(_error(FEW_BITS[name])) < TOLERANCE


@pytest.mark.soak
@pytest.mark.parametrize("name", CELLS)
def test_every_estimate_is_near_its_trace(name):
    assert abs(_error(CELLS[name])) < TOLERANCE


@pytest.mark.soak
@pytest.mark.parametrize("name", DRAWN)
def test_every_estimate_of_a_training_by_chance_is_near_its_trace(name):
    assert abs(_error(DRAWN[name])) < TOLERANCE


SOUND = Cell("2.3", None, Side(140))
DEPTHS = {
    "LoRA": (replace(SOUND, layers=8), 0.0),
    "every weight": (replace(SOUND, rank=0, layers=8), 0.0),
    "every activation kept": (replace(SOUND, checkpointing=False, layers=8), 1e-4),
}
WHOLE = {
    "LoRA": BASE,
    "int8, chunked, offloaded": replace(BASE, quantization="int8", chunk_tokens=1024, offload=True),
    "fused": replace(BASE, audio=None, rank=0, fused=True),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_five_blocks_tell_of_any_depth(name):
    cell, tolerance = DEPTHS[name]
    assert trace(cell).resting == step(cell).resting
    assert trace(cell).peak == pytest.approx(step(cell).peak, rel=tolerance, abs=0)


@pytest.mark.soak
@pytest.mark.parametrize("name", WHOLE)
def test_five_blocks_tell_of_all_48(name):
    assert trace(WHOLE[name]) == step(WHOLE[name])


@pytest.mark.soak
def test_the_documented_table_of_switches_is_the_traced_one():
    from traced_savings import table

    assert table() in (Path(__file__).parents[2] / "instruments" / "TABLES.md").read_text(encoding="utf-8")


def test_each_switch_saves_what_it_is_for():
    plain = estimate(BASE)

    def saved(**switch) -> dict[str, int]:
        other = estimate(replace(BASE, **switch))
        return {name: plain.parts[name] - other.parts[name] for name in plain.parts}

    assert saved(quantization="int8")["weights"] > 17e9
    assert saved(quantization="nf4")["weights"] > 25e9
    assert saved(precompute_text=True)["connectors"] == plain.parts["connectors"]
    assert saved(moments_8bit=True)["optimizer"] > 1.2e9
    assert saved(offload=True)["activations"] > 0.5e9  # the gradients then set the peak
    assert saved(chunk_tokens=1024)["activations"] > 0
    assert saved(swap_blocks=24)["weights"] > 22 * 0.7e9
    assert saved(checkpointing=False)["activations"] < -50e9
    full = estimate(replace(BASE, rank=0))
    assert full.parts["activations"] - estimate(replace(BASE, rank=0, fused=True)).parts["activations"] > 35e9


def test_what_full_training_holds_its_weights_in_decides_what_it_takes():
    def a_weight(**cell) -> float:
        found = estimate(replace(BASE, rank=0, **cell))
        return (found.parts["weights"] + found.parts["optimizer"]) / trained_weights(replace(BASE, rank=0))

    assert a_weight() == pytest.approx(4 + 8)
    assert a_weight(moments_8bit=True) == pytest.approx(4 + 2, rel=0.01)
    assert a_weight(master="float24") == pytest.approx(2 + 1 + 2, rel=0.03)
    assert a_weight(master="stochastic") == pytest.approx(2 + 2, rel=0.01)
    assert a_weight(optimizer="lion") == pytest.approx(4 + 4)
    assert a_weight(optimizer="adafactor") == pytest.approx(4, rel=0.01)


def test_int8_brings_a_lora_to_32_gb():
    """By arithmetic: captions encoded in 8 bits, text made beforehand, 8-bit moments, an int8 base."""
    cell = replace(BASE, quantization="int8", precompute_text=True, moments_8bit=True)
    assert estimate(cell).fits["32"]
    assert estimate(cell, text_encoder_8bit=True).encodes["24"]
    assert not estimate(BASE).encodes["32"]
    assert not estimate(BASE).fits["48"]


def test_larger_samples_never_take_less():
    peaks = [estimate(replace(BASE, video=Side(tokens))).device_peak_bytes for tokens in (100, 1000, 5000, 20000)]
    assert peaks == sorted(peaks)
    assert list(estimate(BASE).fits) == [str(card) for card in CARDS_GB]
