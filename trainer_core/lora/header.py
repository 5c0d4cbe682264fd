"""The header of a safetensors file, read and checked without touching the tensors: a file of any size is judged in
milliseconds. No torch.

Layout: header length (u64, little-endian), JSON header, the tensors' bytes (the format's own text).
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_core.errors import ConfigError

MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"})
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")


@dataclass(frozen=True)
class Header:
    """A file's header: its metadata, and dtype (the format's word) and shape of each tensor."""

    path: Path
    metadata: dict[str, str]
    dtypes: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def read_header(path: Path) -> Header:
    """Read the header of `path` and hold it against the file's size.

    Raises ConfigError for no file, a pickle, a half-written or damaged file and one that is no safetensors file.
    """
    if not path.exists():
        raise ConfigError(f"There is no file {path}.", "Give an adapter in safetensors.")
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            start = handle.read(9)
            _refuse_pickle(path, start)
            if len(start) < 9:
                raise _Unreadable(f"it has {size} bytes, fewer than any header", "Download it again.")
            length = struct.unpack("<Q", start[:8])[0]
            if start[8:] != b"{" or length > MOST_HEADER_BYTES:
                raise _Unreadable("it doesn't begin with a header of that format", "Give a LoRA in safetensors.")
            if 8 + length > size:
                raise _half_written(8 + length, size, "its header alone takes")
            text = start[8:] + handle.read(length - 1)
        return _header(path, _document(text), size - 8 - length)
    except OSError as error:
        raise _refusal(path, error.strerror or str(error), "Give a LoRA in safetensors.") from error
    except _Unreadable as error:
        raise _refusal(path, error.why, error.hint) from error


class _Unreadable(Exception):
    """Why the file can't be read, and what to do."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


def _refusal(path: Path, why: str, hint: str) -> ConfigError:
    return ConfigError(f"{path} is not a readable safetensors file: {why}.", hint)


def _refuse_pickle(path: Path, start: bytes) -> None:
    # a safetensors file begins with the length of its header, which may look like anything, then the header's brace
    is_safetensors = start[8:9] == b"{"
    if path.suffix.lower() in _PICKLE_SUFFIXES or (start.startswith(_PICKLE_STARTS) and not is_safetensors):
        raise ConfigError(
            f"{path.name} is a pickle: reading it would run whatever code is inside, so it is never read.",
            "Have it saved as safetensors.",
        )


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Unreadable("its header is not JSON", "Download it again.") from error
    if not isinstance(document, dict):
        raise _Unreadable("its header is no JSON mapping", "Download it again.")
    return document


def _header(path: Path, document: dict[str, Any], data_bytes: int) -> Header:
    said = document.pop("__metadata__", None)
    metadata = {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}
    dtypes, shapes, end = {}, {}, 0
    for key, entry in document.items():
        try:
            dtypes[key] = str(entry["dtype"])
            shapes[key] = tuple(int(side) for side in entry["shape"])
            end = max(end, int(entry["data_offsets"][1]))
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise _Unreadable(f"its header describes no tensor under `{key[:100]}`", "Download it again.") from error
    if end > data_bytes:
        raise _half_written(end, data_bytes, "its tensors take")
    if end < data_bytes:
        raise _Unreadable(
            f"its tensors take {end:,} bytes and {data_bytes - end:,} more follow them", "Download it again."
        )
    return Header(path, metadata, dtypes, shapes)


def _half_written(promised: int, there: int, what: str) -> _Unreadable:
    return _Unreadable(
        f"it is half-written: {what} {promised:,} bytes, {there:,} are there ({100 * there / promised:.0f} %)",
        "Copy or download it again.",
    )
