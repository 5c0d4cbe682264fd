"""From a series to the columns of a plot: what each column of dots shows of the steps under it."""

from dataclasses import dataclass

import numpy as np

from agent.ui.shared.curves.series import Series


@dataclass(frozen=True)
class View:
    """The stretch of steps that a plot shows."""

    first: float
    last: float

    @property
    def span(self) -> float:
        return max(self.last - self.first, 1e-9)

    def column(self, step: float, width: int) -> int:
        """The column of `width` in which `step` lies; outside of 0..width-1 when it is not shown."""
        return int(np.floor((step - self.first) / self.span * (width - 1) + 0.5))

    def step(self, column: float, width: int) -> float:
        return self.first + column / max(width - 1, 1) * self.span


def envelope(series: Series, measure: str, view: View, width: int) -> np.ndarray:
    """Return [2, width]: the least and the greatest value of each column, NaN where nothing was measured.

    Columns between two points of a sparse curve are filled by the line between them.
    """
    middles = (series.first_step + series.last_step) / 2
    low, high = series.low(measure), series.high(measure)
    return np.stack([_reduced(middles, low, view, width, np.fmin), _reduced(middles, high, view, width, np.fmax)])


def curve(series: Series, values: np.ndarray, view: View, width: int) -> np.ndarray:
    """Return [width]: the mean of `values` [B], one a bucket, in each column."""
    steps, shown = _visible((series.first_step + series.last_step) / 2, values, view)
    columns = _columns(steps, view, width)
    inside = (columns >= 0) & (columns < width)
    total = np.bincount(columns[inside], weights=shown[inside], minlength=width)
    count = np.bincount(columns[inside], minlength=width)
    mean = np.divide(total, count, out=np.full(width, np.nan), where=count > 0)
    return _joined(mean, steps, shown, view)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Return the running median of `values` [B] over `width` of them, centred (fewer at the ends); NaN are left out."""
    if width <= 1 or not len(values):
        return values
    half = min(width // 2, len(values) - 1)
    padded = np.concatenate([np.full(half, np.nan), values, np.full(half, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    empty = np.isnan(windows).all(axis=1)
    result = np.full(len(values), np.nan)
    if not np.isnan(windows).any():
        return np.median(windows, axis=1)
    result[~empty] = _nanmedian(windows[~empty])
    return result


def _nanmedian(windows: np.ndarray) -> np.ndarray:
    ordered = np.sort(windows, axis=1)  # NaN last
    count = (~np.isnan(windows)).sum(axis=1)
    rows = np.arange(len(windows))
    return (ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2


def _columns(steps: np.ndarray, view: View, width: int) -> np.ndarray:
    return np.floor((steps - view.first) / view.span * (width - 1) + 0.5).astype(np.int64)


def _visible(steps: np.ndarray, values: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """The finite `values` [B] at `steps` [B] (rising) in the view, and the ones next to it on both sides."""
    sound = np.flatnonzero(np.isfinite(values))
    at = steps[sound]
    start = max(int(np.searchsorted(at, view.first)) - 1, 0)
    stop = int(np.searchsorted(at, view.last, side="right")) + 1
    return at[start:stop], values[sound[start:stop]]


def _reduced(middles: np.ndarray, values: np.ndarray, view: View, width: int, reduce: np.ufunc) -> np.ndarray:
    steps, shown = _visible(middles, values, view)
    columns = _columns(steps, view, width)
    inside = np.flatnonzero((columns >= 0) & (columns < width))
    result = np.full(width, np.nan)
    if len(inside):
        starts = np.flatnonzero(np.diff(columns[inside], prepend=-1))
        result[columns[inside][starts]] = reduce.reduceat(shown[inside], starts)
    return _joined(result, steps, shown, view)


def _joined(shown: np.ndarray, steps: np.ndarray, values: np.ndarray, view: View) -> np.ndarray:
    """Fill the columns between points (finite, rising), those beyond the edges included, as a line would."""
    empty = np.flatnonzero(np.isnan(shown))
    if not len(empty) or not len(steps):
        return shown
    at = view.first + empty / max(len(shown) - 1, 1) * view.span
    inside = (at >= steps[0]) & (at <= steps[-1])
    shown[empty[inside]] = np.interp(at[inside], steps, values)
    return shown
