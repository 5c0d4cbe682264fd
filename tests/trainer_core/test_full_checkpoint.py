"""The checkpoint of a full run: what readers of each layout find in it, and that it loads back as the trained model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_loader import PREFIX, check_opens
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from trained_whole import LAYOUTS, VERSIONS, base_of, facts_of, predict, trained_transformer

from trainer_core.errors import ConfigError, ExternalError
from trainer_core.full_checkpoint import load_full, save_full
from trainer_core.model.load import open_model
from trainer_core.model.names import PROJECTION_PREFIX, to_upstream
from trainer_core.model.source import Version
from trainer_core.model.tiny import TinySource
from trainer_core.sections.run import ModelSection
from trainer_core.weights_file import read_stored


def saved(folder: Path, layout: str, version: Version, dtype: torch.dtype = torch.bfloat16) -> tuple[Path, Any, Any]:
    """(the checkpoint, the transformer it was saved from, its base)"""
    base, transformer = base_of(layout, version, folder / "base"), trained_transformer(version)
    path = folder / "checkpoints" / "model_weights_step_00007.safetensors"
    save_full(path, transformer, facts_of(version), base, dtype)
    return path, transformer, base


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_readers_of_a_transformers_file_open_it(tmp_path: Path, layout: str, version: Version) -> None:
    path, transformer, base = saved(tmp_path, layout, version)
    metadata, stored = read_stored(path)
    shapes = {one.name: one.shape for one in stored}
    check_opens(shapes, metadata)
    assert all(key.startswith(PREFIX) for key in shapes), "neither projections nor VAEs"
    own = {f"{PREFIX}{to_upstream(name)}" for name in transformer.state_dict()}
    connectors = {one.name: one for one in base.connector_weights(projections=False)}
    assert set(shapes) == own | set(connectors)
    for one in stored:
        if one.name in connectors:
            assert (one.dtype, b"".join(one.pieces())) == (
                connectors[one.name].dtype,
                b"".join(bytes(piece) for piece in connectors[one.name].pieces()),
            ), one.name
    config = json.loads(metadata["config"])
    assert "transformer" in config
    assert not {"vae", "audio_vae", "vocoder"} & set(config), "it would pass for a unified file"
    assert (metadata["step"], metadata["objective"], metadata["trainer"]) == ("7", "t2v", "ltx-agent")
    if layout in ("unified", "pack"):
        with safe_open(base.root, framework="pt") as file:
            said = file.metadata()
        for name in ("license", "gemma_source_checkpoint", "model_version"):
            assert metadata[name] == said[name]
        assert config["transformer"] == json.loads(said["config"])["transformer"]
        assert config["scheduler"]["_class_name"] == "RectifiedFlowScheduler"
    if layout == "pack":
        assert metadata["config"] == said["config"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_our_reader_predicts_with_it_as_the_trained_model_does(tmp_path: Path, layout: str, version: Version) -> None:
    path, transformer, base = saved(tmp_path, layout, version)
    opened = open_model(ModelSection(model_path=str(path)))
    assert opened.version == version
    assert opened.layers == base.layers
    want = predict(transformer, version)
    assert torch.equal(predict(opened.transformer(torch.float32), version), want)
    fresh = TinySource(version, seed=5).transformer(torch.float32)
    load_full(fresh, path)
    assert torch.equal(predict(fresh, version), want)
    assert not torch.equal(predict(base.transformer(torch.float32), version), want)


def test_float32_is_kept(tmp_path: Path) -> None:
    path, transformer, _ = saved(tmp_path, "unified", "2.3", torch.float32)
    own = load_file(path)
    for name, tensor in transformer.state_dict().items():
        assert torch.equal(own[f"{PREFIX}{to_upstream(name)}"], tensor)


def test_a_base_with_the_librarys_names_gets_the_readers(tmp_path: Path) -> None:
    """Full checkpoints of earlier days: diffusers' names in the config, no connectors; VAEs kept in the folder."""
    version: Version = "2.3"
    source = TinySource(version)
    transformer, connectors = source.transformer(torch.float32), source.connectors(torch.float32)
    plain = {name: value for name, value in dict(transformer.config).items() if name != "_use_default_values"}
    tensors = {one.name: one.tensor() for one in source.reader_weights()}
    said = {"model_version": version, "config": json.dumps({"transformer": plain}), "step": "99", "ema_decay": "0.9"}
    save_file(tensors, tmp_path / "old.safetensors", metadata=said)
    base = open_model(ModelSection(model_path=str(tmp_path / "old.safetensors")))
    path = tmp_path / "new.safetensors"
    save_full(path, trained_transformer(version), facts_of(version), base, torch.bfloat16)
    metadata, stored = read_stored(path)
    check_opens({one.name: one.shape for one in stored}, metadata)
    assert json.loads(metadata["config"])["transformer"]["gated_attn"] is True, "what it said besides is kept"
    assert (metadata["step"], "ema_decay" in metadata) == ("7", False), "the run before is not this one"
    assert len(connectors.state_dict()) == len(base.connector_weights(projections=True))


