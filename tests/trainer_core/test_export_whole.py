"""Whole exports of every layout: the base with a LoRA merged in, or trained in full, and nothing else touched."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_loader import check_opens
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from trained_whole import LAYOUTS, VERSIONS, base_of, facts_of, predict, trained_transformer

from trainer_core.adapters import AdapterFacts, add_lora, lora_state, save_weights
from trainer_core.errors import ConfigError
from trainer_core.export import Exported, export_diffusers, export_full, export_merged
from trainer_core.export_whole import LINKED_FROM_BYTES
from trainer_core.full_checkpoint import save_full
from trainer_core.lora.changes import LowRank
from trainer_core.model.load import open_model
from trainer_core.model.names import beside_the_transformer, to_upstream
from trainer_core.model.source import Version
from trainer_core.objective import load_recipe, objective_of
from trainer_core.sampling.multi_lora import AdapterFile, Weighted, merge_into, open_adapter
from trainer_core.sections.run import LoraSection, ModelSection
from trainer_core.sections.strategy import FlexibleStrategy
from trainer_core.weights_file import read_stored

PREFIX = "model.diffusion_model."


def full(base: Any, version: Version, folder: Path, dtype: torch.dtype = torch.bfloat16) -> AdapterFile:
    """A full checkpoint trained on `base`, opened for export."""
    path = folder / "model_weights_step_00007.safetensors"
    save_full(path, trained_transformer(version), facts_of(version), base, dtype)
    return open_adapter(path, base)


def lora(base: Any, folder: Path, seed: int = 0) -> AdapterFile:
    """A LoRA trained on `base`, opened for export."""
    transformer = base.transformer(torch.float32)
    objective = objective_of(FlexibleStrategy.model_validate(load_recipe("t2v")["training_strategy"]))
    section = LoraSection(rank=4, alpha=4, target_modules=["to_k", "to_q", "ff.net.2"])
    generator = torch.Generator().manual_seed(seed)
    for parameter in add_lora(transformer, section, objective, seed=1):
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    path = folder / f"lora_{seed}.safetensors"
    facts = AdapterFacts(base.version, base.label, base.fingerprint("transformer"), "t2v", 3, rank=4)
    save_weights(path, lora_state(transformer, 1.0, torch.float32), facts)
    return open_adapter(path, base)


def opened(made: Exported) -> Any:
    return open_model(ModelSection(model_path=str(made.path)))


def bytes_of(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {one.name: (one.dtype, one.shape, b"".join(one.pieces())) for one in read_stored(path)[1]}


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_full_run_gives_the_file_that_readers_of_the_base_open(tmp_path: Path, layout: str, version: Version) -> None:
    base = base_of(layout, version, tmp_path / "base")
    checkpoint = full(base, version, tmp_path)
    made = export_full(checkpoint, base, tmp_path / "whole.safetensors")
    metadata, stored = read_stored(made.path)
    check_opens({one.name: one.shape for one in stored}, metadata)
    assert metadata["step"] == "7"
    own, trained = bytes_of(made.path), bytes_of(checkpoint.path)
    if layout in ("unified", "pack"):
        theirs, said = bytes_of(base.root), metadata_of(base.root)
        assert {name: metadata[name] for name in said} == said, "the base's own metadata, every name of it"
        assert {key: entry[:2] for key, entry in own.items()} == {key: entry[:2] for key, entry in theirs.items()}
        untouched = [key for key in theirs if beside_the_transformer(key)]
        assert len(untouched) > (300 if layout == "unified" else 20)
        for key in untouched:
            assert own[key] == theirs[key], key
        changed = [key for key in theirs if key not in untouched and own[key] != theirs[key]]
        assert len(changed) == len(theirs) - len(untouched)
        table = f"{PREFIX}transformer_blocks.0.scale_shift_table"
        assert own[table][0] == "F32", "in the base's wider numbers"
        assert own[f"{PREFIX}patchify_proj.weight"] == trained[f"{PREFIX}patchify_proj.weight"]
    else:
        assert any(key.startswith("text_embedding_projection.") for key in own)
    want = predict(trained_transformer(version), version)
    assert torch.equal(predict(opened(made).transformer(torch.float32), version), want)
    whole = opened(made) if layout != "pack" else None
    if whole is not None:
        for part in ("connectors", "video_vae", "audio_vae", "vocoder") if layout == "unified" else ("connectors",):
            state = getattr(whole, part)(torch.float32).state_dict()
            for name, tensor in getattr(base, part)(torch.float32).state_dict().items():
                assert torch.equal(state[name], tensor), name
        assert whole.widths == base.widths


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_merged_lora_gives_what_readers_of_the_base_open(tmp_path: Path, layout: str, version: Version) -> None:
    base = base_of(layout, version, tmp_path / "base")
    adapter = lora(base, tmp_path)
    made = export_merged(
        base, [Weighted(adapter, 0.5)], tmp_path / ("merged" if layout == "folder" else "m.safetensors")
    )
    merged = opened(made)
    want = base.transformer(torch.float32)
    merge_into(want, [Weighted(adapter, 0.5)])
    state = merged.transformer(torch.float32).state_dict()
    changed = {f"{module}.weight" for module in adapter.pairs}
    untouched = base.transformer(torch.float32).state_dict()
    for name, tensor in want.state_dict().items():
        if name in changed:
            torch.testing.assert_close(state[name], tensor, rtol=1e-2, atol=1e-3)
            assert not torch.equal(state[name], untouched[name])
        else:
            assert torch.equal(state[name], untouched[name]), name
    assert merged.widths == base.widths if layout != "pack" else merged.layers == base.layers
    if layout == "folder":
        return
    metadata, stored = read_stored(made.path)
    check_opens({one.name: one.shape for one in stored}, metadata)
    assert json.loads(metadata["merged"]) == [{"sha256": adapter.digest, "weight": 0.5}]
    if layout in ("unified", "pack"):
        own, theirs, said = bytes_of(made.path), bytes_of(base.root), metadata_of(base.root)
        assert {name: metadata[name] for name in said} == said
        keys = {f"{PREFIX}{to_upstream(name)}" for name in changed}
        assert {key for key in theirs if own[key] != theirs[key]} == keys
        assert {key: entry[:2] for key, entry in own.items()} == {key: entry[:2] for key, entry in theirs.items()}


@pytest.mark.parametrize("what", ["full", "merged"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_folder_gives_a_whole_folder_that_takes_no_room_twice(tmp_path: Path, what: str, version: Version) -> None:
    base = base_of("folder", version, tmp_path / "base")
    sizes = {path.stat().st_size >= LINKED_FROM_BYTES for path in base.root.rglob("*.safetensors")}
    assert sizes == {True, False}
    assert len(list((base.root / "transformer").glob("*.safetensors"))) > 1
    if what == "full":
        made = export_diffusers(full(base, version, tmp_path), base, tmp_path / "whole")
    else:
        made = export_merged(base, [Weighted(lora(base, tmp_path))], tmp_path / "whole")
    files = {path.relative_to(made.path): path for path in made.path.rglob("*") if path.is_file()}
    before = {path.relative_to(base.root): path for path in base.root.rglob("*") if path.is_file()}
    assert set(before) - set(files) == {Path("another-form.safetensors")}, "what isn't the pipeline's stays out"
    assert set(files) == set(before) - {Path("another-form.safetensors")}
    for name, path in files.items():
        if name.parts[0] != "transformer":
            assert path.read_bytes() == before[name].read_bytes()
            # large files are links, small ones copies
            assert path.samefile(before[name]) == (path.stat().st_size >= LINKED_FROM_BYTES)
    assert "hard links" in made.checked
    new, old = opened(made), base
    assert new.version == version
    for part in ("connectors", "video_vae", "audio_vae", "vocoder"):
        state = getattr(new, part)(torch.float32).state_dict()
        assert all(torch.equal(state[k], v) for k, v in getattr(old, part)(torch.float32).state_dict().items())
    if what == "full":
        want = predict(trained_transformer(version), version)
        assert torch.equal(predict(new.transformer(torch.float32), version), want)
    index = json.loads((made.path / "transformer/diffusion_pytorch_model.safetensors.index.json").read_text())
    sizes = {one.name: one.size_bytes for p in made.path.glob("transformer/*.safetensors") for one in read_stored(p)[1]}
    assert index["metadata"]["total_size"] == sum(sizes.values())
    assert set(index["weight_map"]) == set(sizes)


def test_the_library_opens_the_exported_folder(tmp_path: Path) -> None:
    from diffusers import LTX2VideoTransformer3DModel

    base = base_of("folder", "2.3", tmp_path / "base")
    made = export_diffusers(full(base, "2.3", tmp_path, torch.float32), base, tmp_path / "whole")
    loaded = LTX2VideoTransformer3DModel.from_pretrained(made.path / "transformer", torch_dtype=torch.float32)
    assert torch.equal(predict(loaded, "2.3"), predict(trained_transformer("2.3"), "2.3"))


def test_a_part_named_elsewhere_comes_along(tmp_path: Path) -> None:
    """`model.video_vae_path` replaces the folder's own part in what is handed over, too."""
    base = base_of("folder", "2.3", tmp_path / "base")
    moved = base.root.parent / "my vae"
    (base.root / "vae").rename(moved)
    base = open_model(ModelSection(model_path=str(base.root), video_vae_path=str(moved)))
    made = export_merged(base, [Weighted(lora(base, tmp_path))], tmp_path / "whole")
    assert sorted(path.name for path in (made.path / "vae").iterdir()) == sorted(path.name for path in moved.iterdir())
    assert opened(made).fingerprint("video_vae") == base.fingerprint("video_vae")


