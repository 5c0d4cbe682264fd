"""safetensors files as bytes: headers, tensors unread until they are written, and the one writer of ours.

Equal tensors and metadata give equal files in every process. The format's own library doesn't promise that: it writes
metadata in the order of a hash table, which differs from process to process.
"""

import errno
import json
import math
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_core.errors import ConfigError
from trainer_core.files import replacing

if TYPE_CHECKING:
    import torch

# bits of each dtype's code in the format; sub-byte ones are packed
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_CODES = {
    "float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
_PIECE = 1 << 24  # bytes that are in memory at a time while a tensor is copied


@dataclass(frozen=True)
class Stored:
    """One tensor of a file to be written. `dtype` is the format's code; `pieces` gives its bytes when asked."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[Any]]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * _BITS[self.dtype] // 8

    @property
    def torch_dtype(self) -> "torch.dtype":
        """The dtype in torch's words."""
        import torch

        found: torch.dtype = getattr(torch, next(name for name, code in _CODES.items() if code == self.dtype))
        return found

    def is_wider_than(self, other: "Stored") -> bool:
        """True if a number takes more bits here than in `other`."""
        return _BITS[self.dtype] > _BITS[other.dtype]

    def named(self, name: str) -> "Stored":
        """The same tensor under another name."""
        return replace(self, name=name)

    def tensor(self) -> "torch.Tensor":
        """The tensor itself, in memory of its own."""
        import torch

        content = bytearray()
        for piece in self.pieces():
            content += piece
        if not content:
            return torch.empty(self.shape, dtype=self.torch_dtype)
        return torch.frombuffer(content, dtype=self.torch_dtype).reshape(self.shape)


def stored_from(name: str, shape: Iterable[int], dtype: "torch.dtype", make: Callable[[], "torch.Tensor"]) -> Stored:
    """A tensor that `make` gives when its turn comes; it is cast to `dtype` on the CPU, one at a time."""

    def pieces() -> Iterator[Any]:
        import torch

        tensor = make().detach().to("cpu", dtype).contiguous().reshape(-1)
        yield tensor.view(torch.uint8).numpy().data

    return Stored(name, _CODES[str(dtype).removeprefix("torch.")], tuple(shape), pieces)


def stored_tensor(name: str, tensor: "torch.Tensor", dtype: "torch.dtype | None" = None) -> Stored:
    """`tensor` in its own dtype, or in `dtype`."""
    return stored_from(name, tensor.shape, dtype or tensor.dtype, lambda: tensor)


def read_stored(path: Path) -> tuple[dict[str, str], list[Stored]]:
    """The metadata of a safetensors file, and its tensors in the order of its header; reads the header alone.

    Raises ConfigError when the header can't be read or promises more bytes than the file has.
    """
    try:
        with path.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("its header is longer than the format allows")
            header = json.loads(handle.read(length))
            size = handle.seek(0, os.SEEK_END)
        metadata = header.pop("__metadata__", {})
        found = [_entry(path, 8 + length, size, name, entry) for name, entry in header.items()]
        return {str(key): str(value) for key, value in metadata.items()}, found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ConfigError(
            f"{path} is not a whole safetensors file ({error}).", "Download it again; pickles are never read."
        ) from error


def file_bytes(tensors: Iterable[Stored], metadata: Mapping[str, str]) -> int:
    """The size of the file that `write_stored` makes of them."""
    ordered = _ordered(tensors)
    return len(_header(ordered, metadata)) + sum(one.size_bytes for one in ordered)


def write_stored(path: Path, tensors: Iterable[Stored], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file tensor by tensor: memory holds one at a time, and the file gets its name when whole.

    Layout: header length (u64, little-endian), JSON header, the tensors' bytes without gaps (the format's own text),
    wide dtypes first so that each tensor is aligned. Raises ExternalError when the disk has no room, before a byte is
    written where that can be known.
    """
    ordered = _ordered(tensors)
    header = _header(ordered, metadata)
    with replacing(path) as temporary, temporary.open("wb") as handle:
        if len(header) + sum(one.size_bytes for one in ordered) > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        handle.write(header)
        for one in ordered:
            written = sum(handle.write(piece) for piece in one.pieces())
            assert written == one.size_bytes, one.name
        handle.flush()


def write_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"], metadata: Mapping[str, str]) -> None:
    """Write tensors that are in memory, each in its own dtype. Raises ExternalError when the disk has no room."""
    write_stored(path, [stored_tensor(name, tensor) for name, tensor in tensors.items()], metadata)


def _entry(path: Path, start: int, size: int, name: str, entry: dict[str, Any]) -> Stored:
    dtype, shape = str(entry["dtype"]), tuple(int(length) for length in entry["shape"])
    first, last = entry["data_offsets"]
    if dtype not in _BITS:
        raise ValueError(f"{name} is of the unknown kind {dtype}")
    if not 0 <= first <= last <= size - start:
        raise ValueError(f"{name} lies outside the file")

    def pieces() -> Iterator[Any]:
        with path.open("rb") as handle:
            handle.seek(start + first)
            left = last - first
            while left:
                piece = handle.read(min(left, _PIECE))
                if not piece:
                    raise OSError(errno.EIO, f"{path} became shorter")
                left -= len(piece)
                yield piece

    found = Stored(name, dtype, shape, pieces)
    if found.size_bytes != last - first:
        raise ValueError(f"{name} has another size than its shape says")
    return found


def _ordered(tensors: Iterable[Stored]) -> list[Stored]:
    ordered = sorted(tensors, key=lambda one: (-_BITS[one.dtype], one.name))
    assert len({one.name for one in ordered}) == len(ordered), "two tensors have one name"
    return ordered


def _header(ordered: list[Stored], metadata: Mapping[str, str]) -> bytes:
    document: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for one in ordered:
        end = offset + one.size_bytes
        document[one.name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
