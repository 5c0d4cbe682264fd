"""Adapter files: which layers train, under which keys they are saved, and who can read them; 2.0, 2.3 and 2.5."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainer_core.adapters import (
    AdapterFacts,
    add_lora,
    block_free,
    check_lora_keys,
    load_lora,
    lora_state,
    lora_targets,
    read_lora,
    save_weights,
    train_fully,
)
from trainer_core.errors import ConfigError
from trainer_core.full_checkpoint import save_full
from trainer_core.model.ltx import LtxModel, ModalityInput, branch_of
from trainer_core.model.names import to_diffusers, to_upstream
from trainer_core.model.reader_keys import LORA_KEYS
from trainer_core.model.source import Version
from trainer_core.model.tiny import TinySource
from trainer_core.objective import OBJECTIVE_NAMES, Objective, load_recipe, objective_of
from trainer_core.sections.run import LoraSection
from trainer_core.sections.strategy import FlexibleStrategy

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")
RANK, ALPHA = 4, 10.0
SCALE = ALPHA / RANK
SHORT_NAMES = ["to_k", "to_q", "to_v", "to_out.0"]


@cache
def _objective(name: str) -> Objective:
    return objective_of(FlexibleStrategy.model_validate(load_recipe(name)["training_strategy"]))


def _section(**changes: Any) -> LoraSection:
    return LoraSection(**{"rank": RANK, "alpha": ALPHA, "target_modules": SHORT_NAMES, **changes})


def _facts(**changes: Any) -> AdapterFacts:
    return AdapterFacts(
        **{
            "version": "2.3",
            "base": "tiny",
            "base_fingerprint": "tiny-1",
            "objective": "t2v",
            "step": 3,
            "rank": RANK,
            **changes,
        }
    )


def _transformer(version: Version = "2.3") -> Any:
    return TinySource(version).transformer(torch.float32)


def _inputs(version: Version) -> tuple[ModalityInput, ModalityInput]:
    generator = torch.Generator().manual_seed(1)
    raw = _transformer(version)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    video_width, audio_width = (32, 32) if version == "2.0" else (64, 32)
    cpu = torch.device("cpu")
    video = ModalityInput(
        random(1, 12, 128),
        torch.full((1, 12), 0.8),
        torch.tensor([0.8]),
        raw.rope.prepare_video_coords(1, 2, 2, 3, cpu, fps=24.0),
        random(1, 8, video_width),
    )
    audio = ModalityInput(
        random(1, 7, 128),
        torch.full((1, 7), 0.4),
        torch.tensor([0.4]),
        raw.audio_rope.prepare_audio_coords(1, 7, cpu),
        random(1, 8, audio_width),
    )
    return video, audio


def _predict(transformer: Any, version: Version) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return LtxModel(transformer)(*_inputs(version))


def _apart(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def _trained(version: Version = "2.3", objective: str = "t2v", **section: Any) -> Any:
    """A transformer whose LoRA layers took three real optimizer steps."""
    transformer = _transformer(version)
    parameters = add_lora(transformer, _section(**section), _objective(objective), seed=3)
    optimizer = torch.optim.AdamW(parameters, lr=2e-2)
    roles = _objective(objective)
    video, audio = _inputs(version)
    model = LtxModel(transformer)
    for _ in range(3):
        outputs = model(video if roles.video.present else None, audio if roles.audio.present else None)
        torch.stack([(output - 1).square().mean() for output in outputs if output is not None]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return transformer


def _saved(path: Path, transformer: Any, **facts: Any) -> Path:
    save_weights(path, lora_state(transformer, SCALE, torch.float32), _facts(**facts))
    return path


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained 2.3 adapter; treat it as read-only."""
    return _saved(tmp_path_factory.mktemp("adapter") / "lora.safetensors", _trained())


# ---- which layers


@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_objective_trains_and_saves_only_layers_of_its_modalities(version: Version, name: str) -> None:
    transformer, objective = _transformer(version), _objective(name)
    parameters = add_lora(transformer, _section(), objective, seed=0)
    keys = set(lora_state(transformer, SCALE, torch.float32))
    branches = {branch_of(key.removeprefix("diffusion_model.")) for key in keys}
    expected = {("video", True): "video", ("audio", True): "audio"}
    present = {expected[side, True] for side in ("video", "audio") if objective.modality(side).present}
    assert branches == (present | {"cross"} if len(present) == 2 else present)
    if present == {"video"}:
        assert not [key for key in keys if "audio" in key]
    if present == {"audio"}:
        assert all(".audio_attn" in key for key in keys)
    blocks, attentions = 2, {1: 2, 2: 6}[len(present)]
    assert len(keys) == blocks * attentions * 4 * 2
    assert len(parameters) == len(keys)
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    assert sum(parameter.requires_grad for parameter in transformer.parameters()) == len(keys)


