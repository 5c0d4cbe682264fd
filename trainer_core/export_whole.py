"""Whole checkpoints for others: a base with a LoRA merged into it, or with the transformer that a full run trained.

What is written is what a reader of the base expects. Of a unified file or a pack's transformer file: the same file, its
metadata and every weight that didn't change byte for byte. Of a diffusers folder: the whole folder, large files that
didn't change hard-linked, so that they take no room. Of the tiny model: upstream's transformer file. One tensor is in
memory at a time.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer_core.adapters import without_prefix
from trainer_core.errors import ConfigError
from trainer_core.files import read_json, refuse_full_disk, write_json
from trainer_core.full_checkpoint import facts_in, trained_metadata
from trainer_core.model.folder import FOLDERS, FolderSource
from trainer_core.model.names import TRANSFORMER_PREFIX, beside_the_transformer, to_diffusers
from trainer_core.model.source import ModelSource
from trainer_core.sampling.multi_lora import AdapterFile, Weighted, changed_modules, merged_weight
from trainer_core.weights_file import Stored, file_bytes, read_stored, stored_from, write_stored

LINKED_FROM_BYTES = 1 << 20
"""A file of the base from this size on is hard-linked; a smaller one is copied, for people edit those."""
_ADVICE = "Free some space, or name another --to."


@dataclass(frozen=True)
class Changes:
    """New weights of the transformer by the library's names. `every`: a weight that has no change is an error."""

    of: Mapping[str, Callable[[Stored], Stored]]
    every: bool
    facts: Mapping[str, str]


def merged_changes(stack: Sequence[Weighted], source: ModelSource) -> Changes:
    """The LoRAs of `stack` added to the base's weights, each in the dtype that the base has it in."""
    shapes = changed_modules(stack)
    facts = {
        "format": "pt",
        "model_version": source.version,
        "base_model": source.label,
        "trainer": "ltx-agent",
        "merged": json.dumps([{"sha256": one.file.digest, "weight": one.weight} for one in stack]),
    }
    changes = {f"{module}.weight": _merged(stack, module, shape) for module, shape in shapes.items()}
    return Changes(changes, False, facts)


def trained_changes(checkpoint: AdapterFile) -> Changes:
    """The transformer of a full checkpoint in place of the base's, no number rounded."""
    tensors = [one for one in read_stored(checkpoint.path)[1] if not beside_the_transformer(one.name)]
    changes = {to_diffusers(without_prefix(one.name)): _replaced(one, checkpoint.path) for one in tensors}
    return Changes(changes, True, facts_in(checkpoint.metadata))


def write_file(source: ModelSource, changes: Changes, to: Path) -> str:
    """Write the file that readers of `source` open, with `changes`; returns what was checked.

    Raises ConfigError when the changes and the base don't fit together, and when the disk has no room.
    """
    base = source.reader_weights()
    tensors = _changed(base, changes, lambda key: to_diffusers(key.removeprefix(TRANSFORMER_PREFIX)), source.label)
    metadata = trained_metadata(source.reader_metadata(), dict(changes.facts))
    refuse_full_disk(to.parent, file_bytes(tensors, metadata), to.name, _ADVICE)
    write_stored(to, tensors, metadata)
    return f"{len(changes.of)} weights of the base changed, {len(base) - len(changes.of)} copied byte for byte"


def write_folder(source: FolderSource, changes: Changes, to: Path) -> str:
    """Write the diffusers folder of `source` with `changes`; returns what was checked, and how the room is used.

    Raises ConfigError as `write_file` does.
    """
    transformer = source.folder("transformer")
    shards = {path: read_stored(path) for path in sorted(transformer.glob("*.safetensors"))}
    base = [one for _, tensors in shards.values() for one in tensors]
    changed = {one.name: one for one in _changed(base, changes, lambda key: key, source.label)}
    written = {path: [changed[one.name] for one in tensors] for path, (_, tensors) in shards.items()}
    carried = _carried(source)
    sizes = {path: file_bytes(written[path], metadata) for path, (metadata, _) in shards.items()}
    carried_bytes = sum(path.stat().st_size for path, _ in carried)
    copied = sum(path.stat().st_size for path, _ in carried if not _linkable(path, to.parent))
    refuse_full_disk(to.parent, sum(sizes.values()) + copied, to.name, _ADVICE)
    linked = sum(_carry(path, to / place) for path, place in carried)
    for path, (metadata, _) in shards.items():
        write_stored(to / "transformer" / path.name, written[path], metadata)
    for path in sorted(transformer.glob("*.json")):
        document = read_json(path)
        if path.name.endswith(".index.json"):
            document = {**document, "metadata": {"total_size": sum(one.size_bytes for one in changed.values())}}
        write_json(to / "transformer" / path.name, document)
    return (
        f"{len(changes.of)} weights of the transformer changed; of the other parts {linked / 1e9:.2f} GB are hard "
        f"links to the base's files, which take no room, and {(carried_bytes - linked) / 1e9:.2f} GB are copies"
    )


