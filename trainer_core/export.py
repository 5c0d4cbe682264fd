"""Weights in the forms that others read: upstream/ComfyUI LoRA, diffusers folder, merged full checkpoint.

A LoRA is checked key by key against the stored list of what readers accept; a big checkpoint streams from file to file.
"""

import json
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer_core.adapters import FULL_PREFIX, block_free, full_state
from trainer_core.config import TrainingConfig
from trainer_core.errors import ConfigError
from trainer_core.files import refuse_full_disk, replacing, write_json, write_text
from trainer_core.model.load import open_model
from trainer_core.model.names import to_upstream
from trainer_core.model.reader_keys import LORA_KEYS
from trainer_core.model.single_file import SafetensorsSource
from trainer_core.sampling.multi_lora import AdapterFile, Weighted, merge_into, open_adapter, summed
from trainer_core.sections.run import ModelSection
from trainer_core.upstream import upstream_yaml

_DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


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
        if block_free(key) not in LORA_KEYS:
            raise ConfigError(f"`{key}` is not a key that ComfyUI and diffusers read.", "Export another checkpoint.")
    _refuse_existing(to)
    with replacing(to) as temporary:
        shutil.copyfile(adapter.path, temporary)
    branches = sorted({"audio" if ".audio_" in key else "video" for key in keys if "_to_" not in key.split(".")[3]})
    return Exported("lora", to, f"{len(keys)} keys, each one that ComfyUI reads ({', '.join(branches)})")


def export_diffusers(adapter: AdapterFile, source_config: dict[str, Any] | None, to: Path) -> Exported:
    """Write a folder for diffusers: a LoRA for `load_lora_weights`, a full checkpoint as `transformer/`."""
    from safetensors.torch import save_file

    _refuse_existing(to)
    to.mkdir(parents=True)
    if adapter.kind == "lora":
        path = to / "pytorch_lora_weights.safetensors"
        state = {}
        for module, (down, up) in adapter.pairs.items():
            state[f"transformer.{module}.lora_A.weight"] = down.contiguous()
            state[f"transformer.{module}.lora_B.weight"] = up.contiguous()
        with replacing(path) as temporary:
            save_file(state, temporary, metadata={**adapter.metadata, "format": "pt"})
        return Exported("diffusers", to, f"{len(adapter.pairs)} modules for LTX2Pipeline.load_lora_weights")
    from safetensors import safe_open

    from trainer_core.model.names import to_diffusers

    folder = to / "transformer"
    folder.mkdir()
    with safe_open(adapter.path, framework="pt") as file:
        names = {key: to_diffusers(key.removeprefix(FULL_PREFIX)) for key in file.keys()}  # noqa: SIM118
    _stream(
        folder / "diffusion_pytorch_model.safetensors",
        _tensors_of(adapter.path, names),
        _shapes_of(adapter.path, names),
        {"format": "pt"},
    )
    write_json(folder / "config.json", {"_class_name": "LTX2VideoTransformer3DModel", **(source_config or {})})
    return Exported("diffusers", to, f"{len(names)} weights for LTX2VideoTransformer3DModel.from_pretrained")


def export_merged(model: ModelSection, stack: Sequence[Weighted], to: Path) -> Exported:
    """Write the base with `stack` added to its weights, under upstream's keys.

    A unified base keeps everything else it holds (VAEs, vocoder, connectors) and streams from file to file; of any
    other layout the transformer alone is written, as a full training run saves it.
    """
    _refuse_existing(to)
    source = open_model(model, distilled_too=True)
    metadata = {"format": "pt", "model_version": source.version, "base_model": source.label, "trainer": "ltx-agent"}
    metadata["merged"] = json.dumps([{"sha256": one.file.digest, "weight": one.weight} for one in stack])
    if isinstance(source, SafetensorsSource) and source.root.is_file():
        pairs = {f"{to_upstream(module)}.weight": pair for module, pair in summed(stack).items()}
        count = _merge_file(source.root, pairs, metadata, to)
        return Exported("merged", to, f"{count} weights of the base changed, all others copied")
    transformer = source.transformer(torch.float32)
    merge_into(transformer, stack)
    state = full_state(transformer, torch.bfloat16)
    metadata["config"] = json.dumps({"transformer": dict(transformer.config)})
    shapes = {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in state.items()}
    _stream(to, iter(state.items()), shapes, metadata)
    return Exported("merged", to, f"the transformer alone, {len(state)} weights")


def export_upstream_yaml(config: TrainingConfig, to: Path) -> Exported:
    """Write the training YAML for the official trainer."""
    _refuse_existing(to)
    write_text(to, upstream_yaml(config))
    return Exported("upstream_yaml", to, "upstream's keys alone; ltx_agent: left out")


def open_for_export(path: Path, model: ModelSection) -> AdapterFile:
    """Read and check the file that is to be exported."""
    return open_adapter(path, open_model(model, distilled_too=True))


def _merge_file(base: Path, pairs: dict[str, tuple[Tensor, Tensor]], metadata: dict[str, str], to: Path) -> int:
    from safetensors import safe_open

    with safe_open(base, framework="pt") as file:
        kept = dict(file.metadata() or {})
        keys = list(file.keys())
    known = {key.removeprefix(FULL_PREFIX): key for key in keys}
    missing = [name for name in pairs if name not in known]
    if missing:
        raise ConfigError(f"{base.name} has no weight {missing[0]} to merge into.", "Use the base it was trained on.")
    changed = {known[name]: pair for name, pair in pairs.items()}

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for key, tensor in _tensors_of(base, {key: key for key in keys}):
            if key in changed:
                down, up = changed[key]
                tensor = (tensor.float() + up @ down).to(tensor.dtype)
            yield key, tensor

    _stream(to, tensors(), _shapes_of(base, {key: key for key in keys}), {**kept, **metadata})
    return len(changed)


def _tensors_of(path: Path, names: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for key, name in names.items():
            yield name, file.get_tensor(key)


def _shapes_of(path: Path, names: dict[str, str]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    found = {}
    for name, tensor in _tensors_of(path, names):  # memory-mapped: nothing is read but the header
        found[name] = tensor.dtype, tuple(tensor.shape)
    return found


def _stream(
    path: Path,
    tensors: Iterator[tuple[str, Tensor]],
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]],
    metadata: dict[str, str],
) -> None:
    """Write a safetensors file tensor by tensor, so that memory holds one at a time. Refuses when the disk has no room.

    Layout: header length (u64, little-endian), JSON header, the tensors' bytes in its order (the format's own text).
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, (dtype, shape) in shapes.items():
        if dtype not in _DTYPE_NAMES:
            raise ConfigError(f"{name} is {dtype}; only float weights are written.", "Use the bf16 base.")
        size = torch.empty(0, dtype=dtype).element_size() * torch.Size(shape).numel()
        header[name] = {"dtype": _DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    refuse_full_disk(path.parent, 8 + len(text) + offset, path.name, "Free some space, or name another --to.")
    with replacing(path) as temporary, temporary.open("wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for (name, tensor), expected in zip(tensors, shapes, strict=True):
            assert name == expected
            handle.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        handle.flush()


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise ConfigError(f"{path} exists already; nothing is overwritten.", "Choose another folder with --to.")
