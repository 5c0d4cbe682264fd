"""How often the planner takes a goal for what it isn't: sentences by objective, crossed with kinds of footage.

    python tests/instruments/goals.py            # the table of ARCHITECTURE.md
    python tests/instruments/goals.py --wrong    # and every sentence that was silently taken for another goal

Tuned on: `calibration.yaml` and `oblique.yaml` (hints that a filmmaker drops) set the margins in
agent/planner/objective_choice.py, and misses of these two, of `plain.yaml` (as people type) and of `last.yaml` led to
exemplars, so the figures of all four flatter the planner. `fresh.yaml` was written without a look at exemplars, at the
other splits or at the scenarios, and nothing was changed for its sentences: it only measures. None of any split's
sentences is an exemplar.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1])]

from agent.planner.objective_choice import Choice, choose, missing_of  # noqa: E402 (the path above names where it is)
from tools.inspect.report.footage import Footage  # noqa: E402

SPLITS = ("calibration", "oblique", "plain", "last", "fresh")
NO_GOAL = "none"
FOOTAGE = {
    "clips with sound": Footage(videos=10, with_sound=10),
    "1 of 10 with sound": Footage(videos=10, with_sound=1),
    "silent clips": Footage(videos=10),
    "pairs": Footage(videos=10, reference_video=10),
    "pairs with sound": Footage(videos=10, with_sound=10, reference_video=10, reference_audio=10),
    "clips with masks": Footage(videos=10, with_sound=10, video_mask=10),
    "photos": Footage(images=30),
    "sound files": Footage(sounds=40),
    "sound pairs": Footage(sounds=40, reference_audio=40),
}
Outcome = Literal["right", "offered", "asked", "wrong"]
"""right: the plan that was meant, or the refusal of what the footage can't carry. offered: a question that names it.

asked: a question without the right one; wrong: another plan, silently.
"""


@dataclass(frozen=True)
class Judged:
    """One sentence on one kind of footage."""

    meant: str
    words: str
    footage: str
    choice: Choice
    outcome: Outcome


def sentences(split: str) -> list[tuple[str, str]]:
    """Pairs of what is meant and the words."""
    read: dict[str, list[str]] = yaml.safe_load((HERE / "goals" / f"{split}.yaml").read_text(encoding="utf-8"))
    return [(meant, words) for meant, all_words in read.items() for words in all_words]


def judged(split: str, kinds: tuple[str, ...] = tuple(FOOTAGE)) -> Iterator[Judged]:
    """Every sentence of a split on every kind of footage."""
    for meant, words in sentences(split):
        for kind in kinds:
            choice = choose(words, FOOTAGE[kind])
            yield Judged(meant, words, kind, choice, _outcome(meant, choice, FOOTAGE[kind]))


def _outcome(label: str, choice: Choice, footage: Footage) -> Outcome:
    """Judge a choice by its label: an objective, `none`, `a or b` (either reading), or `a + b` (two wishes).

    `, picture only` behind it: the plan must leave the sound out. Of two wishes that one training can't grant, a plan
    for one would drop the other silently, so only a question that names both is right.
    """
    meant, _, picture_only = label.partition(", ")
    both, either = meant.split(" + "), meant.split(" or ")
    named = (choice.objective if choice.verdict == "refuse" else None, *choice.offered, *choice.beyond)
    if len(both) > 1:
        if choice.verdict == "clear":
            return "wrong"
        return "right" if set(both) <= set(named) else "offered" if set(both) & set(named) else "asked"
    if choice.verdict == "clear":
        is_right = choice.objective in either and (choice.picture_only or not picture_only)
        return "right" if is_right else "wrong"
    if meant == NO_GOAL:
        return "right" if not choice.understood else "asked"
    can_be_trained = any(not missing_of(name, footage) for name in either)
    if choice.verdict == "refuse" and choice.objective in either and (len(either) == 1 or not can_be_trained):
        return "right"
    return "offered" if set(either) & set(named) else "asked"


def table(split: str) -> str:
    """The outcomes of a split by kind of footage, as Markdown."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in FOOTAGE}
    for one in judged(split):
        counts[one.footage][one.outcome] += 1
    counts["all"] = sum(counts.values(), Counter())
    rows = [f"| {split} | right | right one offered | asked without it | silently wrong |", "| --- " * 5 + "|"]
    for kind, found in counts.items():
        shares = (f"{found[outcome] / found.total():.1%}" for outcome in ("right", "offered", "asked", "wrong"))
        rows.append(f"| {kind} | {' | '.join(shares)} |")
    return "\n".join(rows)


def confusion(split: str) -> str:
    """What each objective was taken for where the words alone decide (on footage that carries it): clear plans only."""
    rows = ["| meant | understood as, without a question |", "| --- | --- |"]
    taken: dict[str, Counter[str]] = {}
    for one in judged(split):
        names = one.meant.partition(", ")[0].replace(" + ", " or ").split(" or ")
        carried = one.meant == NO_GOAL or not any(missing_of(name, FOOTAGE[one.footage]) for name in names)
        if carried and one.choice.verdict == "clear":
            taken.setdefault(one.meant, Counter())[str(one.choice.objective)] += 1
    for meant, found in taken.items():
        rows.append(f"| {meant} | {', '.join(f'{name} {count}' for name, count in found.most_common())} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", action="store_true", help="list what was silently taken for another goal")
    chosen = parser.parse_args()
    for split in SPLITS:
        print(table(split), end="\n\n")
    print(confusion("plain"))
    if chosen.wrong:
        for split in SPLITS:
            for one in judged(split):
                if one.outcome == "wrong":
                    print(f"{split} | {one.footage} | {one.meant} taken for {one.choice.objective} | {one.words}")


if __name__ == "__main__":
    main()
