"""Exports of a finished run: each form is read back by who it is for, nothing is overwritten, the card quotes facts."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from comfyui_nodes import check_workflow
from safetensors import safe_open
from safetensors.torch import load_file
from trained_whole import base_of

from tools.deliver.export import ExportAdapterArguments, ExportAdapterResult, export_run, preview_export
from tools.project import Project
from trainer_core.adapters import block_free
from trainer_core.config import load_config
from trainer_core.errors import ConfigError
from trainer_core.model.load import open_model
from trainer_core.model.reader_keys import LORA_KEYS
from trainer_core.model.tiny import TinySource
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.multi_lora import Weighted, open_adapter, stack_adapters
from trainer_core.sections.run import ModelSection


@pytest.fixture(scope="module")
def exported(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportAdapterResult, Path]:
    folder = tmp_path_factory.mktemp("exports") / "mine"
    asked = ExportAdapterArguments(
        forms=["lora", "diffusers", "merged", "upstream", "comfyui", "card"],
        base_licence="LTX-2 Community License",
        data_licence="all <rights> mine",
    )
    return export_run(run, asked, None, folder), folder


def lora_file(folder: Path) -> Path:
    return next(folder.glob("ltx-2.3-t2v-*.safetensors"))


def test_the_lora_has_only_keys_that_readers_accept(exported: tuple[ExportAdapterResult, Path], run: RunFolder) -> None:
    result, folder = exported
    tensors = load_file(lora_file(folder))
    assert {block_free(key) for key in tensors} <= LORA_KEYS
    assert lora_file(folder).read_bytes() == next(run.checkpoints.glob("*.safetensors")).read_bytes()
    assert result.checked["lora"].startswith(f"{len(tensors)} keys")


def test_diffusers_loads_both_files_to_the_same_adapter(exported: tuple[ExportAdapterResult, Path]) -> None:
    from diffusers import LTX2Pipeline
    from peft import get_peft_model_state_dict

    _, folder = exported
    states = []
    for path in (lora_file(folder), folder / "diffusers" / "pytorch_lora_weights.safetensors"):
        source = TinySource("2.3")
        transformer = source.transformer(torch.float32)
        pipe = LTX2Pipeline(
            scheduler=None, vae=None, audio_vae=None, text_encoder=None, tokenizer=None, connectors=None,
            transformer=transformer, vocoder=None,
        )  # fmt: skip
        pipe.load_lora_weights(path.parent, weight_name=path.name)
        name = next(iter(transformer.peft_config))
        states.append(get_peft_model_state_dict(transformer, adapter_name=name))
    assert len(states[0]) == len(load_file(lora_file(folder)))
    for key, tensor in states[0].items():
        assert torch.equal(tensor, states[1][key])


def test_the_merged_checkpoint_is_base_and_adapter(exported: tuple[ExportAdapterResult, Path], run: RunFolder) -> None:
    _, folder = exported
    merged = next(folder.glob("merged-*.safetensors"))
    source = TinySource("2.3")
    adapter = open_adapter(next(run.checkpoints.glob("*.safetensors")), source)
    full, stacked = source.transformer(torch.float32), source.transformer(torch.float32)
    stack_adapters(full, [Weighted(open_adapter(merged, source))])
    stack_adapters(stacked, [Weighted(adapter)])
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    for module in adapter.pairs:
        if module.endswith("attn1.to_q") and "audio" not in module:
            torch.testing.assert_close(
                full.get_submodule(module)(x), stacked.get_submodule(module)(x), rtol=2e-2, atol=2e-2
            )
    with safe_open(merged, framework="pt") as file:
        assert json.loads(file.metadata()["merged"]) == [{"sha256": adapter.digest, "weight": 1.0}]


def test_the_upstream_yaml_holds_upstream_s_keys_alone(
    exported: tuple[ExportAdapterResult, Path], run: RunFolder
) -> None:
    _, folder = exported
    document = yaml.safe_load((folder / "training.yaml").read_text())
    assert "ltx_agent" not in document
    assert document["training_strategy"]["name"] == "flexible"
    again = load_config(folder / "training.yaml")
    before = load_config(run.config_path)
    assert again.model_dump(exclude={"ltx_agent"}) == before.model_dump(exclude={"ltx_agent"})


def test_the_workflow_names_the_files_and_the_size(exported: tuple[ExportAdapterResult, Path]) -> None:
    _, folder = exported
    document = json.loads((folder / "comfyui-workflow.json").read_text())
    check_workflow(document)
    assert document["adapter"]["inputs"]["lora_name"] == lora_file(folder).name
    assert (folder / document["adapter"]["inputs"]["lora_name"]).exists()
    sizes = document["pictures"]["inputs"]
    assert (sizes["width"], sizes["height"], sizes["length"]) == (64, 32, 9)


def test_the_card_quotes_counts_hashes_and_licences(exported: tuple[ExportAdapterResult, Path]) -> None:
    result, folder = exported
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["instance_prompt"] == "bnny"
    assert "base_model" not in head, "the Hub takes a repository's name there alone"
    assert "Trained on tiny random" in card
    assert "this is noise and says nothing" in card
    assert "Trained on: 1 clips, 1 samples" in card
    assert "Held out: 1 clips" in card
    assert "LTX-2 Community License" in card
    assert "all &lt;rights> mine" in card
    assert open_adapter(lora_file(folder), TinySource("2.3")).digest in card
    assert any("no loss curve" in note for note in result.notes)


def test_licences_that_nobody_stated_are_not_invented(run: RunFolder, tmp_path: Path) -> None:
    result = export_run(run, ExportAdapterArguments(forms=["card"]), None, tmp_path / "e")
    assert "- Training data: not stated" in (tmp_path / "e" / "README.md").read_text()
    assert sum("is not stated" in note for note in result.notes) == 2


def test_an_export_is_moved_aside_never_lost(make_run: Callable[..., RunFolder]) -> None:
    run = make_run()
    project = Project(run.path.parent.parent)
    first = ExportAdapterArguments(forms=["upstream"])
    assert preview_export(project, first) is None
    export_run(run, first)
    mine = run.path / "export" / "mine.txt"
    mine.write_text("a note of the person's")
    with pytest.raises(ConfigError, match="holds an export already"):
        export_run(run, first)
    again = ExportAdapterArguments(forms=["upstream"], overwrite=True)
    preview = preview_export(project, again)
    assert preview is not None
    assert preview.approval == "overwrite"
    export_run(run, again)
    assert not mine.exists()
    aside = next(run.path.glob("export.before-*"))
    assert (aside / "mine.txt").read_text() == "a note of the person's"


@pytest.mark.parametrize("layout", ["tiny", "unified", "folder"])
def test_a_full_run_exports_its_checkpoint(make_run: Callable[..., RunFolder], tmp_path: Path, layout: str) -> None:
    from diffusers import LTX2VideoTransformer3DModel

    base = base_of(layout, "2.3", tmp_path / "base")
    path = "tiny" if layout == "tiny" else str(base.root)
    run = make_run("t2a", {"model": {"training_mode": "full", "model_path": path}, "lora": None})
    result = export_run(run, ExportAdapterArguments(), None, tmp_path / "e")
    own = load_file(next(run.checkpoints.glob("*.safetensors")))
    whole = next((tmp_path / "e").glob("ltx-*.safetensors"))
    exported = load_file(whole)
    assert set(own) < set(exported), "the text projections at least are in the export alone"
    assert ("vae.decoder.conv_in.conv.weight" in exported) == (layout == "unified")
    for key in own:
        assert torch.equal(exported[key].float(), own[key].float()), key
    assert result.checked["full"].startswith(f"{_trained(own)} weights of the base changed, ")
    loaded = LTX2VideoTransformer3DModel.from_pretrained(tmp_path / "e" / "diffusers" / "transformer")
    name = "audio_proj_in.weight"
    assert torch.equal(
        loaded.state_dict()[name].float(), own["model.diffusion_model.audio_patchify_proj.weight"].float()
    )
    assert ((tmp_path / "e" / "diffusers" / "vae").is_dir()) == (layout == "folder")
    document = json.loads((tmp_path / "e" / "comfyui-workflow.json").read_text())
    check_workflow(document)
    if layout == "unified":
        assert document["base"]["inputs"]["ckpt_name"] == whole.name, "one checkpoint holds it all"
        assert "model" not in document
    else:
        assert document["model"]["inputs"]["unet_name"] == whole.name
    with pytest.raises(ConfigError, match="one checkpoint already"):
        export_run(run, ExportAdapterArguments(forms=["merged"]), None, tmp_path / "f")


def test_a_lora_on_a_diffusers_folder_is_merged_into_a_folder(
    make_run: Callable[..., RunFolder], tmp_path: Path
) -> None:
    base = base_of("folder", "2.3", tmp_path / "base")
    run = make_run("t2v", {"model": {"model_path": str(base.root)}})
    result = export_run(run, ExportAdapterArguments(forms=["merged"]), None, tmp_path / "e")
    folder = next((tmp_path / "e").glob("merged-*"))
    assert not folder.name.endswith(".safetensors")
    assert open_model(ModelSection(model_path=str(folder))).version == "2.3"
    assert "hard links" in result.checked["merged"]


def _trained(checkpoint: dict[str, torch.Tensor]) -> int:
    return sum("_embeddings_connector." not in key for key in checkpoint)


def test_a_broken_checkpoint_is_refused_before_anything_is_written(
    make_run: Callable[..., RunFolder], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    run = make_run()
    path = next(run.checkpoints.glob("*.safetensors"))
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] = float("inf")
    save_file(tensors, path, metadata={"model_version": "2.3"})
    with pytest.raises(ConfigError, match="not finite"):
        export_run(run, ExportAdapterArguments(), None, tmp_path / "e")
    assert not (tmp_path / "e").exists()
    with pytest.raises(ConfigError, match="There is no checkpoint nothing"):
        export_run(run, ExportAdapterArguments(checkpoint="nothing"), None, tmp_path / "e")


def test_a_weight_is_for_a_merged_checkpoint_alone_and_is_a_number(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weight 0\.5 would change nothing"):
        export_run(run, ExportAdapterArguments(forms=["lora"], weight=0.5), None, tmp_path / "e")
    with pytest.raises(ConfigError, match="has the weight nan"):
        export_run(run, ExportAdapterArguments(forms=["merged"], weight=float("nan")), None, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_checkpoint_that_the_disk_can_not_hold_is_refused(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1000}))
    with pytest.raises(ConfigError, match=r"takes 2\.1 MB; 1\.0 kB are free at"):
        export_run(run, ExportAdapterArguments(forms=["merged"]), None, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_the_tools_are_offered_with_their_approvals() -> None:
    from tools.deliver.tool import DELIVER_TOOLS

    found: dict[str, Any] = {tool.name: tool.needs_approval for tool in DELIVER_TOOLS}
    assert found == {"sample_adapter": None, "export_adapter": "overwrite", "push_to_hub": "push"}
    assert all(tool.description and tool.schema() for tool in DELIVER_TOOLS)
    assert os.environ.get("HF_TOKEN") is None or "HF_TOKEN" not in str(found)


@pytest.mark.parametrize(
    ("kind", "rank", "readers", "loader"),
    [
        ("rslora", 4, "the official tools", "LTX2Pipeline.load_lora_weights"),
        ("dora", 4, "DoRA for ComfyUI", "LTX2Pipeline.load_lora_weights"),
        ("lokr", 1, "LoKr for ComfyUI", "LTX2Pipeline.load_lora_weights"),
        ("lokr", 8, "LoKr for ComfyUI", "transformer.load_lora_adapter"),
    ],
)
def test_every_kind_of_adapter_is_exported_in_a_form_that_is_read(
    make_run: Callable[..., RunFolder], tmp_path: Path, kind: str, rank: int, readers: str, loader: str
) -> None:
    """diffusers gets what it loads to the same change; ComfyUI gets the file as it is; the card says who reads it."""
    from diffusers import LTX2Pipeline

    run = make_run("t2v", {"ltx_agent": {"lora": {"kind": kind, "factor": 8}}, "lora": {"rank": rank}})
    result = export_run(
        run, ExportAdapterArguments(forms=["lora", "diffusers", "merged", "card"]), None, tmp_path / "e"
    )
    assert loader in result.checked["diffusers"]
    assert readers in (tmp_path / "e" / "README.md").read_text()
    own = open_adapter(lora_file(tmp_path / "e"), TinySource("2.3"))
    stacked, loaded, merged = (TinySource("2.3").transformer(torch.float32) for _ in range(3))
    stack_adapters(stacked, [Weighted(own)])
    whole = open_adapter(next((tmp_path / "e").glob("merged-*.safetensors")), TinySource("2.3"))
    stack_adapters(merged, [Weighted(whole)])
    folder = tmp_path / "e" / "diffusers"
    if "Pipeline" in loader:
        pipe = LTX2Pipeline(
            scheduler=None, vae=None, audio_vae=None, text_encoder=None, tokenizer=None, connectors=None,
            transformer=loaded, vocoder=None,
        )  # fmt: skip
        pipe.load_lora_weights(folder)
    else:
        loaded.load_lora_adapter(folder, prefix="transformer", use_safetensors=True)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    for module in ("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.attn2.to_out.0"):
        wanted = stacked.get_submodule(module)(x)
        torch.testing.assert_close(loaded.get_submodule(module)(x), wanted)
        torch.testing.assert_close(merged.get_submodule(module)(x), wanted, rtol=2e-2, atol=2e-2)
