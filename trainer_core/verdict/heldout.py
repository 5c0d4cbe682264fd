"""The statistical rule on the held-out series. No torch.

The series is the held-out loss relative to step 0, averaged over the modalities, at each evaluation; a second one is
that of training clips evaluated in the same way. Noise and sigmas are fixed, so what moves them is the weights.

Over the later half of the evaluations (at least six), and from the best evaluation on, the Mann-Kendall test says
whether a series has a trend, with its variance corrected for autocorrelation, and Theil-Sen how large it is:

- diverging: the held-out loss rises, by more than RISE and its own noise, and the training clips' rises too; or it
  exceeds twice its value at step 0;
- overfitting: from the best evaluation on the held-out loss rises, by more than RISE and its own noise, while the
  training clips' doesn't;
- dead: neither series ever left step 0's value by more than DEAD_BAND;
- continue: the held-out loss falls, by more than FLAT_BAND over the window;
- plateau: with 90 % confidence its change over the window lies within ±FLAT_BAND;
- unsure: none of these can be shown.
"""

import math
from statistics import NormalDist, median
from typing import Any

from trainer_core.verdict.trend import Trend, measure_trend
from trainer_core.verdict.verdict import Verdict

FEWEST_EVALUATIONS = 8
FEWEST_IN_WINDOW = 6
FEWEST_SINCE_BEST = 4
TREND_P_VALUE = 0.05
RISE = 0.01
"""A rise of less than one per cent of the loss is no reason to stop anything."""
NOISES = 3.0
"""A rise must exceed this many standard deviations of the series' own jitter."""
FLAT_BAND = 0.02
DEAD_BAND = 0.003
EXPLODED = 2.0

Point = tuple[int, float]


def judge_heldout(rows: list[dict[str, Any]]) -> Verdict | None:
    """Judge by held-out rows in order of step; None when too few of them are finite."""
    heldout, train = _series(rows, "heldout"), _series(rows, "train")
    if len(heldout) < FEWEST_EVALUATIONS:
        return None
    noise = jitter([value for _, value in heldout])
    best = min(range(len(heldout)), key=lambda index: heldout[index][1])
    evidence = [_level(heldout, best)]
    if verdict := _exploded(heldout, evidence) or _dead(heldout, train, evidence):
        return verdict
    since = heldout[best:]
    rise = _trend(since) if len(since) >= FEWEST_SINCE_BEST else None
    if rise is not None and _rises(rise, since, noise):
        beside = [point for point in train if point[0] >= since[0][0]]
        return _rising(rise, _trend(beside) if len(beside) >= FEWEST_SINCE_BEST else None, evidence)
    window = heldout[-max(FEWEST_IN_WINDOW, len(heldout) // 2) :]
    return _falling_or_flat(_trend(window), evidence)


def best_evaluated(rows: list[dict[str, Any]]) -> int | None:
    """The step whose held-out loss is lowest; None before the first evaluation."""
    series = _series(rows, "heldout")
    return min(series, key=lambda point: (point[1], point[0]))[0] if series else None


def jitter(values: list[float]) -> float:
    """The standard deviation of a series around its own course: robust, from second differences.

    A second difference of independent noise has variance 6; a straight course leaves none.
    """
    bends = [values[i - 1] - 2 * values[i] + values[i + 1] for i in range(1, len(values) - 1)]
    return 1.4826 * median(abs(bend) for bend in bends) / math.sqrt(6) if bends else 0.0


def relative_score(part: dict[str, Any] | None) -> float | None:
    """Mean over the modalities of the loss relative to step 0, so that the larger loss doesn't drown the other."""
    values = list(((part or {}).get("relative") or {}).values())
    return sum(values) / len(values) if values and all(value is not None for value in values) else None


def _series(rows: list[dict[str, Any]], part: str) -> list[Point]:
    found = [(row["step"], relative_score(row.get(part))) for row in rows]
    return [(step, score) for step, score in found if score is not None]


def _exploded(heldout: list[Point], evidence: list[str]) -> Verdict | None:
    latest = median(value for _, value in heldout[-3:])
    if latest <= EXPLODED:
        return None
    return Verdict(
        kind="diverging",
        confidence=0.99,
        evidence=[f"the held-out loss is {latest:.2f} times its value at step 0", *evidence],
    )


def _dead(heldout: list[Point], train: list[Point], evidence: list[str]) -> Verdict | None:
    away = max(abs(value - 1) for _, value in [*heldout, *train])
    if away > DEAD_BAND:
        return None
    said = f"in {len(heldout)} evaluations no loss moved by more than {away:.2%} from step 0: nothing was learnt"
    return Verdict(kind="dead", confidence=0.95, evidence=[said, *evidence])


def _rises(trend: Trend, points: list[Point], noise: float) -> bool:
    grown = median(value for _, value in points[-3:]) - points[0][1]
    return trend.p_value < TREND_P_VALUE and trend.change > 0 and grown > max(RISE * points[0][1], NOISES * noise)


def _rising(rise: Trend, train: Trend | None, evidence: list[str]) -> Verdict:
    said = [f"held-out clips since the best evaluation: {_words(rise)}", *evidence]
    if train is None:
        return Verdict(kind="overfitting", confidence=round(0.8 * (1 - rise.p_value), 2), evidence=said)
    said.insert(1, f"training clips over the same steps: {_words(train)}")
    both = train.p_value < TREND_P_VALUE and train.change > 0
    return Verdict(kind="diverging" if both else "overfitting", confidence=_confidence(rise.p_value), evidence=said)


def _falling_or_flat(trend: Trend, evidence: list[str]) -> Verdict:
    said = [f"held-out clips, later half: {_words(trend)}", *evidence]
    flat = _within_band(trend)
    if trend.p_value < TREND_P_VALUE and trend.change < 0 and flat < 0.9:
        return Verdict(kind="continue", confidence=_confidence(trend.p_value), evidence=said)
    if flat >= 0.9:
        return Verdict(kind="plateau", confidence=round(min(flat, 0.99), 2), evidence=said)
    return Verdict(
        kind="unsure", confidence=0.0, evidence=["the held-out loss moves less than its own noise, so far", *said]
    )


def _within_band(trend: Trend) -> float:
    """How sure it is that the change over the window lies within ±FLAT_BAND, from the width of its interval."""
    spread = (trend.change_high - trend.change_low) / (2 * NormalDist().inv_cdf(0.975))
    if spread <= 0:
        return 1.0 if abs(trend.change) <= FLAT_BAND else 0.0
    normal = NormalDist(trend.change, spread)
    return normal.cdf(FLAT_BAND) - normal.cdf(-FLAT_BAND)


def _trend(points: list[Point]) -> Trend:
    return measure_trend([step for step, _ in points], [value for _, value in points])


def _level(heldout: list[Point], best: int) -> str:
    step, value = heldout[best]
    last_step, last = heldout[-1]
    return (
        f"held-out loss relative to step 0: best {value:.3f} at step {step}, now {last:.3f} at step {last_step} "
        f"({len(heldout)} evaluations at fixed noise)"
    )


def _words(trend: Trend) -> str:
    direction = "fell" if trend.change < 0 else "rose"
    return (
        f"{direction} by {abs(trend.change):.1%} over {trend.steps} steps (95 % interval {trend.change_low:+.1%} to "
        f"{trend.change_high:+.1%}, Theil-Sen; by chance with probability {trend.p_value:.2g}, Mann-Kendall)"
    )


def _confidence(p_value: float) -> float:
    return round(min(0.99, 1 - p_value), 2)
