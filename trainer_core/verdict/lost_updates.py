"""Updates too small for the precision of the weights: the trainer's alarm and the verdict judge by this. No torch."""

from statistics import median

LOST_STEPS = 20
"""So many steps are looked at."""
LOST_SHARE = 0.5
"""A healthy update changes every weight; where bf16 rounds it away, a few per cent of them."""

LEAST_RATE_SHARE = 0.1
"""Updates at less than this share of the highest learning rate are not judged: the end of a schedule may be tiny."""


def updates_lost(shares: list[float]) -> bool:
    """True if the last LOST_STEPS of `shares`, of weights that an update changed, say that most of it was lost."""
    latest = shares[-LOST_STEPS:]
    return len(latest) == LOST_STEPS and median(latest) < LOST_SHARE


def lost_words(shares: list[float]) -> str:
    """Return the meaning of such shares in words, and the way out."""
    latest = shares[-LOST_STEPS:]
    return (
        f"over the last {len(latest)} steps an update changed {median(latest):.1%} of the weights: the rest was "
        "rounded away, because the weights' precision is too coarse for this learning rate; train with "
        "ltx_agent.training.master_weights: float32 or float24, or a higher learning rate"
    )