@pytest.mark.parametrize(
    ("objective", "patterns", "layers"),
    [
        ("v2v_ic", ["attn1.*"], {"attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn1.to_gate_logits"}),
        ("v2v_ic", ["ff.net.0.proj", "ff.net.2"], {"ff.net.0.proj", "ff.net.2"}),
        ("t2a", ["audio_ff.net.0.proj"], {"audio_ff.net.0.proj"}),
        ("t2v", ["ff.net.2"], {"ff.net.2"}),
        ("t2v", ["audio_to_video_attn.to_k"], {"audio_to_video_attn.to_k"}),
        ("t2a", ["to_q"], {"audio_attn1.to_q", "audio_attn2.to_q"}),
        ("v2v_ic", ["to_q"], {"attn1.to_q", "attn2.to_q"}),
        ("t2v", ["transformer_blocks.1.attn1.to_q"], {"attn1.to_q"}),
    ],
)
def test_a_pattern_matches_whole_name_parts(objective: str, patterns: list[str], layers: set[str]) -> None:
    targets = lora_targets(_transformer(), patterns, _objective(objective))
    assert {target.split(".", 2)[2] for target in targets} == layers
    blocks = 1 if patterns[0].startswith("transformer_blocks") else 2
    assert len(targets) == blocks * len(layers)


def test_a_layer_outside_the_blocks_can_be_named() -> None:
    assert lora_targets(_transformer(), ["proj_out"], _objective("t2v")) == ["proj_out"]


@pytest.mark.parametrize("pattern", ["to_z", "attn3.*", "attn1", "o_q", "ff.net.0"])
def test_a_pattern_that_reaches_nothing_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(ConfigError, match="reaches no linear layer") as caught:
        lora_targets(_transformer(), ["to_q", pattern], _objective("t2v"))
    assert f"`{pattern}`" in caught.value.message


def test_patterns_of_the_other_modality_alone_are_refused() -> None:
    with pytest.raises(ConfigError, match="doesn't have") as caught:
        lora_targets(_transformer(), ["attn1.*"], _objective("t2a"))
    assert "audio" in caught.value.hint


def test_full_training_moves_the_branches_of_the_objective() -> None:
    for name, branches in {"t2v": {"video", "audio", "cross"}, "t2a": {"audio"}, "v2v_ic": {"video"}}.items():
        transformer = _transformer()
        parameters = train_fully(transformer, _objective(name))
        trained = {key for key, parameter in transformer.named_parameters() if parameter.requires_grad}
        assert trained == {key for key, _ in transformer.named_parameters() if branch_of(key) in branches}
        assert len(parameters) == len(trained)


def test_a_seed_makes_the_fresh_layers_and_leaves_the_global_generator_alone() -> None:
    def fresh(seed: int) -> dict[str, Tensor]:
        transformer = _transformer()
        add_lora(transformer, _section(), _objective("t2v"), seed)
        return lora_state(transformer, 1.0, torch.float32)

    before = torch.get_rng_state()
    one, again, other = fresh(5), fresh(5), fresh(6)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
    assert not any(tensor.any() for key, tensor in one.items() if ".lora_B." in key)
    assert all(tensor.any() for key, tensor in one.items() if ".lora_A." in key)


# ---- the file


@pytest.mark.parametrize("version", VERSIONS)
def test_every_linear_layer_is_saved_under_upstreams_name(version: Version) -> None:
    transformer = _transformer(version)
    linears = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    add_lora(transformer, _section(target_modules=linears), _objective("t2v"), seed=0)
    state = lora_state(transformer, SCALE, torch.bfloat16)
    assert set(state) == {
        f"diffusion_model.{to_upstream(name)}.lora_{side}.weight" for name in linears for side in "AB"
    }
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert not [key for key in state if "time_embed" in key or "proj_in" in key or "av_cross_attn" in key]
    check_lora_keys(state, LORA_KEYS)


def test_alpha_is_folded_into_b() -> None:
    transformer = _trained()
    state = lora_state(transformer, SCALE, torch.float32)
    layer = transformer.transformer_blocks[1].attn1.to_k
    stem = "diffusion_model.transformer_blocks.1.attn1.to_k"
    torch.testing.assert_close(state[f"{stem}.lora_A.weight"], layer.lora_A["default"].weight)
    torch.testing.assert_close(state[f"{stem}.lora_B.weight"], layer.lora_B["default"].weight * 2.5)
    change = state[f"{stem}.lora_B.weight"] @ state[f"{stem}.lora_A.weight"]
    torch.testing.assert_close(change, layer.get_delta_weight("default"))
    assert bool(change.any())


