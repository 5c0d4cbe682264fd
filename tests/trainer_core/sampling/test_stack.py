"""Stacked adapters: the sum is what it should be, the order doesn't matter, and what is wrong with a file is named."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from trainer_core.errors import ConfigError
from trainer_core.model.tiny import TinySource
from trainer_core.sampling.multi_lora import Weighted, conflicts, merge_into, open_adapter, stack_adapters, summed

SOURCE = TinySource("2.3")
Q, V = "transformer_blocks.0.attn1.to_q", "transformer_blocks.1.attn1.to_v"


def lora(path: Path, modules: dict[str, int], seed: int = 0, metadata: dict[str, str] | None = None) -> Path:
    """A LoRA file of the tiny model: 64-wide modules with these ranks."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module, rank in modules.items():
        tensors[f"diffusion_model.{module}.lora_A.weight"] = torch.randn(rank, 64, generator=generator)
        tensors[f"diffusion_model.{module}.lora_B.weight"] = torch.randn(64, rank, generator=generator)
    save_file(tensors, path, metadata={"format": "pt", "model_version": "2.3", **(metadata or {})})
    return path


@pytest.fixture
def three(tmp_path: Path) -> list[Weighted]:
    """A character, a style and a voice: different ranks, some modules shared."""
    files = [
        lora(tmp_path / "character.safetensors", {Q: 4, V: 4}, 1),
        lora(tmp_path / "style.safetensors", {Q: 2}, 2),
        lora(tmp_path / "voice.safetensors", {V: 3}, 3),
    ]
    return [Weighted(open_adapter(path, SOURCE), weight) for path, weight in zip(files, (1.0, 0.5, -0.25), strict=True)]


def delta(stack: list[Weighted], module: str) -> Tensor:
    parts = [one.weight * pair[1] @ pair[0] for one in stack if (pair := one.file.pairs.get(module)) is not None]
    return torch.stack(parts).sum(dim=0)


def test_the_stack_acts_as_the_weighted_sum(three: list[Weighted]) -> None:
    transformer = SOURCE.transformer(torch.float32)
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(9))
    modules = {name: transformer.get_submodule(name) for name in (Q, V)}
    expected = {name: module(x) + x @ delta(three, name).T for name, module in modules.items()}
    stack_adapters(transformer, three)
    for name, wanted in expected.items():
        torch.testing.assert_close(transformer.get_submodule(name)(x), wanted, rtol=1e-4, atol=1e-4)
    merged = SOURCE.transformer(torch.float32)
    merge_into(merged, three)
    for name, wanted in expected.items():
        torch.testing.assert_close(merged.get_submodule(name)(x), wanted, rtol=1e-4, atol=1e-4)


def test_the_order_of_the_files_changes_not_a_bit(three: list[Weighted]) -> None:
    wanted = summed(three)
    for order in itertools.permutations(three):
        found = summed(order)
        assert list(found) == list(wanted)
        for module, pair in wanted.items():
            assert all(torch.equal(one, other) for one, other in zip(found[module], pair, strict=True))


def test_the_conflict_report_measures_the_shared_modules(three: list[Weighted]) -> None:
    report = {frozenset((one.first, one.second)): one for one in conflicts(three)}
    meeting = report[frozenset(("character.safetensors", "style.safetensors"))]
    assert (meeting.shared_modules, meeting.examples) == (1, (Q,))
    own, other = 1.0 * delta(three[:1], Q), delta(three[1:2], Q)
    assert meeting.norm_of_sum == pytest.approx(float((own + other).norm()), rel=1e-5)
    assert meeting.sum_of_norms == pytest.approx(float(own.norm() + other.norm()), rel=1e-5)
    assert meeting.cosine == pytest.approx(float((own * other).sum() / own.norm() / other.norm()), abs=1e-6)
    assert report[frozenset(("style.safetensors", "voice.safetensors"))].shared_modules == 0
    opposed = conflicts([three[0], Weighted(three[0].file, -1.0)])[0]
    assert opposed.cosine == pytest.approx(-1)
    assert opposed.norm_of_sum == pytest.approx(0, abs=1e-3)
    assert "against each other" in opposed.sentence


def _use(path: Path, apply: bool) -> None:
    adapter = open_adapter(path, SOURCE)
    assert apply, "the file alone should have been refused"
    stack_adapters(SOURCE.transformer(torch.float32), [Weighted(adapter)])


def refused(path: Path, *, apply: bool = False) -> str:
    with pytest.raises(ConfigError) as error:
        _use(path, apply)
    assert error.value.hint
    return error.value.message


def test_an_adapter_of_another_version_is_named(tmp_path: Path) -> None:
    path = lora(tmp_path / "a.safetensors", {Q: 4}, metadata={"model_version": "2.0"})
    assert "was made for LTX-2.0; this model is LTX-2.3" in refused(path)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    named, disguised = tmp_path / "a.pt", tmp_path / "b.safetensors"
    for path in (named, disguised):
        torch.save({"x": torch.zeros(1)}, path)
        assert "is a pickle" in refused(path)


