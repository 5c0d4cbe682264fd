"""From a path to a model: diffusers folders of three versions, and everything else refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer_core.errors import ConfigError
from trainer_core.model.load import open_model
from trainer_core.model.source import Version
from trainer_core.model.tiny import TinySource
from trainer_core.sections.run import ModelSection

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Version, Path]:
    """A diffusers folder of each version, written by the library itself."""
    found: dict[Version, Path] = {}
    for version in VERSIONS:
        root = tmp_path_factory.mktemp(f"ltx-{version}")
        source = TinySource(version)
        source.transformer(torch.float32).save_pretrained(root / "transformer")
        source.connectors(torch.float32).save_pretrained(root / "connectors")
        source.video_vae(torch.float32).save_pretrained(root / "vae")
        source.audio_vae(torch.float32).save_pretrained(root / "audio_vae")
        source.vocoder(torch.float32).save_pretrained(root / "vocoder")
        tokenizer, encoder = source.text_encoder(torch.float32)
        encoder.save_pretrained(root / "text_encoder")
        tokenizer.save_pretrained(root / "tokenizer")
        found[version] = root
    return found


@pytest.fixture
def copied(folders: dict[Version, Path], tmp_path: Path) -> Path:
    """A 2.3 folder that a test may damage."""
    return Path(shutil.copytree(folders["2.3"], tmp_path / "model"))


def _open(path: Path, **paths: str) -> Any:
    return open_model(ModelSection(model_path=str(path), **paths))


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_tiny_is_made_on_the_spot() -> None:
    assert _open(Path("tiny:2.5")).version == "2.5"
    with pytest.raises(ConfigError, match="no tiny model of version 9"):
        _open(Path("tiny:9"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_diffusers_folder_loads_whole_with_its_version(folders: dict[Version, Path], version: Version) -> None:
    source, tiny = _open(folders[version]), TinySource(version)
    assert source.version == version
    assert folders[version].name in source.label
    assert version in source.label
    for part in ("transformer", "connectors", "video_vae", "audio_vae", "vocoder"):
        module = getattr(source, part)(torch.float32)
        assert _same(module, getattr(tiny, part)(torch.float32)), part
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
    tokenizer, encoder = source.text_encoder(torch.float32)
    assert _same(encoder, tiny.text_encoder(torch.float32)[1])
    assert tokenizer("fox").input_ids == tiny.text_encoder(torch.float32)[0]("fox").input_ids


@pytest.mark.parametrize("version", VERSIONS)
def test_the_widths_are_those_of_the_weights(folders: dict[Version, Path], version: Version) -> None:
    source = TinySource(version)
    transformer, connectors = source.transformer(torch.float32), source.connectors(torch.float32)
    side = ("video_text_proj_in", "audio_text_proj_in") if version != "2.0" else ("text_proj_in",) * 2
    expected = (
        transformer.proj_in.in_features,
        transformer.audio_proj_in.in_features,
        *(getattr(connectors, name).out_features for name in side),
    )
    for one in (source.widths, _open(folders[version]).widths):
        assert (one.video, one.audio, one.video_text, one.audio_text) == expected


def test_a_part_comes_in_the_asked_dtype(folders: dict[Version, Path]) -> None:
    assert _open(folders["2.3"]).transformer(torch.bfloat16).proj_in.weight.dtype == torch.bfloat16


def test_a_path_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model at .*nowhere"):
        _open(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"no tensors at all" * 50])
def test_a_file_that_holds_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ltx.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=r"ltx\.safetensors"):
        _open(tmp_path / "ltx.safetensors")


def test_an_empty_folder_lacks_its_transformer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks its transformer: .*transformer"):
        _open(tmp_path)


def test_another_model_is_named(copied: Path) -> None:
    path = copied / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "FluxTransformer2DModel"}))
    with pytest.raises(ConfigError, match="FluxTransformer2DModel, not an LTX-2 transformer"):
        _open(copied)


@pytest.mark.parametrize("text", ["{half", "[]", ""])
def test_a_broken_config_is_named(copied: Path, text: str) -> None:
    (copied / "transformer" / "config.json").write_text(text)
    with pytest.raises(ConfigError, match="transformer"):
        _open(copied)


def test_a_missing_part_is_named_when_it_is_needed(copied: Path) -> None:
    shutil.rmtree(copied / "audio_vae")
    source = _open(copied)
    source.video_vae(torch.float32)
    with pytest.raises(ConfigError, match="lacks its audio vae"):
        source.audio_vae(torch.float32)


@pytest.mark.parametrize("damage", ["truncated", "missing", "not safetensors"])
def test_damaged_weights_are_named(copied: Path, damage: str) -> None:
    weights = next((copied / "transformer").glob("*.safetensors"))
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-5000])
    elif damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(b"hello" * 1000)
    with pytest.raises(ConfigError, match="transformer can't be loaded") as caught:
        _open(copied).transformer(torch.float32)
    assert caught.value.exit_code == 2


def test_damaged_text_encoder_weights_are_named(copied: Path) -> None:
    weights = next((copied / "text_encoder").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-5000])
    with pytest.raises(ConfigError, match="text_encoder"):
        _open(copied).text_encoder(torch.float32)


def test_weights_that_lack_tensors_are_refused(copied: Path) -> None:
    """The library fills what is missing with random numbers and only logs it: a run on such a base is worth nothing."""
    from safetensors.torch import load_file, save_file

    weights = next((copied / "transformer").glob("*.safetensors"))
    tensors = load_file(weights)
    dropped = next(key for key in tensors if "attn1.to_q" in key)
    save_file({key: tensor for key, tensor in tensors.items() if key != dropped}, weights, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="transformer"):
        _open(copied).transformer(torch.float32)


@pytest.mark.parametrize(("version", "other"), [("2.3", "2.5"), ("2.5", "2.3")])
def test_the_wrong_gemma_is_refused(folders: dict[Version, Path], version: Version, other: Version) -> None:
    source = _open(folders[version], text_encoder_path=str(folders[other] / "text_encoder"))
    with pytest.raises(ConfigError, match=f"LTX-{version} needs gemma{4 if version == '2.5' else 3}") as caught:
        source.text_encoder(torch.float32)
    assert "text_encoder_path" in caught.value.hint


@pytest.mark.parametrize(("setting", "value"), [("hidden_size", 48), ("num_hidden_layers", 5)])
def test_a_gemma_of_another_size_is_refused_before_it_loads(copied: Path, setting: str, value: int) -> None:
    path = copied / "text_encoder" / "config.json"
    config = json.loads(path.read_text())
    config["text_config"][setting] = value
    path.write_text(json.dumps(config))
    for weights in (copied / "text_encoder").glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ConfigError, match=r"was trained with one 32 wide with 3 layers") as caught:
        _open(copied).text_encoder(torch.float32)
    assert str(value) in caught.value.message


def test_a_part_given_by_its_own_path_is_taken_from_there(folders: dict[Version, Path], copied: Path) -> None:
    shutil.rmtree(copied / "vae")
    source = _open(copied, video_vae_path=str(folders["2.3"] / "vae"))
    assert _same(source.video_vae(torch.float32), TinySource("2.3").video_vae(torch.float32))


def test_a_fingerprint_changes_with_the_part_and_only_with_it(copied: Path) -> None:
    parts = ("transformer", "connectors", "video_vae", "audio_vae", "vocoder", "text_encoder")
    before = {part: _open(copied).fingerprint(part) for part in parts}
    assert before == {part: _open(copied).fingerprint(part) for part in parts}
    assert len(set(before.values())) == len(parts)
    TinySource("2.3", seed=1).video_vae(torch.float32).save_pretrained(copied / "vae")
    after = {part: _open(copied).fingerprint(part) for part in parts}
    assert {part for part in parts if before[part] != after[part]} == {"video_vae"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_text_encoder_streams_into_8_bits(folders: dict[Version, Path], version: Version) -> None:
    """Its linear layers shrink to a quarter of float32; hidden states stay within 8 % on random layers of 32."""
    tokens, whole = _open(folders[version]).text_encoder(torch.float32)
    _, packed = _open(folders[version]).text_encoder(torch.float32, in_8bit=True)
    ids = tokens("a fox in the snow", return_tensors="pt").input_ids
    states = [
        encoder.model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-1].detach()
        for encoder in (whole, packed)
    ]
    assert float((states[1] - states[0]).norm() / states[0].norm()) < 0.08
    layer = packed.model.language_model.layers[0].mlp.up_proj.weight
    assert layer.qdata.dtype == torch.int8