def test_a_whole_unified_file_loads_as_a_checkpoint(tmp_path: Path) -> None:
    base = base_of("unified", "2.3", tmp_path / "base")
    fresh = TinySource("2.3", seed=5).transformer(torch.float32)
    load_full(fresh, base.root)
    assert torch.equal(predict(fresh, "2.3"), predict(base.transformer(torch.float32), "2.3"))


def test_another_version_or_a_piece_of_one_is_refused(tmp_path: Path) -> None:
    path, _, _ = saved(tmp_path, "tiny", "2.3")
    with pytest.raises(ConfigError, match="no full checkpoint of this model"):
        load_full(TinySource("2.5").transformer(torch.float32), path)
    tensors = load_file(path)
    del tensors[f"{PREFIX}transformer_blocks.0.attn1.to_q.weight"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(ConfigError, match=r"transformer_blocks.0.attn1.to_q.weight is missing \(1 such weights\)"):
        load_full(TinySource("2.3").transformer(torch.float32), tmp_path / "less.safetensors")


def test_it_is_written_once_and_never_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, transformer, base = saved(tmp_path, "tiny", "2.3")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="written once"):
        save_full(path, transformer, facts_of("2.3"), base, torch.bfloat16)
    assert path.read_bytes() == before
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": len(before) - 1}))
    with pytest.raises(ExternalError, match="disk is full"):
        save_full(path.with_name("other.safetensors"), transformer, facts_of("2.3"), base, torch.bfloat16)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_runs_give_equal_files(tmp_path: Path, layout: str) -> None:
    files = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        files.append(saved(tmp_path / name, layout, "2.3")[0].read_bytes())
    assert files[0] == files[1]


def test_checkpoints_in_one_folder_are_no_parts_of_each_other(tmp_path: Path) -> None:
    """A run's folder holds many transformers with connectors: each is opened with its own."""
    path, _, base = saved(tmp_path, "tiny", "2.3")
    tensors = {one.name: one.tensor() for one in base.reader_weights()}
    changed = {key: tensor + 1 if "connector" in key else tensor for key, tensor in tensors.items()}
    with safe_open(path, framework="pt") as file:
        save_file(changed, path.with_name("a_first_by_name.safetensors"), metadata=file.metadata())
    opened = open_model(ModelSection(model_path=str(path)))
    key = "video_connector.learnable_registers"
    assert torch.equal(
        opened.connectors(torch.float32).state_dict()[key], base.connectors(torch.float32).state_dict()[key]
    )
    assert {one.name for one in opened.connector_weights(projections=True)} >= {
        one.name for one in base.connector_weights(projections=True) if one.name.startswith(PROJECTION_PREFIX)
    }, "what it lacks comes from beside it"
