"""Writing and reading small files so that nobody ever sees half of one.

Every file is written under a temporary name beside its target, fsynced and renamed.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trainer_core.errors import ConfigError, ExternalError, LtxError
from trainer_core.units import size_text

SEARCHED_BYTES = 1 << 22


def storage_error(path: Path, error: OSError) -> LtxError:
    """Say an OS error on `path` in a person's words: a full disk is external, a refused write is wrong usage."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ExternalError(
            f"The disk is full: {path} could not be written.",
            "Free some space or choose another project folder with --project; what was written before is intact.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ConfigError(
            f"{path} can't be written: {error.strerror}.", "Choose a folder you may write with --project."
        )
    return ExternalError(f"{path} could not be written: {error.strerror or error}.", "Check the disk and try again.")


def refuse_full_disk(folder: Path, needed_bytes: int, what: str, advice: str) -> None:
    """Raise ConfigError when `folder`, which exists, has no room for `needed_bytes` of `what`."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise ConfigError(f"{what} takes {size_text(needed_bytes)}; {size_text(free)} are free at {folder}.", advice)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it over `path`, on failure remove it.

    Raises ExternalError when the disk is full and ConfigError when the folder can't be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        temporary = None
        _fsync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8; undecodable file names survive as surrogates)."""
    write_pieces(path, (text,))


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Replace `path` by text that is made while it is written."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(pieces)


def write_json(path: Path, document: Any) -> None:
    """Replace `path` by `document` as indented JSON."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace `path` by one JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON object as one whole line: what a crash left half-written before it is cut off first.

    Raises ExternalError when the line doesn't fit on the disk; the file is then as it was.
    """
    line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", errors="surrogateescape")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            end = _end_of_last_line(descriptor)
            if end < os.fstat(descriptor).st_size:
                os.ftruncate(descriptor, end)
            if os.pwrite(descriptor, line, end) != len(line):
                os.ftruncate(descriptor, end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(path, error) from error


def fsync_file(path: Path) -> None:
    """Make what was written to `path` survive a power cut."""
    try:
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    except OSError as error:
        raise storage_error(path, error) from error


def file_digest(path: Path) -> str:
    """sha256 of the content of `path`, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Return the JSON document in `path`. Raises ConfigError when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except ValueError as error:
        raise ConfigError(
            f"{path} is not valid JSON: {error}.", "Restore it or delete it to have it made again."
        ) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file; a last line without its newline (a crash while appending) is left out."""
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n") and line.strip():
                rows.append(_row(path, line, f"line {number}"))
    return rows


def read_jsonl_with(path: Path, word: bytes) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file whose lines have `word` in them, few of many: a line without it isn't looked at.

    A last line without its newline is left out.
    """
    rows = []
    with path.open("rb") as file:
        while piece := file.read(SEARCHED_BYTES):
            piece += file.readline()
            if word in piece:
                whole = piece[: piece.rfind(b"\n") + 1]
                rows += [_row(path, line, "a line") for line in whole.split(b"\n") if word in line]
    return rows


def read_jsonl_ends(path: Path, head_bytes: int, tail_bytes: int) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file whose lines lie whole in its first or its last bytes: all of a short file."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= head_bytes + tail_bytes:
            parts = [file.read()]
        else:
            head = file.read(head_bytes)
            file.seek(size - tail_bytes - 1)  # with the byte before: a line that begins right there is whole
            parts = [head, file.read().partition(b"\n")[2]]
    lines = [line for part in parts for line in part[: part.rfind(b"\n") + 1].split(b"\n")]
    return [_row(path, line, "a line") for line in lines if line.strip()]


def _row(path: Path, line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode("utf-8", errors="surrogateescape"))
    except ValueError as error:
        raise ConfigError(f"{path}, {where} is not valid JSON: {error}.", "Correct or remove that line.") from error


def _end_of_last_line(descriptor: int) -> int:
    """Return the offset behind the last newline, 0 when there is none."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(end - 4096, 0)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems refuse to fsync a folder; the rename itself is done
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
