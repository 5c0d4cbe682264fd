"""The cache of precomputed tensors: upstream's layout, plus a manifest with a fingerprint a file.

`<root>/<directory>/<sample>.pt` holds a dict that loads with `weights_only=True`; `<root>/manifest.json` says what each
was made from, so that a changed clip, caption, bucket or model recomputes just the files it touches.
"""

import errno
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from trainer_core.data.encoding.manifest import Entry, Manifest, open_manifest
from trainer_core.errors import DataError
from trainer_core.files import replacing

_NESTING = (dict, list, set, tuple)


@dataclass
class Cache:
    """The precomputed folder at `root`, with what each of its files was made from."""

    root: Path
    manifest: Manifest

    def path(self, directory: str, sample: str) -> Path:
        return self.root / directory / f"{sample}.pt"

    def holds(self, directory: str, sample: str, entry: Entry) -> bool:
        """True if the file exists and was made from exactly this."""
        known = self.manifest.entries.get(f"{directory}/{sample}.pt")
        return known is not None and known.fingerprint == entry.fingerprint and self.path(directory, sample).exists()

    def write(self, directory: str, sample: str, entry: Entry, content: dict[str, Any]) -> None:
        """Write one file with its entry in the manifest, whole or not at all, whenever the process is killed."""
        path, name = self.path(directory, sample), f"{directory}/{sample}.pt"
        with replacing(path) as temporary:
            try:
                torch.save(content, temporary)
            except RuntimeError as error:  # what torch's zip writer raises when the disk takes no more
                raise OSError(errno.ENOSPC, str(error)) from error
            self.manifest.about_to_place(name, entry, temporary)
        self.manifest.placed(name, entry)


def open_cache(root: Path, rank: int = 0) -> Cache:
    """Open the cache at `root`, to be written by `rank` of several processes."""
    return Cache(root, open_manifest(root, rank))


@dataclass(frozen=True)
class _Layout:
    """What a cached file holds, its tensors as meta tensors, and the bytes of each storage by its offset."""

    content: dict[str, Any]
    storages: dict[int, int]


def read_header(path: Path) -> dict[str, Any]:
    """Read what one cached file holds, its tensors as meta tensors: shapes and dtypes without the data.

    Raises DataError when it is damaged or holds anything but plain tensors and numbers.
    """
    return _layout(path, *_state_of(path)).content


def read_tensors(path: Path) -> dict[str, Any]:
    """Read one cached file. Raises DataError when it is damaged or holds anything but plain tensors and numbers.

    The pickle in it is parsed once a process (that costs more than the data of a small file); later reads go straight
    to the bytes of each storage, as long as the file is the same.
    """
    layout = _layout(path, *_state_of(path))
    storages: dict[int, torch.UntypedStorage] = {}
    try:
        with path.open("rb", buffering=0) as file:
            for offset, count in layout.storages.items():
                storages[offset] = storage = torch.UntypedStorage(count)
                file.seek(offset)
                data = torch.empty(0, dtype=torch.uint8).set_(storage).numpy().data
                if file.readinto(data) != count:
                    raise OSError(errno.EIO, "it ends too early")
    except OSError as error:
        raise _damaged(path, error) from error
    return {
        key: value
        if not isinstance(value, torch.Tensor)
        else torch.empty(0, dtype=value.dtype).set_(
            storages[_offset_of(value)], value.storage_offset(), value.shape, value.stride()
        )
        for key, value in layout.content.items()
    }


@lru_cache(maxsize=16_384)
def _layout(path: Path, _size: int, _changed_ns: int) -> _Layout:
    """Parse the pickle of one file; size and time of change are part of the key, so a rewritten file is read again."""
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # torch raises a different class for each kind of damage
        raise _damaged(path, error) from error
    if not isinstance(content, dict) or any(isinstance(value, _NESTING) for value in content.values()):
        raise DataError(f"{path} holds no plain dict of tensors and numbers.", "Delete it and encode again.")
    tensors = [value for value in content.values() if isinstance(value, torch.Tensor)]
    return _Layout(content, {_offset_of(one): one.untyped_storage().nbytes() for one in tensors})


def _offset_of(tensor: torch.Tensor) -> int:
    """Where in its file the storage of a meta tensor begins; torch notes it on loading."""
    offset = tensor.untyped_storage()._checkpoint_offset
    assert offset is not None
    return offset


def _state_of(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise _damaged(path, error) from error
    return state.st_size, state.st_mtime_ns


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} can't be read as precomputed tensors ({type(error).__name__}).", "Delete it and encode again."
    )
