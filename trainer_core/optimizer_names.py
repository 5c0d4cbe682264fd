"""The optimizers and master weights that a YAML can name: when to use each, what it keeps, what it can't go with.

No torch. `training/optim/optimizers.py` builds them; a test holds the two lists together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

OptimizerName = Literal["adamw", "adamw8bit", "adafactor", "lion", "came", "prodigy", "schedule_free_adamw"]
MasterWeights = Literal["auto", "float32", "float24", "stochastic"]


@dataclass(frozen=True)
class OptimizerFacts:
    """One optimizer. `bytes_a_weight`: of its state, beside what rows and columns of a matrix share (`factored`).

    `fusable`: it can update each weight in the backward pass. `rates`: the learning rates that make sense.
    """

    when: str
    bytes_a_weight: float
    factored: bool = False
    fusable: bool = False
    own_schedule: bool = False
    rates: tuple[float, float] = (0.0, math.inf)


_EIGHT_BIT = 2 + 2 * 4 / 256
PRODIGY_SLICE = 11
"""Prodigy judges its step size by every eleventh weight, as its authors advise for less memory."""

OPTIMIZERS: dict[OptimizerName, OptimizerFacts] = {
    "adamw": OptimizerFacts("the usual choice; two float32 moments a weight", 8, fusable=True),
    "adamw8bit": OptimizerFacts("as adamw with its moments in 8 bits, where memory is short", _EIGHT_BIT, fusable=True),
    "adafactor": OptimizerFacts(
        "where even 8-bit moments are too large: it keeps a row and a column a matrix; learning rates as for adamw, "
        "somewhat less steady",
        0,
        factored=True,
    ),
    "lion": OptimizerFacts(
        "half of adamw's state; every weight moves by the whole learning rate, so use a third to a tenth of adamw's",
        4,
        rates=(0.0, 1e-2),
    ),
    "came": OptimizerFacts(
        "near adamw's quality at half its state, for long runs; learning rates as for adamw or lower", 4, factored=True
    ),
    "prodigy": OptimizerFacts(
        "when no learning rate is known: it finds its own from learning_rate: 1.0, and costs as much as adamw",
        8 + 8 / PRODIGY_SLICE,
        rates=(0.1, 10.0),
    ),
    "schedule_free_adamw": OptimizerFacts(
        "when the number of steps isn't known beforehand: it averages its weights instead of lowering the learning "
        "rate, so any checkpoint is a finished one; needs scheduler_type: constant",
        8,
        own_schedule=True,
    ),
}

MASTER_WEIGHTS: dict[MasterWeights, str] = {
    "auto": "the default: float32 where that fits the device, else float24",
    "float32": "the exact choice: weights in float32, computed with in bf16",
    "float24": "where float32 doesn't fit: bf16 weights, each with 8 more bits, and 8-bit moments; follows float32 to "
    "within a per cent",
    "stochastic": "where one byte a weight more is too much: bf16 weights rounded up or down by chance, and 8-bit "
    "moments; right on average, but noisy below a learning rate of 1e-4",
}


def described(choices: Mapping[Any, str], lead: str) -> str:
    """A schema's description of an option: each choice with when to use it."""
    return f"{lead} " + " ".join(f"{name}: {when}." for name, when in choices.items())


def optimizer_conflict(
    name: OptimizerName,
    *,
    learning_rate: float,
    scheduler: str,
    fused: bool,
    averaged: bool,
    master_weights: MasterWeights,
) -> str | None:
    """Say why an optimizer can't go with the other settings, and the way out; None where it can."""
    facts = OPTIMIZERS[name]
    least, most = facts.rates
    if not least <= learning_rate <= most:
        allowed = f"from {least:g} to {most:g}" if least else f"of at most {most:g}"
        return (
            f"optimization.learning_rate {learning_rate:g} is no rate for optimizer_type {name}: use one {allowed} "
            f"({facts.when})"
        )
    if facts.own_schedule and scheduler != "constant":
        return (
            f"optimizer_type {name} replaces the schedule: set optimization.scheduler_type: constant (it is "
            f"{scheduler}); ltx_agent.warmup_steps may stay"
        )
    if facts.own_schedule and averaged:
        return f"optimizer_type {name} averages the weights itself: leave out ltx_agent.training.ema_decay"
    if fused and not facts.fusable:
        able = " or ".join(other for other, known in OPTIMIZERS.items() if known.fusable)
        return f"ltx_agent.memory.fused_optimizer updates weight by weight, which {name} can't: use {able}"
    if master_weights in ("float24", "stochastic") and name not in ("adamw", "adamw8bit"):
        return (
            f"ltx_agent.training.master_weights: {master_weights} comes with an AdamW of its own, whose moments are in "
            f"8 bits: set optimization.optimizer_type: adamw8bit (it is {name}), or master_weights: float32"
        )
    return None
