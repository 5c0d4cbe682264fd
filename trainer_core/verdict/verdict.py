"""The verdict on a run: what it says, and who decides it. No torch."""

import math
from typing import Any, Literal

from trainer_core.strict import Strict

VerdictKind = Literal["continue", "plateau", "overfitting", "diverging", "dead", "unsure"]


class Verdict(Strict):
    """A judgement of a run; `confidence` from 0 (none) to 1."""

    kind: VerdictKind
    confidence: float
    evidence: list[str]
    best_step: int | None = None


def is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
