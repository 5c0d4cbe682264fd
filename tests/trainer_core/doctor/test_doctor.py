"""The adapter doctor: what it reads, measures, judges, compares, and the files it makes."""

from pathlib import Path

import cv2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer_core.doctor import edit, trial
from trainer_core.doctor.compare import compare
from trainer_core.doctor.examine import Base, base_of, examine_file
from trainer_core.doctor.measure import delta_norm, product
from trainer_core.doctor.picture import draw_diagnosis
from trainer_core.doctor.read import read_adapter
from trainer_core.errors import ConfigError
from trainer_core.lora.names import module_name
from trainer_core.model.ltx import LtxModel
from trainer_core.model.reader_keys import LORA_MODULES
from trainer_core.model.tiny import tiny_source
from trainer_core.sampling.multi_lora import Weighted, open_adapter, stack_adapters

MODULES = ("attn1.to_q", "audio_attn1.to_q", "audio_to_video_attn.to_q")


@pytest.fixture(scope="module")
def base() -> Base:
    return base_of(tiny_source("tiny"))


def adapter(base: Base, size: float = 0.05, seed: int = 0, rank: int = 4) -> dict[str, Tensor]:
    """A LoRA over three modules of both blocks whose ‖ΔW‖/‖W‖ is `size`, under upstream's keys."""
    generator = torch.Generator().manual_seed(seed)
    layers = dict(base.transformer.named_modules())
    state = {}
    for block in range(2):
        for module in MODULES:
            name = f"transformer_blocks.{block}.{module}"
            layer = layers[name]
            down = torch.randn(rank, layer.in_features, generator=generator)
            up = torch.randn(layer.out_features, rank, generator=generator)
            weight = float(torch.linalg.vector_norm(layer.weight.float()))
            state[f"diffusion_model.{name}.lora_A.weight"] = down
            state[f"diffusion_model.{name}.lora_B.weight"] = up * (size * weight / delta_norm(down, up))
    return state


def saved(path: Path, state: dict[str, Tensor], **metadata: str) -> Path:
    save_file(state, path, metadata=metadata or None)
    return path


def test_a_good_adapter_is_healthy_and_its_ratios_are_those_it_was_made_with(base: Base, tmp_path: Path) -> None:
    found = examine_file(saved(tmp_path / "a.safetensors", adapter(base, 0.05)), base)
    assert found.verdict == "healthy"
    assert (found.modules, found.matched, found.zero_b, found.ranks) == (6, 6, 0, [4])
    assert set(found.branches) == {"video", "audio", "cross"}
    for ratios in found.branches.values():
        assert ratios["mean_ratio"] == pytest.approx(0.05, rel=1e-3)
    assert [(row["block"], row["branch"]) for row in found.blocks[:3]] == [(0, "audio"), (0, "cross"), (0, "video")]
    assert found.base_version == "2.3"


@pytest.mark.parametrize(
    ("size", "change", "verdict"),
    [
        (1e-6, None, "dead"),
        (1e-3, None, "weak"),
        (0.05, {"video": 0.004}, "dead"),
        (0.05, {"video": 0.038}, "weak"),
        (0.05, {"video": 0.176}, "healthy"),
        (2.5, None, "exploding"),
    ],
)
def test_the_verdict_follows_what_was_measured(
    base: Base, tmp_path: Path, size: float, change: dict[str, float] | None, verdict: str
) -> None:
    found = examine_file(saved(tmp_path / "a.safetensors", adapter(base, size)), base, change)
    assert found.verdict == verdict
    assert any("‖ΔW‖/‖W‖" in line for line in found.evidence)


def test_without_a_clip_noise_shows_the_change_of_the_prediction(base: Base, tmp_path: Path) -> None:
    found = examine_file(saved(tmp_path / "a.safetensors", adapter(base, 0.5)), base)
    assert found.prediction_change is None
    assert found.change_on_noise is not None
    assert found.change_on_noise["video"] > 0.02
    assert "on a fixed batch of noise it changes the prediction by: video" in found.evidence[-1]
    again = examine_file(saved(tmp_path / "b.safetensors", adapter(base, 0.5)), base)
    assert again.change_on_noise == found.change_on_noise  # the batch is fixed, and the base is as it was