def test_linked_blobs_of_a_download_cache_become_files(tmp_path: Path) -> None:
    """A snapshot folder of the Hub's cache is made of links; two names may lead to one blob."""
    base = base_of("folder", "2.3", tmp_path / "base")
    blob = tmp_path / "blob"
    (base.root / "tokenizer" / "tokenizer.json").rename(blob)
    for place in ("tokenizer/tokenizer.json", "text_encoder/tokenizer.json"):
        (base.root / place).symlink_to(blob)
    made = export_merged(base, [Weighted(lora(base, tmp_path))], tmp_path / "whole")
    for place in ("tokenizer/tokenizer.json", "text_encoder/tokenizer.json"):
        assert not (made.path / place).is_symlink()
        assert (made.path / place).read_bytes() == blob.read_bytes()


def test_without_hard_links_the_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = base_of("folder", "2.3", tmp_path / "base")
    (base.root / "vae" / "big.bin").write_bytes(b"x" * LINKED_FROM_BYTES)

    def refused(*_names: Any) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr("os.link", refused)
    made = export_merged(base, [Weighted(lora(base, tmp_path))], tmp_path / "whole")
    assert not (made.path / "vae" / "big.bin").samefile(base.root / "vae" / "big.bin")
    assert (made.path / "vae" / "big.bin").stat().st_size == LINKED_FROM_BYTES
    assert "0.00 GB are hard links" in made.checked
    whole = sum(path.stat().st_size for path in made.path.rglob("*") if path.is_file())
    whole -= sum(path.stat().st_size for path in (made.path / "transformer").iterdir())
    assert f"{whole / 1e9:.2f} GB are copies" in made.checked


