"""Robust statistics of a noisy loss curve: running median, Theil-Sen slope, Mann-Kendall test. No torch."""

import math
from dataclasses import dataclass
from statistics import NormalDist, median

MAX_POINTS = 200
"""Pairs grow with the square of the points; longer curves are first reduced to the medians of this many blocks."""


@dataclass(frozen=True)
class Trend:
    """Movement of a curve over a window of steps; changes are relative to the window's median level.

    `p_value` is the two-sided Mann-Kendall probability of such an order by chance; `change_low` and `change_high`
    bound the change at 95 %.
    """

    steps: int
    level: float
    change: float
    change_low: float
    change_high: float
    p_value: float


def smoothed(values: list[float], width: int) -> list[float]:
    """Return the running median over `width` values centred on each one (fewer at the ends)."""
    half = width // 2
    return [median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def smoothing_width(count: int) -> int:
    """Return the running-median width for a curve of `count` points: a tenth of it, odd, from 3 to 101."""
    return min(101, max(3, count // 10 | 1))


def measure_trend(steps: list[int], values: list[float]) -> Trend:
    """Return the Theil-Sen trend of `values` over `steps` (at least three points).

    Slope: Sen 1968, "Estimates of the regression coefficient based on Kendall's tau", with its confidence interval.
    Variance of the test: Hamed and Rao 1998, "A modified Mann-Kendall trend test for autocorrelated data".
    """
    x, y = _blocks(steps, values)
    count = len(y)
    slopes = sorted((y[j] - y[i]) / (x[j] - x[i]) for i in range(count) for j in range(i + 1, count))
    concordance = sum((slope > 0) - (slope < 0) for slope in slopes)
    slope = median(slopes)
    dependence = _autocorrelation_factor([value - slope * at for at, value in zip(x, y, strict=True)])
    deviation = math.sqrt(dependence * count * (count - 1) * (2 * count + 5) / 18)
    z = (abs(concordance) - 1) / deviation if concordance else 0.0
    reach = NormalDist().inv_cdf(0.975) * deviation
    low = slopes[max(0, math.floor((len(slopes) - reach) / 2))]
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))]
    level = median(y)
    scale = (x[-1] - x[0]) / abs(level) if level else math.inf
    return Trend(
        steps=steps[-1] - steps[0] + 1,
        level=level,
        change=_scaled(slope, scale),
        change_low=_scaled(low, scale),
        change_high=_scaled(high, scale),
        p_value=2 * (1 - NormalDist().cdf(max(0.0, z))),
    )


def _autocorrelation_factor(residuals: list[float]) -> float:
    """By how much autocorrelation of the detrended series widens the test's variance; at least 1.

    Only lags whose autocorrelation of ranks is significant at 95 % count (Hamed and Rao, equations 5 and 6).
    """
    count = len(residuals)
    order = sorted(range(count), key=lambda index: residuals[index])
    ranks = [0.0] * count
    for rank, index in enumerate(order):
        ranks[index] = rank - (count - 1) / 2
    total = sum(rank * rank for rank in ranks)
    if count < 4 or max(residuals) == min(residuals):
        return 1.0
    limit = NormalDist().inv_cdf(0.975) / math.sqrt(count)
    widening = 0.0
    for lag in range(1, count // 2):
        correlation = sum(ranks[i] * ranks[i + lag] for i in range(count - lag)) / total
        if abs(correlation) > limit:
            widening += (count - lag) * (count - lag - 1) * (count - lag - 2) * correlation
    return max(1.0, 1 + 2 * widening / (count * (count - 1) * (count - 2)))


def _scaled(slope: float, scale: float) -> float:
    return 0.0 if slope == 0 else slope * scale


def _blocks(steps: list[int], values: list[float]) -> tuple[list[float], list[float]]:
    size = -(-len(values) // MAX_POINTS)
    starts = range(0, len(values), size)
    return [float(median(steps[i : i + size])) for i in starts], [median(values[i : i + size]) for i in starts]
