"""Reading a growing metrics.jsonl: only what is new, through rotation, truncation and half-written lines.

The file is read under its own handle, so that rows written to it before it was rotated away are still read. Rotated
files beside it (`metrics.jsonl.1`, …) count as its beginning, the highest number first.
"""

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from agent.ui.shared.curves.series import HELDOUT_MEASURES, STEP_MEASURES, Series

CHUNK_BYTES = 1 << 18
LONGEST_LINE_BYTES = 1 << 22


class _Segment:
    """One file of the concatenation; `base` is the offset of its first byte in it."""

    def __init__(self, path: Path, base: int) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.base = base
        self.done = 0

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    @property
    def identity(self) -> tuple[int, int]:
        found = os.fstat(self.descriptor)
        return found.st_dev, found.st_ino


class MetricsReader:
    """Feeds `steps` and `heldout` from `path`; every call of `read` takes the next piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = Series(STEP_MEASURES)
        self.heldout = Series(HELDOUT_MEASURES, buckets=2048)
        self.unreadable_lines = 0
        self._segments: list[_Segment] = []

    def close(self) -> None:
        for segment in self._segments:
            with contextlib.suppress(OSError):
                os.close(segment.descriptor)
        self._segments = []

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes read and bytes there are."""
        sizes = [segment.size for segment in self._segments]
        return sum(segment.done for segment in self._segments), sum(sizes)

    def read(self) -> bool:
        """Take the next piece of the file into the series; False when there is nothing new."""
        if not self._segments:
            self._open_all()
        for segment in self._segments:
            if segment.size < segment.done:  # cut or written anew in place: what was read is no longer there
                self._start_over()
                return True
            if segment.size > segment.done and self._read_from(segment):
                return True
        return self._open_successor()

    def rows(self, first_step: float, last_step: float) -> Series | None:
        """Return every row from `first_step` to `last_step`, read again from the file; None if there are too many."""
        starts = self.steps.first_step
        if not len(starts):
            return None
        begin = max(0, int(np.searchsorted(starts, first_step, side="right")) - 1)
        end = int(np.searchsorted(starts, last_step, side="right"))
        found = Series(STEP_MEASURES)
        if (end - begin) * self.steps.rows_a_bucket > 2 * len(found.measures) * 1024:
            return None
        offsets = self.steps.offset
        stop = int(offsets[end]) if end < len(offsets) else self._end
        _extend(found, None, self._bytes(int(offsets[begin]), stop), int(offsets[begin]))
        return found

    @property
    def _end(self) -> int:
        return self._segments[-1].base + self._segments[-1].done if self._segments else 0

    def _open_all(self) -> None:
        rotated = sorted(
            (path for path in self.path.parent.glob(f"{self.path.name}.*") if path.suffix[1:].isdigit()),
            key=lambda path: -int(path.suffix[1:]),
        )
        for path in [*rotated, self.path]:
            self._append_segment(path)

    def _append_segment(self, path: Path) -> None:
        base = self._segments[-1].base + self._segments[-1].size if self._segments else 0
        with contextlib.suppress(FileNotFoundError):
            self._segments.append(_Segment(path, base))

    def _open_successor(self) -> bool:
        """After the last file is read to its end: whether another one stands at its path now."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        if self._segments and self._segments[-1].identity == (found.st_dev, found.st_ino):
            return False
        self._append_segment(self.path)
        return True

    def _start_over(self) -> None:
        self.close()
        self.steps.clear()
        self.heldout.clear()
        self._open_all()

    def _read_from(self, segment: _Segment) -> bool:
        """Take whole lines from `segment`; False when its rest is a line that is still being written."""
        wanted = CHUNK_BYTES
        while True:
            chunk = os.pread(segment.descriptor, wanted, segment.done)
            end = chunk.rfind(b"\n") + 1
            if end or len(chunk) < wanted or wanted >= LONGEST_LINE_BYTES:
                break
            wanted *= 4
        if not end:
            return False
        offset = segment.base + segment.done
        self.unreadable_lines += _extend(self.steps, self.heldout, chunk[:end], offset)
        segment.done += end
        return True

    def _bytes(self, start: int, stop: int) -> bytes:
        parts = []
        for segment in self._segments:
            low, high = max(start, segment.base), min(stop, segment.base + segment.done)
            if low < high:
                parts.append(os.pread(segment.descriptor, high - low, low - segment.base))
        return b"".join(parts)


def _extend(steps: Series, heldout: Series | None, chunk: bytes, offset: int) -> int:
    """Take the rows of `chunk`, whose first byte stands at `offset`; return how many lines are no rows."""
    taken: list[tuple[Any, ...]] = []
    offsets: list[int] = []
    unreadable = 0
    for line in chunk.split(b"\n"):
        here, offset = offset, offset + len(line) + 1
        if not line.strip():
            continue
        try:
            row = from_json(line)
            if "heldout" in row:
                if heldout is not None:
                    _extend_heldout(heldout, row, here)
                continue
            spent = row["step_s"]
            taken.append(
                (
                    row["step"],
                    row["loss"],
                    row["loss_video"],
                    row["loss_audio"],
                    row["lr"],
                    row["grad_norm"],
                    spent["data"],
                    spent["forward"],
                    spent["backward"],
                    spent["optimizer"],
                    row["memory_bytes"],
                )
            )
            offsets.append(here)
        except (ValueError, TypeError, KeyError):
            unreadable += 1
    if taken:
        table = _table(taken)
        sound = np.isfinite(table[:, 0])
        unreadable += int((~sound).sum())
        table = table[sound]
        if len(table):
            steps.extend(table[:, 0], table[:, 1:], np.array(offsets, np.int64)[sound])
    return unreadable


def _table(rows: list[tuple[Any, ...]]) -> np.ndarray:
    try:
        return np.array(rows, np.float64)
    except (TypeError, ValueError):
        return np.array([[_number(value) for value in row] for row in rows], np.float64)


def _extend_heldout(heldout: Series, row: dict[str, Any], offset: int) -> None:
    parts = [_number(row["heldout"].get(name)) for name in ("video", "audio")]
    known = [part for part in parts if not math.isnan(part)]
    values = np.array([[sum(known) if known else math.nan, *parts]])
    heldout.extend(np.array([float(row["step"])]), values, np.array([offset]))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
