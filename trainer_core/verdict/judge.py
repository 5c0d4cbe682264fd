"""From a run's metrics to its verdict: held-out clips decide when there are enough evaluations, else the training loss.

The trainer and every reader call this one function, so that they agree. No torch.
"""

from typing import Any

from trainer_core.verdict.heldout import FEWEST_EVALUATIONS, best_evaluated, judge_heldout
from trainer_core.verdict.lost_updates import LEAST_RATE_SHARE, lost_words, updates_lost
from trainer_core.verdict.training import FEW_HELD_OUT, NO_HELD_OUT, judge_training
from trainer_core.verdict.verdict import Verdict, is_finite

DEAD_STEPS = 5


def judge(steps: list[dict[str, Any]], heldout: list[dict[str, Any]], diverged: str | None = None) -> Verdict:
    """Judge a run by its training rows and held-out rows, both in order of step.

    `diverged` is the error of a run that the trainer stopped because it diverged.
    """
    measured = [row for row in steps if row["loss"] is not None]
    found = _plain_facts(measured, diverged)
    if found is None and len(heldout) >= FEWEST_EVALUATIONS:
        found = judge_heldout(heldout)
    if found is None:
        times = "once" if len(heldout) == 1 else f"{len(heldout)} times"
        few = FEW_HELD_OUT.format(count=times, fewest=FEWEST_EVALUATIONS)
        found = judge_training(measured, few if heldout else NO_HELD_OUT)
    return found.model_copy(update={"best_step": best_evaluated(heldout)})


def _plain_facts(measured: list[dict[str, Any]], diverged: str | None) -> Verdict | None:
    """What needs no statistics: the trainer gave up, a loss is no number, no gradient, or no update that stays."""
    if diverged is not None:
        return Verdict(kind="diverging", confidence=1.0, evidence=[diverged])
    for row in measured:
        if not is_finite(row["loss"]):
            return Verdict(
                kind="diverging", confidence=1.0, evidence=[f"the loss of step {row['step']} is not a finite number"]
            )
    latest = measured[-DEAD_STEPS:]
    if len(latest) == DEAD_STEPS and all(row["grad_norm"] == 0 for row in latest):
        evidence = f"the gradient was exactly 0 in each of the last {DEAD_STEPS} steps: nothing is being learned"
        return Verdict(kind="dead", confidence=1.0, evidence=[evidence])
    sampled = [row for row in measured if row.get("changed_weights") is not None]
    highest = max((row["lr"] for row in sampled), default=0.0)
    shares = [row["changed_weights"] for row in sampled if row["lr"] >= LEAST_RATE_SHARE * highest]
    if updates_lost(shares):
        return Verdict(kind="dead", confidence=0.95, evidence=[lost_words(shares)])
    return None
