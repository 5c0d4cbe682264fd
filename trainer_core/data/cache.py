"""The cache of precomputed tensors: upstream's layout, plus a manifest with a fingerprint a file.

`<root>/<directory>/<sample>.pt` holds a dict that loads with `weights_only=True`; `<root>/manifest.json` says what each
was made from, so that a changed clip, caption, bucket or model recomputes just the files it touches.
"""

import errno
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer_core.errors import DataError
from trainer_core.files import read_json, replacing, write_json

CODE_VERSION = 1  # part of every fingerprint: raise it when the encoding itself changes
_NAME_BYTES = 200


@dataclass
class Cache:
    """The precomputed folder at `root`; `fingerprints` maps `<directory>/<sample>.pt` to its fingerprint."""

    root: Path
    fingerprints: dict[str, str]

    @property
    def manifest_path(self) -> Path:
        return self.root / "manifest.json"

    def path(self, directory: str, sample: str) -> Path:
        return self.root / directory / f"{sample}.pt"

    def holds(self, directory: str, sample: str, fingerprint: str) -> bool:
        """Whether the file exists and was made from exactly this."""
        return (
            self.fingerprints.get(f"{directory}/{sample}.pt") == fingerprint and self.path(directory, sample).exists()
        )

    def write(self, directory: str, sample: str, fingerprint: str, content: dict[str, Any]) -> None:
        """Write one file, whole or not at all; the manifest follows with `save_manifest`."""
        path = self.path(directory, sample)
        self.fingerprints.pop(f"{directory}/{sample}.pt", None)
        with replacing(path) as temporary:
            try:
                torch.save(content, temporary)
            except RuntimeError as error:  # what torch's zip writer raises when the disk takes no more
                raise OSError(errno.ENOSPC, str(error)) from error
        self.fingerprints[f"{directory}/{sample}.pt"] = fingerprint

    def save_manifest(self) -> None:
        write_json(self.manifest_path, {"version": CODE_VERSION, "files": self.fingerprints})


def open_cache(root: Path) -> Cache:
    """Open the cache at `root`; without a manifest (an upstream folder) nothing has a fingerprint."""
    manifest = root / "manifest.json"
    files = read_json(manifest).get("files", {}) if manifest.exists() else {}
    return Cache(root, dict(files))


def fingerprint(**facts: Any) -> str:
    """Return a short digest of everything a cached file is made from."""
    text = json.dumps({"code": CODE_VERSION, **facts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:32]


def read_tensors(path: Path) -> dict[str, Any]:
    """Read one cached file. Raises DataError when it is damaged or holds anything but plain tensors and numbers."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises a different class for each kind of damage
        raise DataError(
            f"{path} can't be read as precomputed tensors ({type(error).__name__}).", "Delete it and encode again."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dict of tensors.", "Delete it and encode again.")
    return content


def sample_name(media: str, window: int) -> str:
    """Return the cache name of one window of a media file, from its path relative to the dataset file.

    The suffix is kept, so that same-stem files don't collide. A folder outside the dataset's own is named by its last
    part and a digest of its path; an over-long name ends in a digest.
    """
    path = Path(media)
    folder = path.parent.as_posix()
    if path.is_absolute() or ".." in path.parts:
        folder = f"{_cut(path.parent.name) or 'clips'}-{_digest(folder)[:8]}"
    name = f"{path.name}.{window:03d}"
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = f"{_cut(name)}-{_digest(name)[:16]}"
    return name if folder == "." else f"{folder}/{name}"


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _cut(name: str) -> str:
    return os.fsencode(name)[: _NAME_BYTES - 24].decode("utf-8", errors="ignore").strip(".")
