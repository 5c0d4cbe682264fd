"""Held-out curves of known kind, and the confusion table of the verdict on them.

`python tests/instruments/verdict_simulation.py` writes the table into ARCHITECTURE.md, between its markers. No torch.

A curve is the loss relative to step 0 at 10 to 40 evaluations, of held-out and of training clips, with a drift of the
weights on it: AR(1) noise of 0.1 to 2 % with an autocorrelation of 0 to 0.6, on which the rule knows nothing.
"""

import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer_core.files import write_text
from trainer_core.verdict.judge import judge
from trainer_core.verdict.verdict import VerdictKind

KINDS: tuple[VerdictKind, ...] = ("continue", "plateau", "overfitting", "diverging", "dead")
ANSWERS: tuple[VerdictKind, ...] = (*KINDS, "unsure")
CURVES_A_KIND = 300
SEED = 2026
MARKERS = ("<!-- verdict table -->", "<!-- /verdict table -->")
Shape = Callable[[float], float]
"""Loss relative to step 0 over the run's course from 0 to 1."""


def simulate(curves_a_kind: int = CURVES_A_KIND, seed: int = SEED) -> dict[VerdictKind, Counter[VerdictKind]]:
    """Judge `curves_a_kind` curves of each kind; return how often each kind was called what."""
    chance = random.Random(seed)
    return {kind: Counter(judge([], curve(kind, chance)).kind for _ in range(curves_a_kind)) for kind in KINDS}


def curve(kind: VerdictKind, chance: random.Random) -> list[dict[str, Any]]:
    """Held-out rows of a run of this kind."""
    heldout, train = _SHAPES[kind](chance)
    evaluations = chance.randint(10, 40)
    # an adapter that is dead doesn't move at all: its losses jitter by rounding alone
    noise = 1e-4 if kind == "dead" else 10 ** chance.uniform(-3, -1.7)
    memory = chance.uniform(0.0, 0.6)
    series = [_noisy(shape, evaluations, noise, memory, chance) for shape in (heldout, train)]
    interval = chance.choice((25, 50, 100, 250))
    return [
        {"step": index * interval, "heldout": {"relative": {"video": held}}, "train": {"relative": {"video": own}}}
        for index, (held, own) in enumerate(zip(*series, strict=True))
    ]


def table(found: dict[VerdictKind, Counter[VerdictKind]]) -> str:
    """The confusion table in Markdown, in per cent of the curves of each kind."""
    total = sum(sum(row.values()) for row in found.values())
    wrong = sum(count for kind, row in found.items() for answer, count in row.items() if answer not in (kind, "unsure"))
    right = sum(row[kind] for kind, row in found.items())
    lines = [
        f"| true kind \\ verdict | {' | '.join(ANSWERS)} |",
        f"| --- |{' ---: |' * len(ANSWERS)}",
        *(f"| {kind} | {' | '.join(_cell(row, answer, kind) for answer in ANSWERS)} |" for kind, row in found.items()),
        "",
        f"{total} simulated curves, per cent of each kind: {right / total:.1%} called right, {wrong / total:.1%} "
        f"called wrong, {(total - right - wrong) / total:.1%} left open.",
    ]
    return "\n".join(lines)


def write_table(path: Path) -> None:
    """Put the table into `path`, between the markers."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    assert after, f"{path} lacks the markers {MARKERS}"
    write_text(path, f"{before}{MARKERS[0]}\n{table(simulate())}\n{MARKERS[1]}{after}")


def _cell(row: Counter[VerdictKind], answer: VerdictKind, kind: VerdictKind) -> str:
    share = f"{100 * row[answer] / sum(row.values()):.1f}"
    return f"**{share}**" if answer == kind else share


def _continuing(chance: random.Random) -> tuple[Shape, Shape]:
    """Falls by 5 to 40 % over the run and is far from its floor at the end."""
    depth, pace = chance.uniform(0.05, 0.4), chance.uniform(0.3, 1.5)
    fall = _falling(depth, pace)
    return fall, _falling(depth * chance.uniform(1.0, 1.3), pace)


def _level(chance: random.Random) -> tuple[Shape, Shape]:
    """Has fallen by 5 to 30 % and reached its floor within the first fifth."""
    depth, pace = chance.uniform(0.05, 0.3), chance.uniform(12.0, 30.0)
    fall = _falling(depth, pace)
    return fall, _falling(depth * chance.uniform(1.0, 1.2), pace)


def _overfitting(chance: random.Random) -> tuple[Shape, Shape]:
    """Falls, turns between a quarter and two thirds of the run, rises by 2 to 25 %; training clips keep falling."""
    turn, depth, rise = chance.uniform(0.25, 0.65), chance.uniform(0.08, 0.3), chance.uniform(0.02, 0.25)
    fall = _falling(depth, 4.0)

    def heldout(at: float) -> float:
        return fall(at) if at <= turn else fall(turn) + rise * (at - turn) / (1 - turn)

    return heldout, _falling(min(depth * 2, 0.6), 2.0)


def _diverging(chance: random.Random) -> tuple[Shape, Shape]:
    """Falls, and from some moment on rises by 10 to 300 %, training clips as well."""
    turn, depth, rise = chance.uniform(0.2, 0.75), chance.uniform(0.05, 0.3), 10 ** chance.uniform(-1, 0.5)
    fall, power = _falling(depth, 5.0), chance.uniform(1.0, 2.0)

    def shape(at: float) -> float:
        return fall(at) if at <= turn else fall(turn) + rise * ((at - turn) / (1 - turn)) ** power

    return shape, shape


def _dead(_chance: random.Random) -> tuple[Shape, Shape]:
    return (lambda _at: 1.0), (lambda _at: 1.0)


_SHAPES: dict[VerdictKind, Callable[[random.Random], tuple[Shape, Shape]]] = {
    "continue": _continuing,
    "plateau": _level,
    "overfitting": _overfitting,
    "diverging": _diverging,
    "dead": _dead,
}


def _falling(depth: float, pace: float) -> Shape:
    """1 at the start, 1 - depth at the end, exponentially with `pace` time constants a run."""
    return lambda at: 1 - depth * (1 - math.exp(-pace * at)) / (1 - math.exp(-pace))


def _noisy(shape: Shape, evaluations: int, noise: float, memory: float, chance: random.Random) -> list[float]:
    """The shape at each evaluation times 1 + AR(1) noise; exactly 1 at step 0, which everything is relative to."""
    values, drift = [1.0], 0.0
    for index in range(1, evaluations):
        drift = memory * drift + chance.gauss(0, noise * math.sqrt(1 - memory**2))
        values.append(shape(index / (evaluations - 1)) * (1 + drift))
    return values


if __name__ == "__main__":
    write_table(Path(__file__).with_name("TABLES.md"))
    print(table(simulate()))