@pytest.mark.parametrize("version", VERSIONS)
def test_diffusers_pipeline_loads_the_file_and_predicts_what_was_trained(version: Version, tmp_path: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Pipeline

    trained = _trained(version)
    path = _saved(tmp_path / "lora.safetensors", trained, version=version)
    source = TinySource(version)
    tokenizer, encoder = source.text_encoder(torch.float32)
    pipeline = LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=source.video_vae(torch.float32),
        audio_vae=source.audio_vae(torch.float32),
        text_encoder=encoder,
        tokenizer=tokenizer,
        connectors=source.connectors(torch.float32),
        transformer=source.transformer(torch.float32),
        vocoder=source.vocoder(torch.float32),
    )
    base = _predict(pipeline.transformer, version)
    pipeline.load_lora_weights(str(path))
    loaded = _predict(pipeline.transformer, version)
    expected = _predict(trained, version)
    for found, wanted in zip(loaded, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert _apart(loaded, base) > 1e-2


def test_the_metadata_says_what_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, {"x": torch.zeros(1)}, _facts(reference_spatial_scale=2, reference_temporal_scale=3))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {
            "format": "pt",
            "model_version": "2.3",
            "base_model": "tiny",
            "base_fingerprint": "tiny-1",
            "objective": "t2v",
            "step": "3",
            "trainer": "ltx-agent",
            "rank": "4",
            "reference_downscale_factor": "2",
            "reference_spatial_scale_factor": "2",
            "ss_reference_downscale_factor": "2",
            "reference_temporal_scale_factor": "3",
        }
    plain = _facts(rank=None).metadata()
    assert not [key for key in plain if "scale" in key or key == "rank"]


def test_a_checkpoint_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, {"x": torch.zeros(1)}, _facts())
    with pytest.raises(ConfigError, match="written once"):
        save_weights(path, {"x": torch.ones(1)}, _facts())
    assert float(load_file(path)["x"]) == 0.0
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_key_that_no_reader_knows_is_refused() -> None:
    known = "diffusion_model.transformer_blocks.7.attn1.to_q.lora_A.weight"
    check_lora_keys({known: torch.zeros(1)}, LORA_KEYS)
    for key in (
        known.replace("attn1", "attn9"),
        known.removeprefix("diffusion_model."),
        "diffusion_model.time_embed.linear.lora_A.weight",
    ):
        with pytest.raises(ConfigError, match="not a key") as caught:
            check_lora_keys({known: torch.zeros(1), key: torch.zeros(1)}, LORA_KEYS)
        assert key in caught.value.message
    assert block_free("diffusion_model.transformer_blocks.17.ff.net.2.x") == (
        "diffusion_model.transformer_blocks.N.ff.net.2.x"
    )


# ---- reading


