"""What a run's training loss says about it, with its evidence and no more certainty than there is.

A training loss can't tell overfitting and can't name a best step: both need held-out clips.
"""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tools.monitor.trend import Trend, measure_trend
from trainer_core.run_folder import RunStatus

VerdictKind = Literal["continue", "plateau", "overfitting", "diverging", "dead", "unsure"]

MIN_STEPS = 40
"""Fewer steps say nothing: each step draws its own noise level, which moves the loss more than learning does."""
TREND_P_VALUE = 0.05
RISE_P_VALUE = 0.01
STRONG_RISE = 0.5
"""A rise of half the level within the window is divergence; smaller rises are within what noise levels do."""
FLAT_BAND = 0.05
"""A curve is flat when its change over the window lies within this share of its level, at 95 %."""
DEAD_STEPS = 5
CONFIDENCE_CAP = 0.8
"""No verdict from training loss alone is more certain than this."""
LIMIT_OF_EVIDENCE = "This is training loss only: it can't show overfitting or a best step; that needs held-out clips."


class Verdict(BaseModel):
    """A judgement of a run; `confidence` from 0 (none) to 1."""

    model_config = ConfigDict(extra="forbid")

    kind: VerdictKind
    confidence: float
    evidence: list[str]
    best_step: int | None = None


def judge(rows: list[dict[str, Any]], status: RunStatus) -> Verdict:
    """Judge a run by its training rows (in order of step) and its status."""
    if status.state == "diverged":
        evidence = status.error or f"the trainer stopped at step {status.step} because the run diverged"
        return Verdict(kind="diverging", confidence=1.0, evidence=[evidence])
    for row in rows:
        if not _is_finite(row["loss"]):
            return Verdict(
                kind="diverging", confidence=1.0, evidence=[f"the loss of step {row['step']} is not a finite number"]
            )
    if _without_gradient(rows):
        return Verdict(
            kind="dead",
            confidence=CONFIDENCE_CAP,
            evidence=[f"the gradient was exactly 0 in each of the last {DEAD_STEPS} steps: nothing is being learned"],
        )
    if len(rows) < MIN_STEPS:
        evidence = f"{len(rows)} steps were measured; a judgement takes at least {MIN_STEPS}"
        return Verdict(kind="unsure", confidence=0.0, evidence=[evidence, LIMIT_OF_EVIDENCE])
    return _judge_trends(_trends(rows))


def _judge_trends(trends: dict[str, Trend]) -> Verdict:
    evidence = [_sentence(name, trend) for name, trend in trends.items()] + [LIMIT_OF_EVIDENCE]
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
        points = [(row["step"], row[f"loss_{name}"]) for row in window if _is_finite(row.get(f"loss_{name}"))]
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


def _without_gradient(rows: list[dict[str, Any]]) -> bool:
    latest = rows[-DEAD_STEPS:]
    return len(latest) == DEAD_STEPS and all(row["grad_norm"] == 0 for row in latest)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