def test_on_noise_the_adapter_acts_as_a_loaded_one_does(base: Base, tmp_path: Path) -> None:
    source = tiny_source("tiny")
    transformer = source.transformer(torch.float32)
    file = open_adapter(saved(tmp_path / "a.safetensors", adapter(base, 0.5)), source)
    model = LtxModel(transformer)
    inputs = trial._inputs(model)
    with torch.no_grad():
        assert file.lora is not None
        with trial._acting(transformer, file.lora):
            acting = model(*inputs)
        stack_adapters(transformer, [Weighted(file)])
        loaded = model(*inputs)
    for ours, theirs in zip(acting, loaded, strict=True):
        assert ours is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_an_adapter_that_never_moved_is_dead(base: Base, tmp_path: Path) -> None:
    state = {key: torch.zeros_like(value) if "lora_B" in key else value for key, value in adapter(base).items()}
    found = examine_file(saved(tmp_path / "a.safetensors", state), base)
    assert (found.verdict, found.zero_b) == ("dead", 6)


@pytest.mark.parametrize("damage", ["nan", "half", "foreign key", "other model", "nothing"])
def test_a_broken_adapter_names_what_is_broken(base: Base, tmp_path: Path, damage: str) -> None:
    state = adapter(base)
    key = "diffusion_model.transformer_blocks.1.attn1.to_q.lora_B.weight"
    named = key
    if damage == "nan":
        state[key][0, 0] = float("nan")
    elif damage == "half":
        del state[key]
        named = "transformer_blocks.1.attn1.to_q"
    elif damage == "foreign key":
        named = "diffusion_model.transformer_blocks.0.attn1.to_q.oft_blocks"
        state[named] = torch.ones(3)
    elif damage == "other model":
        state = {name.replace("blocks.1.", "blocks.40."): value for name, value in state.items()}
        named = "transformer_blocks.40.attn1.to_q"
    else:
        state, named = {"weight": torch.ones(1)}, "no LoRA module"
    found = examine_file(saved(tmp_path / "a.safetensors", state), base)
    assert found.verdict == "broken"
    assert named in found.evidence[0] or named in found.unmatched + found.nan_tensors


def test_without_a_base_the_file_alone_is_judged(base: Base, tmp_path: Path) -> None:
    found = examine_file(saved(tmp_path / "a.safetensors", adapter(base), model_version="2.3", step="250"))
    assert (found.verdict, found.base_version, found.step) == ("healthy", "2.3", 250)
    assert found.branches["video"]["mean_ratio"] is None
    assert found.blocks[0]["delta_norm"] > 0