def test_a_float32_checkpoint_is_not_rounded_to_the_bases_numbers(tmp_path: Path) -> None:
    base = base_of("unified", "2.3", tmp_path / "base")
    made = export_full(full(base, "2.3", tmp_path, torch.float32), base, tmp_path / "whole.safetensors")
    own = load_file(made.path)
    assert own[f"{PREFIX}patchify_proj.weight"].dtype == torch.float32
    assert own["vae.decoder.conv_in.conv.weight"].dtype == torch.bfloat16


def test_the_disk_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unified = base_of("unified", "2.3", tmp_path / "base")
    folder = base_of("folder", "2.3", tmp_path / "folder")
    adapter = lora(unified, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1000}))
    with pytest.raises(ConfigError, match=r"m.safetensors takes [\d.]+ MB; 1.0 kB are free at"):
        export_merged(unified, [Weighted(adapter)], tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match="are free at"):
        export_merged(folder, [Weighted(adapter)], tmp_path / "whole")
    assert not (tmp_path / "m.safetensors").exists()
    assert not (tmp_path / "whole").exists()


def test_what_does_not_fit_the_base_is_refused(tmp_path: Path) -> None:
    base = base_of("unified", "2.3", tmp_path / "base")
    checkpoint = full(base, "2.3", tmp_path)
    tensors, said = load_file(checkpoint.path), metadata_of(checkpoint.path)

    def other(change: dict[str, torch.Tensor | None]) -> AdapterFile:
        path = tmp_path / "other.safetensors"
        now = {**tensors, **change}
        save_file({key: tensor for key, tensor in now.items() if tensor is not None}, path, metadata=said)
        return open_adapter(path, base)

    key = f"{PREFIX}proj_out.weight"
    to = tmp_path / "whole.safetensors"
    with pytest.raises(ConfigError, match=r"has no proj_out.weight"):
        export_full(other({key: None}), base, to)
    with pytest.raises(ConfigError, match=r"has no weight proj_in2.weight"):
        export_full(other({f"{PREFIX}proj_in2.weight": torch.zeros(2)}), base, to)
    with pytest.raises(ConfigError, match=r"proj_out.weight is \(3, 3\), the base's is \(128, 64\)"):
        export_full(other({key: torch.zeros(3, 3)}), base, to)
    with pytest.raises(ConfigError, match=r"proj_out.weight would hold numbers that are not finite"):
        export_full(other({key: torch.full((128, 64), float("nan"))}), base, to)
    adapter = lora(base, tmp_path)
    assert adapter.lora is not None
    changes = {"proj_in": LowRank(torch.zeros(1, 5), torch.zeros(7, 1))}
    odd = replace(adapter, lora=replace(adapter.lora, changes=changes, shapes={"proj_in": (7, 5)}))
    with pytest.raises(ConfigError, match=r"changes a 7x5 matrix; .*patchify_proj.weight is \(64, 128\)"):
        export_merged(base, [Weighted(odd)], to)
    assert not to.exists()
    assert not list(tmp_path.glob(".part-*"))


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    base = base_of("unified", "2.3", tmp_path / "base")
    stack = [Weighted(lora(base, tmp_path, seed)) for seed in (0, 1)]
    checkpoint = full(base, "2.3", tmp_path)
    files = []
    for name in ("one", "other"):
        merged = export_merged(base, stack, tmp_path / f"m-{name}.safetensors")
        whole = export_full(checkpoint, base, tmp_path / f"w-{name}.safetensors")
        files.append((merged.path.read_bytes(), whole.path.read_bytes()))
    assert files[0] == files[1]
