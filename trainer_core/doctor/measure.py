"""Size of an adapter's change to its weights: ‖ΔW‖ / ‖W‖ per module, block and branch (Frobenius norms)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer_core.lora.changes import LayerChange, LowRank, changed
from trainer_core.model.ltx import Branch, branch_of

_BLOCK = re.compile(r"transformer_blocks\.(\d+)\.")
_ROUNDING = 1e-6
"""Of ‖W‖: what a magnitude that never moved differs from the length of its row."""
Pairs = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ModuleMeasure:
    """One module of an adapter; `block` None outside the blocks, `weight_norm` None where the base isn't known."""

    name: str
    branch: Branch
    block: int | None
    rank: int
    delta_norm: float
    weight_norm: float | None
    zero_b: bool

    @property
    def ratio(self) -> float | None:
        return None if not self.weight_norm else self.delta_norm / self.weight_norm


def measure(
    changes: Mapping[str, LayerChange],
    weight_norms: Mapping[str, float | None],
    magnitudes: Mapping[str, Tensor] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> list[ModuleMeasure]:
    """Measure every module of `changes`, in their order; DoRA's with its `magnitudes` where the base's `weights` are
    known, else without."""
    found = []
    for name, change in changes.items():
        number = _BLOCK.search(name)
        delta = change.norm()
        if magnitudes is not None and name in magnitudes and weights is not None and name in weights:
            weight = weights[name].float()
            delta = float(torch.linalg.vector_norm(changed(weight, change, magnitudes[name]) - weight))
        found.append(
            ModuleMeasure(
                name=name,
                branch=branch_of(name),
                block=int(number[1]) if number else None,
                rank=change.rank,
                delta_norm=delta,
                weight_norm=weight_norms.get(name),
                zero_b=change.is_zero() and delta <= _ROUNDING * (weight_norms.get(name) or 0.0),
            )
        )
    return found


def delta_norm(down: Tensor, up: Tensor) -> float:
    """‖B·A‖ without making B·A."""
    return LowRank(down, up).norm()


def product(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
    """The inner product ⟨B₁A₁, B₂A₂⟩ without making either."""
    (down, up), (other_down, other_up) = one, other
    return float(((up.double().T @ other_up.double()) * (down.double() @ other_down.double().T)).sum())


@torch.no_grad()
def base_weight_norms(transformer: nn.Module, names: set[str]) -> dict[str, float | None]:
    """‖W‖ of these linear layers, under an adapter or not; None for a packed weight that can't be read."""
    found: dict[str, float | None] = {}
    for name, module in transformer.named_modules():
        if name not in names:
            continue
        base = getattr(module, "base_layer", module)
        weight = getattr(base, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2:
            found[name] = _norm(weight)
    return found


def branch_ratios(measures: list[ModuleMeasure]) -> dict[str, dict[str, float | None]]:
    """`{branch: {mean_ratio, max_ratio}}` over the modules of each branch that the adapter has."""
    found: dict[str, dict[str, float | None]] = {}
    for branch in ("video", "audio", "cross"):
        ratios = [one.ratio for one in measures if one.branch == branch and one.ratio is not None]
        if any(one.branch == branch for one in measures):
            found[branch] = {
                "mean_ratio": sum(ratios) / len(ratios) if ratios else None,
                "max_ratio": max(ratios) if ratios else None,
            }
    return found


def block_ratios(measures: list[ModuleMeasure]) -> list[dict[str, Any]]:
    """One row a block and branch: the ratio of the norms over all its modules together, and ‖ΔW‖ itself."""
    rows: dict[tuple[int, str], list[ModuleMeasure]] = {}
    for one in measures:
        if one.block is not None:
            rows.setdefault((one.block, one.branch), []).append(one)
    found = []
    for (block, branch), members in sorted(rows.items()):
        delta = math.sqrt(sum(one.delta_norm**2 for one in members))
        known = all(one.weight_norm for one in members)
        weight = math.sqrt(sum((one.weight_norm or 0.0) ** 2 for one in members))
        found.append(
            {"block": block, "branch": branch, "ratio": delta / weight if known else None, "delta_norm": delta}
        )
    return found


def _norm(weight: Tensor) -> float | None:
    try:
        dense = weight.dequantize() if hasattr(weight, "dequantize") and weight.dtype != torch.float32 else weight
        return float(torch.linalg.vector_norm(dense.float()))
    except (RuntimeError, NotImplementedError, TypeError):
        return None