def test_every_spelling_of_a_lora_reads_the_same(base: Base, tmp_path: Path) -> None:
    own = adapter(base)
    spellings = {
        "diffusers": {key.replace("diffusion_model.", "transformer."): value for key, value in own.items()},
        "peft": {
            key.replace("diffusion_model.", "base_model.model.").replace(".weight", ".default.weight"): value
            for key, value in own.items()
        },
        "down": {key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"): value for key, value in own.items()},
    }
    kohya = {}
    for key, value in own.items():
        stem, _, side = key.removeprefix("diffusion_model.").rpartition(".lora_")
        kohya[f"lora_unet_{stem.replace('.', '_')}.lora_{'down' if side[0] == 'A' else 'up'}.weight"] = value * (
            1 if side[0] == "A" else 4
        )
        kohya[f"lora_unet_{stem.replace('.', '_')}.alpha"] = torch.tensor(1.0)  # of rank 4: a quarter
    spellings["kohya"] = kohya
    expected = read_adapter(saved(tmp_path / "own.safetensors", own)).pairs
    for name, state in spellings.items():
        found = read_adapter(saved(tmp_path / f"{name}.safetensors", state))
        assert found.pairs.keys() == expected.keys(), name
        assert not found.unknown
        for module, (down, up) in found.pairs.items():
            assert torch.allclose(up @ down, expected[module][1] @ expected[module][0], atol=1e-5), name


def test_kohya_names_of_every_module_are_told_apart() -> None:
    for module in LORA_MODULES:
        upstream = module.replace(".N.", ".7.")
        assert module_name(f"lora_unet_{upstream.replace('.', '_')}") == module_name(f"diffusion_model.{upstream}")


def test_what_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    for content, why in ((b"\x80\x04pickle", "is a pickle"), (b"a text" * 9, "not a readable safetensors")):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(ConfigError, match=why):
            examine_file(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="There is no file"):
        examine_file(tmp_path / "none.safetensors")


def test_the_picture_has_a_panel_a_branch(base: Base, tmp_path: Path) -> None:
    both = examine_file(saved(tmp_path / "a.safetensors", adapter(base)), base, {"video": 0.12})
    video = {key: value for key, value in adapter(base).items() if ".attn1" in key}
    one = examine_file(saved(tmp_path / "b.safetensors", video), base)
    heights = []
    for number, found in enumerate((both, one)):
        draw_diagnosis(found, tmp_path / f"{number}.png")
        drawn = cv2.imread(str(tmp_path / f"{number}.png"))
        assert drawn is not None
        assert drawn.std() > 5
        heights.append(drawn.shape[0])
    assert heights[0] > 1.5 * heights[1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(2, 12), st.integers(2, 12))
def test_norms_and_products_are_those_of_the_whole_matrix(seed: int, rank: int, width: int, height: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    one, other = (
        (torch.randn(rank, width, generator=generator), torch.randn(height, rank, generator=generator))
        for _ in range(2)
    )
    whole = [up @ down for down, up in (one, other)]
    assert delta_norm(*one) == pytest.approx(float(torch.linalg.vector_norm(whole[0])), rel=1e-4)
    assert product(one, other) == pytest.approx(float((whole[0] * whole[1]).sum()), rel=1e-3, abs=1e-3)


def test_adapters_are_compared_by_direction_and_size(base: Base, tmp_path: Path) -> None:
    first = read_adapter(saved(tmp_path / "a.safetensors", adapter(base, seed=1))).pairs
    second = {name: (down, -2 * up) for name, (down, up) in first.items()}
    found = compare(first, second)
    assert {branch: round(one.cosine or 0, 6) for branch, one in found.branches.items()} == dict.fromkeys(
        ("video", "audio", "cross"), -1.0
    )
    assert found.branches["video"].norm_ratio == pytest.approx(2.0)
    fewer = {name: pair for name, pair in first.items() if "audio" not in name}
    assert set(compare(first, fewer).branches) == {"video"}
    assert len(compare(first, fewer).only_first) == 4


def test_branches_are_stripped_and_scaled(base: Base, tmp_path: Path) -> None:
    pairs = read_adapter(saved(tmp_path / "a.safetensors", adapter(base))).pairs
    found = edit.scaled(pairs, {"audio": 0.0, "cross": 0.0, "video": 0.5})
    assert sorted(found) == [f"transformer_blocks.{block}.attn1.to_q" for block in range(2)]
    for name, (down, up) in found.items():
        assert torch.equal(up @ down, 0.5 * pairs[name][1] @ pairs[name][0])


def test_merging_sums_exactly_and_a_rank_that_suffices_loses_nothing(base: Base, tmp_path: Path) -> None:
    one, other = (
        read_adapter(saved(tmp_path / f"{seed}.safetensors", adapter(base, seed=seed))).pairs for seed in (1, 2)
    )
    both = edit.merged([(one, 1.0), (other, -0.5)])
    again, lost = edit.with_rank(both, 8)
    assert lost < 1e-6
    for name in one:
        wanted = one[name][1] @ one[name][0] - 0.5 * other[name][1] @ other[name][0]
        assert torch.allclose(both[name][1] @ both[name][0], wanted, atol=1e-6)
        assert torch.allclose(again[name][1] @ again[name][0], wanted, atol=1e-5)
        assert again[name][0].shape[0] == 8


def test_a_smaller_rank_is_the_best_there_is(base: Base, tmp_path: Path) -> None:
    pairs = read_adapter(saved(tmp_path / "a.safetensors", adapter(base))).pairs
    found, lost = edit.with_rank(pairs, 2)
    missing = whole = 0.0
    for name, (down, up) in pairs.items():
        full = (up @ down).double()
        values = torch.linalg.svdvals(full)
        error = torch.linalg.vector_norm(full - (found[name][1] @ found[name][0]).double())
        assert float(error) == pytest.approx(float(values[2:].square().sum().sqrt()), rel=1e-3)
        missing, whole = missing + float(error) ** 2, whole + float(values.square().sum())
    assert lost == pytest.approx((missing / whole) ** 0.5, rel=1e-3)


def test_a_made_file_is_read_by_diffusers_names_and_never_overwrites(base: Base, tmp_path: Path) -> None:
    source = saved(tmp_path / "a.safetensors", adapter(base), model_version="2.3", rank="4", step="9")
    pairs, _ = edit.with_rank(edit.load_whole(source).pairs, 2)
    target = tmp_path / "b.safetensors"
    edit.write_adapter(target, pairs, edit.load_whole(source).metadata, torch.float32)
    again = read_adapter(target)
    assert set(load_file(target)) == set(load_file(source))
    assert (again.metadata["rank"], again.metadata["model_version"]) == ("2", "2.3")
    assert "step" not in again.metadata
    with pytest.raises(ConfigError, match="exists already"):
        edit.write_adapter(target, pairs, {})
