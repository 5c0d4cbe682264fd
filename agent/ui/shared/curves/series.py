"""A run's measures in a fixed amount of memory: buckets of neighbouring steps with their least, greatest, mean value.

When all buckets are taken, neighbours are merged in pairs: a run of a thousand steps keeps every value, one of a
million keeps the envelope, and both take the same memory. N rows, K measures, B buckets.
"""

from collections.abc import Sequence

import numpy as np

BUCKETS = 8192
STEP_MEASURES = (
    "loss",
    "loss_video",
    "loss_audio",
    "lr",
    "grad_norm",
    "data_s",
    "forward_s",
    "backward_s",
    "optimizer_s",
    "memory_bytes",
)
HELDOUT_MEASURES = ("heldout", "heldout_video", "heldout_audio")


class Series:
    """Measures over steps, bucketed. `first_step`, `last_step` [B] and `low`, `high`, `mean` [B] of a measure are
    float, NaN where it is absent; `offset` [B] is where each bucket's first row begins in the file."""

    def __init__(self, measures: Sequence[str], buckets: int = BUCKETS) -> None:
        assert buckets % 2 == 0
        self.measures = tuple(measures)
        self.version = 0
        """Changes whenever the values do."""
        self._capacity = buckets
        self._forget()

    def _forget(self) -> None:
        shape = (self._capacity, len(self.measures))
        self._steps = np.zeros((self._capacity, 2))
        self._offset = np.zeros(self._capacity, np.int64)
        self._low, self._high = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        self._sum, self._count = np.zeros(shape), np.zeros(shape, np.int64)
        self._places = 0
        self.rows_a_bucket = 1
        self.version += 1

    def __len__(self) -> int:
        """The number of buckets in use."""
        return -(-self._places // self.rows_a_bucket)

    @property
    def nbytes(self) -> int:
        """The memory that the buckets take."""
        arrays = (self._steps, self._offset, self._low, self._high, self._sum, self._count)
        return sum(array.nbytes for array in arrays)

    @property
    def first_step(self) -> np.ndarray:
        return self._steps[: len(self), 0]

    @property
    def last_step(self) -> np.ndarray:
        return self._steps[: len(self), 1]

    @property
    def offset(self) -> np.ndarray:
        return self._offset[: len(self)]

    def low(self, measure: str) -> np.ndarray:
        return self._low[: len(self), self.measures.index(measure)]

    def high(self, measure: str) -> np.ndarray:
        return self._high[: len(self), self.measures.index(measure)]

    def mean(self, measure: str) -> np.ndarray:
        column = self.measures.index(measure)
        count = self._count[: len(self), column]
        return np.divide(self._sum[: len(self), column], count, out=np.full(len(count), np.nan), where=count > 0)

    def has(self, measure: str) -> bool:
        """Whether the measure was ever taken."""
        return bool(self._count[: len(self), self.measures.index(measure)].any())

    def copy(self) -> "Series":
        """Return the series as it is now, for another thread to read."""
        twin = Series(self.measures, self._capacity)
        for name in ("_steps", "_offset", "_low", "_high", "_sum", "_count"):
            setattr(twin, name, getattr(self, name).copy())
        twin._places, twin.rows_a_bucket, twin.version = self._places, self.rows_a_bucket, self.version
        return twin

    def clear(self) -> None:
        """Forget every row, as when the file was written anew."""
        self._forget()

    def extend(self, steps: np.ndarray, values: np.ndarray, offsets: np.ndarray) -> None:
        """Take rows `steps` [N], `values` [N, K], `offsets` [N] in file order.

        A step that is not greater than the one before it comes from a resumed run: what was known from there on is
        replaced by the later row.
        """
        falls = np.flatnonzero(np.diff(steps) <= 0) + 1
        for part in np.split(np.arange(len(steps)), falls):
            if len(part):
                self._forget_from(steps[part[0]])
                self._append(steps[part], values[part], offsets[part])
        self.version += 1

    def _forget_from(self, step: float) -> None:
        used = len(self)
        if used == 0 or step > self._steps[used - 1, 1]:
            return
        kept = int(np.searchsorted(self._steps[:used, 1], step))  # the bucket that holds `step` goes whole
        self._places = kept * self.rows_a_bucket
        self._low[kept:used] = self._high[kept:used] = np.nan
        self._sum[kept:used] = self._count[kept:used] = 0

    def _append(self, steps: np.ndarray, values: np.ndarray, offsets: np.ndarray) -> None:
        while self._places + len(steps) > self._capacity * self.rows_a_bucket:
            self._merge_pairs()
        buckets = (self._places + np.arange(len(steps))) // self.rows_a_bucket
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        into = buckets[starts]
        fresh = into * self.rows_a_bucket >= self._places
        self._steps[into[fresh], 0] = steps[starts[fresh]]
        self._offset[into[fresh]] = offsets[starts[fresh]]
        self._steps[into, 1] = steps[np.append(starts[1:], len(steps)) - 1]
        self._low[into] = np.fmin(self._low[into], np.fmin.reduceat(values, starts, axis=0))
        self._high[into] = np.fmax(self._high[into], np.fmax.reduceat(values, starts, axis=0))
        self._sum[into] += np.add.reduceat(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), starts, axis=0)
        self._count[into] += np.add.reduceat(np.isfinite(values).astype(np.int64), starts, axis=0)
        self._places += len(steps)

    def _merge_pairs(self) -> None:
        half = self._capacity // 2
        used = len(self)
        last = self._steps[:, 1].copy()
        last[used:] = last[used - 1]
        first, offset = self._steps[0::2, 0].copy(), self._offset[0::2].copy()
        self._steps[:half] = np.stack([first, np.maximum(last[0::2], last[1::2])], axis=1)
        self._offset[:half] = offset
        self._low[:half] = np.fmin(self._low[0::2], self._low[1::2])
        self._high[:half] = np.fmax(self._high[0::2], self._high[1::2])
        for total in (self._sum, self._count):
            total[:half] = total[0::2] + total[1::2]
            total[half:] = 0
        self._low[half:] = self._high[half:] = np.nan
        self.rows_a_bucket *= 2