@pytest.mark.parametrize("letter", ["A", "B"])
def test_a_number_that_is_not_finite_is_named(tmp_path: Path, letter: str) -> None:
    tensors = {
        f"diffusion_model.{Q}.lora_A.weight": torch.zeros(4, 64),
        f"diffusion_model.{Q}.lora_B.weight": torch.zeros(64, 4),
    }
    tensors[f"diffusion_model.{Q}.lora_{letter}.weight"][0, 0] = float("nan")
    save_file(tensors, tmp_path / "a.safetensors")
    assert f"{Q}.lora_{letter}.weight holds numbers that are not finite" in refused(tmp_path / "a.safetensors")


def test_a_rank_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    save_file(
        {
            f"diffusion_model.{Q}.lora_A.weight": torch.zeros(4, 64),
            f"diffusion_model.{Q}.lora_B.weight": torch.zeros(64, 3),
        },
        tmp_path / "a.safetensors",
    )
    assert "transformer_blocks.0.attn1.to_q has ranks that contradict each other" in refused(tmp_path / "a.safetensors")
    said = lora(tmp_path / "b.safetensors", {Q: 4}, metadata={"rank": "8"})
    assert "says rank 8" in refused(said)


def test_missing_and_extra_keys_are_named(tmp_path: Path) -> None:
    save_file({f"diffusion_model.{Q}.lora_A.weight": torch.zeros(4, 64)}, tmp_path / "half.safetensors")
    assert "only one of its two matrices" in refused(tmp_path / "half.safetensors")
    strange = lora(tmp_path / "strange.safetensors", {Q: 4, "transformer_blocks.7.attn1.to_q": 4})
    assert "transformer_blocks.7.attn1.to_q" in refused(strange, apply=True)
    wide: dict[str, Any] = {
        f"diffusion_model.{Q}.lora_A.weight": torch.zeros(4, 96),
        f"diffusion_model.{Q}.lora_B.weight": torch.zeros(96, 4),
    }
    save_file(wide, tmp_path / "wide.safetensors")
    assert "changes a 96x96 matrix, this model's is 64x64" in refused(tmp_path / "wide.safetensors", apply=True)


def test_a_damaged_file_and_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\x10\x00\x00\x00")
    assert "not a readable safetensors file" in refused(tmp_path / "a.safetensors")
    assert "There is no file" in refused(tmp_path / "none.safetensors")


def test_what_a_file_does_not_say_is_stated(tmp_path: Path) -> None:
    save_file(
        {
            f"diffusion_model.{Q}.lora_A.weight": torch.zeros(4, 64),
            f"diffusion_model.{Q}.lora_B.weight": torch.zeros(64, 4),
        },
        tmp_path / "a.safetensors",
    )
    assert open_adapter(tmp_path / "a.safetensors", SOURCE).notes == (
        "a.safetensors doesn't say for which LTX version it was made.",
    )
    other = lora(tmp_path / "b.safetensors", {Q: 4}, metadata={"base_fingerprint": "x", "base_model": "LTX-2.3 (y)"})
    assert "trained on another base (LTX-2.3 (y))" in open_adapter(other, SOURCE).notes[0]


def test_two_full_checkpoints_and_a_weighted_one_are_refused(tmp_path: Path) -> None:
    save_file({"model.diffusion_model.x": torch.zeros(1)}, tmp_path / "full.safetensors")
    full = open_adapter(tmp_path / "full.safetensors", SOURCE)
    assert full.kind == "full"
    transformer = SOURCE.transformer(torch.float32)
    with pytest.raises(ConfigError, match="both full checkpoints"):
        stack_adapters(transformer, [Weighted(full), Weighted(full)])
    with pytest.raises(ConfigError, match=r"no weight 0\.5"):
        stack_adapters(transformer, [Weighted(full, 0.5)])


def test_the_conflict_report_is_the_same_in_any_order(three: list[Weighted]) -> None:
    reports = [[conflict.sentence for conflict in conflicts(order)] for order in itertools.permutations(three)]
    assert all(report == reports[0] for report in reports)


def test_files_that_are_named_alike_are_told_apart(three: list[Weighted]) -> None:
    alike = [
        replace(one, file=replace(one.file, path=Path("/runs") / run / "checkpoints" / "lora.safetensors"))
        for run, one in zip(("may", "june"), three, strict=False)
    ]
    found = conflicts(alike)[0]
    assert {found.first, found.second} == {"may/checkpoints/lora.safetensors", "june/checkpoints/lora.safetensors"}
    nothing = replace(found, shared_modules=0)
    assert nothing.sentence.endswith("change no module in common.")