@pytest.mark.parametrize("version", VERSIONS)
def test_a_saved_file_loads_back_exactly(version: Version, tmp_path: Path) -> None:
    trained = _trained(version)
    path = _saved(tmp_path / "lora.safetensors", trained, version=version)
    again = _transformer(version)
    add_lora(again, _section(), _objective("t2v"), seed=99)
    assert load_lora(again, path, SCALE) == 2 * 6 * 4
    for found, wanted in zip(_predict(again, version), _predict(trained, version), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    state, first = lora_state(again, SCALE, torch.float32), load_file(path)
    assert state.keys() == first.keys()
    for key, tensor in state.items():
        torch.testing.assert_close(tensor, first[key])


def test_a_file_keeps_its_sum_when_the_run_has_another_alpha(adapter: Path) -> None:
    trained, other = _trained(), _transformer()
    add_lora(other, _section(alpha=1.0), _objective("t2v"), seed=99)
    load_lora(other, adapter, 1.0 / RANK)
    for found, wanted in zip(_predict(other, "2.3"), _predict(trained, "2.3"), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def _respelled(adapter: Path, form: str) -> dict[str, Tensor]:
    """The same adapter as other programs write it."""
    found = {}
    for key, tensor in load_file(adapter).items():
        module, _, rest = key.removeprefix("diffusion_model.").rpartition(".lora_")
        if form == "diffusers":
            found[f"transformer.{to_diffusers(module)}.lora_{rest}"] = tensor
        elif form == "peft":
            found[f"base_model.model.{to_diffusers(module)}.lora_{rest}"] = tensor
        elif form == "bare":
            found[f"{module}.lora_{rest}"] = tensor
        elif form == "unified":
            found[f"model.diffusion_model.{module}.lora_{rest}"] = tensor
        else:
            spelled = {"A": "down", "B": "up"}[rest[0]]
            found[f"diffusion_model.{module}.lora_{spelled}.weight"] = tensor
            if form == "kohya alpha":
                found[f"diffusion_model.{module}.alpha"] = torch.tensor(2.0)
                if spelled == "up":
                    found[f"diffusion_model.{module}.lora_up.weight"] = tensor * (RANK / 2.0)
    return found


@pytest.mark.parametrize("form", ["diffusers", "peft", "bare", "unified", "down and up", "kohya alpha"])
def test_every_spelling_reads_as_the_same_adapter(adapter: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file(_respelled(adapter, form), path)
    wanted, found = read_lora(adapter), read_lora(path)
    assert found.keys() == wanted.keys()
    assert len(found) == 48
    for module, (down, up) in wanted.items():
        torch.testing.assert_close(found[module][0], down)
        torch.testing.assert_close(found[module][1], up)


def test_a_bfloat16_file_loads_into_float32_layers(tmp_path: Path) -> None:
    trained = _trained()
    save_weights(tmp_path / "half.safetensors", lora_state(trained, SCALE, torch.bfloat16), _facts())
    again = _transformer()
    add_lora(again, _section(), _objective("t2v"), seed=9)
    load_lora(again, tmp_path / "half.safetensors", SCALE)
    assert {p.dtype for p in again.parameters() if p.requires_grad} == {torch.float32}
    assert _apart(_predict(again, "2.3"), _predict(trained, "2.3")) < 0.05


def _refused(path: Path, **section: Any) -> ConfigError:
    transformer = _transformer()
    add_lora(transformer, _section(**section), _objective("t2v"), seed=0)
    before = lora_state(transformer, 1.0, torch.float32)
    with pytest.raises(ConfigError) as caught:
        load_lora(transformer, path, SCALE)
    after = lora_state(transformer, 1.0, torch.float32)
    assert all(torch.equal(before[key], after[key]) for key in before), "a refused file changes nothing"
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_another_rank_is_refused_with_both_shapes(adapter: Path) -> None:
    message = _refused(adapter, rank=RANK + 1).message
    assert "transformer_blocks.0.attn1.to_" in message
    assert "(4, 64)" in message
    assert "(5, 64)" in message


def test_a_module_that_the_file_lacks_is_named(adapter: Path, tmp_path: Path) -> None:
    tensors = load_file(adapter)
    path = tmp_path / "less.safetensors"
    save_file({key: tensor for key, tensor in tensors.items() if ".1.audio_attn2.to_v." not in key}, path)
    message = _refused(path).message
    assert "lacks 1 module" in message
    assert "transformer_blocks.1.audio_attn2.to_v" in message


def test_a_module_that_the_run_lacks_is_named(adapter: Path) -> None:
    message = _refused(adapter, target_modules=["to_q"]).message
    assert "doesn't train" in message
    assert "to_k" in message or "to_v" in message or "to_out.0" in message


def test_half_of_a_pair_is_refused(adapter: Path, tmp_path: Path) -> None:
    tensors = load_file(adapter)
    del tensors["diffusion_model.transformer_blocks.0.attn1.to_q.lora_B.weight"]
    save_file(tensors, tmp_path / "half.safetensors")
    assert "transformer_blocks.0.attn1.to_q has only one" in _refused(tmp_path / "half.safetensors").message


def test_a_full_checkpoint_is_refused(tmp_path: Path) -> None:
    save_full(tmp_path / "full.safetensors", _transformer(), _facts(), TinySource("2.3"), torch.float32)
    error = _refused(tmp_path / "full.safetensors")
    assert "is not a LoRA key" in error.message
    assert "full checkpoint" in error.hint


def test_an_empty_file_of_tensors_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "empty.safetensors")
    assert "no LoRA weights" in _refused(tmp_path / "empty.safetensors").message


@pytest.mark.parametrize("content", ["text", "truncated", "empty", "folder"])
def test_what_is_no_safetensors_file_is_refused(adapter: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.safetensors"
    if content == "text":
        path.write_text("I am no tensor" * 100)
    elif content == "truncated":
        path.write_bytes(adapter.read_bytes()[:-1000])
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "folder":
        path.mkdir()
    assert "is not a readable safetensors file" in _refused(path).message
