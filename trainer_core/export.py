"""Weights in the forms that others read: upstream/ComfyUI LoRA, diffusers folder, whole checkpoint.

A LoRA is checked key by key against the stored list of what readers accept; a big checkpoint streams from file to file.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_core.adapters import block_free, without_prefix
from trainer_core.config import TrainingConfig
from trainer_core.errors import ConfigError
from trainer_core.export_whole import merged_changes, trained_changes, write_file, write_folder
from trainer_core.files import refuse_full_disk, replacing, write_json, write_text
from trainer_core.lora.forms import diffusers_state
from trainer_core.model.folder import FolderSource
from trainer_core.model.names import beside_the_transformer, to_diffusers
from trainer_core.model.reader_keys import ADAPTER_KEYS
from trainer_core.model.source import ModelSource
from trainer_core.sampling.multi_lora import AdapterFile, Weighted
from trainer_core.upstream import upstream_yaml
from trainer_core.weights_file import file_bytes, read_stored, write_stored, write_tensors


@dataclass(frozen=True)
class Exported:
    """One thing written. `path` is a file or a folder; `checked` says what was verified about it."""

    kind: str
    path: Path
    checked: str


def export_lora(adapter: AdapterFile, to: Path) -> Exported:
    """Copy a LoRA in upstream's keys, byte for byte, after checking every key; refuses one that readers don't know.

    Raises ConfigError naming the first key.
    """
    from safetensors import safe_open

    with safe_open(adapter.path, framework="pt") as file:
        keys = list(file.keys())
    for key in keys:
        if block_free(key) not in ADAPTER_KEYS:
            raise ConfigError(f"`{key}` is not a key that ComfyUI and diffusers read.", "Export another checkpoint.")
    _refuse_existing(to)
    with replacing(to) as temporary:
        shutil.copyfile(adapter.path, temporary)
    branches = sorted({"audio" if ".audio_" in key else "video" for key in keys if "_to_" not in key.split(".")[3]})
    return Exported("lora", to, f"{len(keys)} keys, each one that ComfyUI reads ({', '.join(branches)})")


def export_diffusers(adapter: AdapterFile, source: ModelSource, to: Path) -> Exported:
    """Write a folder for diffusers: a LoRA for `load_lora_weights`, or a full checkpoint.

    Of that the whole model where the base is a diffusers folder, else the transformer alone.
    """
    _refuse_existing(to)
    if adapter.kind == "lora":
        path = to / "pytorch_lora_weights.safetensors"
        assert adapter.lora is not None
        state, checked = diffusers_state(adapter.lora)
        write_tensors(path, state, {**adapter.metadata, "format": "pt"})
        return Exported("diffusers", to, checked)
    if isinstance(source, FolderSource):
        return Exported("diffusers", to, write_folder(source, trained_changes(adapter), to))
    own = [one for one in read_stored(adapter.path)[1] if not beside_the_transformer(one.name)]
    tensors = [one.named(to_diffusers(without_prefix(one.name))) for one in own]
    folder = to / "transformer"
    folder.mkdir(parents=True)
    refuse_full_disk(folder, file_bytes(tensors, {}), folder.name, "Free some space, or name another --to.")
    write_stored(folder / "diffusion_pytorch_model.safetensors", tensors, {"format": "pt"})
    config = {"_class_name": "LTX2VideoTransformer3DModel", **source.library_config("transformer")}
    write_json(folder / "config.json", config)
    return Exported("diffusers", to, f"{len(tensors)} weights for LTX2VideoTransformer3DModel.from_pretrained")


def export_full(checkpoint: AdapterFile, source: ModelSource, to: Path) -> Exported:
    """Write the file that readers of the base open, with the transformer that a full run trained in it."""
    _refuse_existing(to)
    return Exported("full", to, write_file(source, trained_changes(checkpoint), to))


def export_merged(source: ModelSource, stack: Sequence[Weighted], to: Path) -> Exported:
    """Write the base with `stack` added to its weights, laid out as the base is: `to` is a folder or a file."""
    _refuse_existing(to)
    changes = merged_changes(stack, source)
    write = write_folder(source, changes, to) if isinstance(source, FolderSource) else write_file(source, changes, to)
    return Exported("merged", to, write)


def export_upstream_yaml(config: TrainingConfig, to: Path) -> Exported:
    """Write the training YAML for the official trainer."""
    _refuse_existing(to)
    write_text(to, upstream_yaml(config))
    return Exported("upstream_yaml", to, "upstream's keys alone; ltx_agent: left out")


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise ConfigError(f"{path} exists already; nothing is overwritten.", "Choose another folder with --to.")
