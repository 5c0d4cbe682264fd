"""Keeping trainer.log from growing without end: full ones are numbered, the oldest go. No torch."""

import contextlib
import os
from pathlib import Path

LARGEST_BYTES = 10 * 2**20
KEPT = 3


def rotate_log(path: Path, largest_bytes: int = LARGEST_BYTES, kept: int = KEPT) -> bool:
    """Rename `path` to `.1` (`.1` to `.2` …) once it has grown over the limit, and write on into a new file.

    Only for a process whose own stdout or stderr goes to `path`: those descriptors are pointed at the new file.
    Returns whether it rotated.
    """
    try:
        here = path.stat()
    except OSError:
        return False
    if here.st_size <= largest_bytes:
        return False
    ours = [number for number in (1, 2) if _is_same(number, here)]
    if not ours:
        return False
    with contextlib.suppress(OSError):
        for number in range(kept - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        path.replace(path.with_name(f"{path.name}.1"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for number in ours:
            os.dup2(descriptor, number)
        os.close(descriptor)
        return True
    return False


def _is_same(descriptor: int, here: os.stat_result) -> bool:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino)
