"""Two adapters side by side: do they move the same weights, in the same direction, by how much?"""

from pathlib import Path

from trainer_core.adapters import read_lora
from trainer_core.doctor.measure import Pairs, delta_norm, product
from trainer_core.model.ltx import branch_of
from trainer_core.strict import Strict


class BranchComparison(Strict):
    """`cosine` of the two ΔW of a branch taken together, from -1 (opposed) over 0 (unrelated) to 1 (the same);
    `norm_ratio` is ‖ΔW of the second‖ / ‖ΔW of the first‖."""

    modules: int
    cosine: float | None
    norm_ratio: float | None


class Comparison(Strict):
    """The modules that both adapters have, by branch, and those that only one has."""

    first: str
    second: str
    branches: dict[str, BranchComparison]
    only_first: list[str]
    only_second: list[str]
    least_alike: list[str]
    """The five shared modules whose ΔW point the most different ways."""


def compare_files(first: Path, second: Path) -> Comparison:
    """Compare the LoRAs in two files. Raises ConfigError for one that is no sound adapter, or more than B·A (DoRA)."""
    one, other = (read_lora(path) for path in (first, second))
    return compare(one, other, str(first), str(second))


def compare(one: Pairs, other: Pairs, first: str = "first", second: str = "second") -> Comparison:
    """Compare two sets of LoRA matrices; modules whose layers differ in size count as belonging to one only."""
    shared = [name for name in one if name in other and _sizes(one[name]) == _sizes(other[name])]
    facts = {
        name: (product(one[name], other[name]), delta_norm(*one[name]), delta_norm(*other[name])) for name in shared
    }
    branches = {}
    for branch in ("video", "audio", "cross"):
        members = [facts[name] for name in shared if branch_of(name) == branch]
        if members:
            inner = sum(member[0] for member in members)
            norms = [sum(member[side] ** 2 for member in members) ** 0.5 for side in (1, 2)]
            branches[branch] = BranchComparison(
                modules=len(members),
                cosine=inner / (norms[0] * norms[1]) if all(norms) else None,
                norm_ratio=norms[1] / norms[0] if norms[0] else None,
            )
    alike = sorted(shared, key=lambda name: _cosine(facts[name]))
    return Comparison(
        first=first,
        second=second,
        branches=branches,
        only_first=sorted(set(one) - set(shared)),
        only_second=sorted(set(other) - set(shared)),
        least_alike=[f"{name} ({_cosine(facts[name]):.2f})" for name in alike[:5]],
    )


def _cosine(facts: tuple[float, float, float]) -> float:
    inner, first, second = facts
    return inner / (first * second) if first and second else 0.0


def _sizes(pair: tuple[object, object]) -> tuple[int, int]:
    down, up = pair
    return down.shape[1], up.shape[0]  # type: ignore[attr-defined]