def _changed(base: Sequence[Stored], changes: Changes, name_of: Callable[[str], str], label: str) -> list[Stored]:
    found, used = [], set()
    for one in base:
        name = name_of(one.name)
        if name in changes.of:
            used.add(name)
            found.append(changes.of[name](one).named(one.name))
        elif changes.every and not beside_the_transformer(one.name):
            raise ConfigError(f"The checkpoint has no {name}; {label} has.", "Use the base it was trained on.")
        else:
            found.append(one)
    if missing := sorted(set(changes.of) - used):
        raise ConfigError(f"{label} has no weight {missing[0]} to change.", "Use the base it was trained on.")
    return found


def _merged(stack: Sequence[Weighted], module: str, shape: tuple[int, int]) -> Callable[[Stored], Stored]:
    def change(base: Stored) -> Stored:
        if base.shape != shape:
            raise ConfigError(
                f"The adapter changes a {shape[0]}x{shape[1]} matrix; {base.name} is {base.shape}.",
                "It was made for another LTX version.",
            )

        def make() -> Tensor:
            return _finite(base.name, merged_weight(stack, module, base.tensor()).to(base.torch_dtype))

        return stored_from(base.name, base.shape, base.torch_dtype, make)

    return change


def _replaced(trained: Stored, checkpoint: Path) -> Callable[[Stored], Stored]:
    def change(base: Stored) -> Stored:
        if base.shape != trained.shape:
            raise ConfigError(
                f"{checkpoint.name}: {trained.name} is {trained.shape}, the base's is {base.shape}.",
                "Use the base it was trained on.",
            )
        dtype = base.torch_dtype if base.is_wider_than(trained) else trained.torch_dtype
        return stored_from(base.name, base.shape, dtype, lambda: _finite(trained.name, trained.tensor()))

    return change


def _finite(name: str, tensor: Tensor) -> Tensor:
    if not bool(torch.isfinite(tensor).all()):
        raise ConfigError(f"{name} would hold numbers that are not finite.", "Export an earlier checkpoint.")
    return tensor


def _carried(source: FolderSource) -> list[tuple[Path, Path]]:
    """Every file of the folder but the transformer's, links followed, and where it goes in the new one."""
    top = [path for path in source.root.iterdir() if path.is_file() and path.stat().st_size < LINKED_FROM_BYTES]
    found = [(path.resolve(), Path(path.name)) for path in sorted(top)]
    parts = {name: part for part, name in FOLDERS.items()}
    for name in _components(source):
        folder = source.folder(parts[name]) if name in parts else source.root / name
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found += [(path.resolve(), Path(name) / path.relative_to(folder)) for path in files]
    return found


def _components(source: FolderSource) -> list[str]:
    """The sub-folders beside the transformer's that the folder's index names; without one, those that LTX-2 has."""
    index = source.root / "model_index.json"
    named = list(read_json(index)) if index.is_file() else [*FOLDERS.values(), "tokenizer", "scheduler"]
    there = {path.name for path in source.root.iterdir() if path.is_dir()}
    given = {FOLDERS[part] for part in source.overrides}
    return sorted({name for name in named if name in there | given} - {"transformer"})


def _linkable(path: Path, folder: Path) -> bool:
    status = path.stat()
    return status.st_size >= LINKED_FROM_BYTES and status.st_dev == folder.stat().st_dev


def _carry(path: Path, place: Path) -> int:
    """Link or copy one file; returns how many bytes were linked."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if _linkable(path, place.parent):
        try:
            os.link(path, place)
            return path.stat().st_size
        except OSError:  # a file system without hard links, or a mount in between: the copy needs room of its own
            refuse_full_disk(place.parent, path.stat().st_size, place.name, _ADVICE)
    shutil.copyfile(path, place)
    return 0
