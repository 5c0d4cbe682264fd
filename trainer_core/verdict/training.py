"""Verdict on a run's training loss, with its evidence and no more certainty than there is. No torch.

A training loss can't tell overfitting and can't name a best step: both need held-out clips.
"""

from typing import Any

from trainer_core.verdict.trend import Trend, measure_trend
from trainer_core.verdict.verdict import Verdict, is_finite

MIN_STEPS = 40
"""Fewer steps say nothing: each step draws its own noise level, which moves the loss more than learning does."""
TREND_P_VALUE = 0.05
RISE_P_VALUE = 0.01
STRONG_RISE = 0.5
"""A rise of half the level within the window is divergence; smaller rises are within what noise levels do."""
FLAT_BAND = 0.05
"""A curve is flat when its change over the window lies within this share of its level, at 95 %."""
CONFIDENCE_CAP = 0.8
"""No verdict from training loss alone is more certain than this."""
NO_HELD_OUT = "This is training loss only: it can't show overfitting or a best step; that needs held-out clips."
FEW_HELD_OUT = (
    "This is training loss only: it can't show overfitting, and the held-out clips were evaluated {count}; a judgement "
    "from them takes {fewest} evaluations."
)


def judge_training(rows: list[dict[str, Any]], limit: str = NO_HELD_OUT) -> Verdict:
    """Judge by training rows in order of step, all of them finite. `limit` says what this can't tell, and why."""
    if len(rows) < MIN_STEPS:
        evidence = f"{len(rows)} steps were measured; a judgement takes at least {MIN_STEPS}"
        return Verdict(kind="unsure", confidence=0.0, evidence=[evidence, limit])
    return _judge_trends(_trends(rows), limit)


def _judge_trends(trends: dict[str, Trend], limit: str) -> Verdict:
    evidence = [_sentence(name, trend) for name, trend in trends.items()] + [limit]
    rising = [t for t in trends.values() if t.p_value < RISE_P_VALUE and t.change > STRONG_RISE]
    falling = [t for t in trends.values() if t.p_value < TREND_P_VALUE and t.change < 0]
    flat = [t for t in trends.values() if t.change_low >= -FLAT_BAND and t.change_high <= FLAT_BAND]
    if rising:
        return Verdict(kind="diverging", confidence=_confidence(rising), evidence=evidence)
    if len(flat) == len(trends):
        return Verdict(kind="plateau", confidence=0.5, evidence=evidence)
    if falling:
        return Verdict(kind="continue", confidence=_confidence(falling), evidence=evidence)
    return Verdict(
        kind="unsure", confidence=0.0, evidence=["the loss moves less than its own noise, so far", *evidence]
    )


def _trends(rows: list[dict[str, Any]]) -> dict[str, Trend]:
    """The trend of each generated modality over the later half of the run, at least MIN_STEPS / 2 steps."""
    window = rows[len(rows) // 2 :]
    found = {}
    for name in ("video", "audio"):
        points = [(row["step"], row[f"loss_{name}"]) for row in window if is_finite(row.get(f"loss_{name}"))]
        if len(points) >= 3:
            found[name] = measure_trend([step for step, _ in points], [value for _, value in points])
    if not found:
        found["total"] = measure_trend([row["step"] for row in window], [row["loss"] for row in window])
    return found


def _sentence(name: str, trend: Trend) -> str:
    direction = "fell" if trend.change < 0 else "rose"
    return (
        f"{name} loss: over the last {trend.steps} steps it {direction} by {abs(trend.change):.1%} of its level "
        f"{trend.level:.4g} (95 % interval {trend.change_low:+.1%} to {trend.change_high:+.1%}, Theil-Sen; "
        f"by chance with probability {trend.p_value:.2g})"
    )


def _confidence(trends: list[Trend]) -> float:
    return round(min(CONFIDENCE_CAP, 1 - min(trend.p_value for trend in trends)), 2)
