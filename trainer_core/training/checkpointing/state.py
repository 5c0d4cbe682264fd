"""State for a resume on disk: `state/step_00250/` with tensors.safetensors and, last, manifest.json.

A state is complete when its manifest is there and every checksum in it holds; anything less is passed over.
"""

import errno
import hashlib
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer_core.errors import ConfigError, LtxError
from trainer_core.files import file_digest, read_json, replacing, write_json
from trainer_core.optimizer_names import MasterWeights
from trainer_core.training.checkpointing.tree import join_tensors, split_tensors

FORMAT = 1
TENSORS, MANIFEST = "tensors.safetensors", "manifest.json"
_NAME = re.compile(r"step_(\d+)")


@dataclass(frozen=True)
class SavedState:
    """One state as read back: `content` is what was saved, `weights` names the step's weights file and its sha256."""

    step: int
    path: Path
    content: dict[str, Any]
    weights: dict[str, Any] | None


def write_state(states: Path, step: int, content: dict[str, Any], weights: Path | None) -> Path:
    """Write the state of `step`, manifest last. `content` holds dicts, lists, tuples, numbers and tensors.

    Two parameters that are one tensor are saved as two. Raises ExternalError when the disk is full; nothing then
    counts as complete.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = states / f"step_{step:05d}"
    tensors: dict[str, Tensor] = {}
    document = split_tensors(content, "", tensors)
    (folder / MANIFEST).unlink(missing_ok=True)
    with replacing(folder / TENSORS) as temporary:
        try:
            save_file({name: _own(tensor) for name, tensor in tensors.items()}, temporary)
        except SafetensorError as error:
            code = errno.ENOSPC if "No space left" in str(error) else errno.EIO
            raise OSError(code, str(error)) from error
    manifest = {
        "format": FORMAT,
        "step": step,
        "time_s": time.time(),
        "files": {TENSORS: file_facts(folder / TENSORS)},
        "weights": None if weights is None else {"name": weights.name, **file_facts(weights)},
        "content": document,
    }
    write_json(folder / MANIFEST, {**manifest, "checksum": _checksum(manifest)})
    return folder


def list_states(states: Path) -> list[tuple[int, Path]]:
    """Steps and folders of the states that have a manifest, oldest first; whether they are whole is not looked at."""
    if not states.is_dir():
        return []
    found = [(_step_of(path), path) for path in states.iterdir() if (path / MANIFEST).exists()]
    return sorted((step, path) for step, path in found if step is not None)


def read_state(path: Path) -> SavedState:
    """Read a state and check it. Raises ConfigError saying what is wrong with it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ConfigError(f"{path} is no training state of this version.", "Resume from another checkpoint.")
    stated = manifest.pop("checksum", None)
    if stated != _checksum(manifest):
        raise ConfigError(f"{path / MANIFEST} is damaged: its checksum doesn't hold.", "An older state is used.")
    for name, facts in manifest["files"].items():
        if not (path / name).exists() or file_facts(path / name) != facts:
            raise ConfigError(f"{path / name} is damaged: its checksum doesn't hold.", "An older state is used.")
    try:
        tensors = load_file(path / TENSORS)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path / TENSORS} can't be read: {error}.", "An older state is used.") from error
    return SavedState(manifest["step"], path, join_tensors(manifest["content"], tensors), manifest["weights"])


def newest_state(states: Path, up_to: int | None = None) -> tuple[SavedState | None, list[str]]:
    """Return the newest whole state (of at most step `up_to`), and what was wrong with the newer ones passed over."""
    problems: list[str] = []
    for step, path in reversed(list_states(states)):
        if up_to is not None and step > up_to:
            continue
        try:
            return read_state(path), problems
        except LtxError as error:
            problems.append(error.message)
        except (OSError, KeyError, TypeError, ValueError) as error:
            problems.append(f"{path} can't be read ({type(error).__name__}: {error})")
    return None, problems


def saved_master_weights(states: Path) -> MasterWeights | None:
    """Return the newest state's precision of weights, by its manifest alone; None where there is none that says."""
    for _, path in reversed(list_states(states)):
        try:
            found: MasterWeights | None = read_json(path / MANIFEST)["content"].get("master_weights")
        except (LtxError, OSError, KeyError, TypeError, ValueError):  # a damaged one is passed over later, and named
            continue
        return found
    return None


def remove_state(path: Path) -> None:
    """Remove a state, its manifest first: what is left of a removal never looks complete."""
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def file_facts(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file."""
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def _checksum(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode("utf-8", errors="surrogateescape")).hexdigest()


def _own(tensor: Tensor) -> Tensor:
    """A contiguous CPU copy where the file format needs one: it refuses tensors that share memory."""
    if tensor.device.type == "cpu":
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor.to("cpu").contiguous()


def _step_of(path: Path) -> int | None:
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else None
