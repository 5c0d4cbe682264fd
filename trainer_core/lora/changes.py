"""An adapter's change to one weight matrix, in each form that files hold it.

O rows of the weight (out), I columns (in), R rank. All tensors are float32.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class LayerChange(Protocol):
    """ΔW [O, I] of one linear layer, never made whole unless asked for."""

    @property
    def shape(self) -> tuple[int, int]:
        """(O, I)."""
        ...

    @property
    def rank(self) -> int:
        """The R of `pair`."""
        ...

    def pair(self) -> tuple[Tensor, Tensor]:
        """(A [R, I], B [O, R]) with B·A = ΔW, exactly."""
        ...

    def times(self, inputs: Tensor) -> Tensor:
        """`inputs` [..., I] · ΔWᵀ, as [..., O]."""
        ...

    def norm(self) -> float:
        """‖ΔW‖, Frobenius."""
        ...

    def is_zero(self) -> bool: ...


@dataclass(frozen=True)
class LowRank:
    """LoRA: ΔW = up·down. `down` [R, I], `up` [O, R], the strength folded into `up`."""

    down: Tensor
    up: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.down.shape[1]

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def pair(self) -> tuple[Tensor, Tensor]:
        return self.down, self.up

    def times(self, inputs: Tensor) -> Tensor:
        return inputs @ self.down.T @ self.up.T

    def norm(self) -> float:
        # ‖BA‖² = tr(BᵀB·AAᵀ)
        down, up = self.down.double(), self.up.double()
        return float(((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt())

    def is_zero(self) -> bool:
        return not bool(self.up.any()) or not bool(self.down.any())


@dataclass(frozen=True)
class Kronecker:
    """LoKr: ΔW = left ⊗ (up·down) (Yeh et al. 2023). `left` [a, b], `up` [c, R], `down` [R, d]; O = a·c, I = b·d."""

    left: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def of_whole(cls, left: Tensor, right: Tensor) -> "Kronecker":
        """The change of a right factor [c, d] that is stored whole."""
        rows, columns = right.shape
        if rows <= columns:
            return cls(left, torch.eye(rows), right)
        return cls(left, right, torch.eye(columns))

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0] * self.up.shape[0], self.left.shape[1] * self.down.shape[1]

    @property
    def rank(self) -> int:
        return min(self.left.shape) * self.down.shape[0]

    def pair(self) -> tuple[Tensor, Tensor]:
        # left ⊗ (up·down) = (left ⊗ up)·(1 ⊗ down) = (1 ⊗ up)·(left ⊗ down)
        rows, columns = self.left.shape
        if rows < columns:
            return torch.kron(self.left, self.down), torch.kron(torch.eye(rows), self.up)
        return torch.kron(torch.eye(columns), self.down), torch.kron(self.left, self.up)

    def times(self, inputs: Tensor) -> Tensor:
        parts = inputs.unflatten(-1, (self.left.shape[1], -1)) @ self.down.T @ self.up.T
        return torch.einsum("ab,...bc->...ac", self.left, parts).flatten(-2)

    def norm(self) -> float:
        return float(torch.linalg.vector_norm(self.left.double())) * LowRank(self.down, self.up).norm()

    def is_zero(self) -> bool:
        return not bool(self.left.any()) or LowRank(self.down, self.up).is_zero()


@dataclass(frozen=True)
class Hadamard:
    """LoHa: ΔW = (first) ∘ (second), two low-rank changes multiplied number by number (Hyeon-Woo et al. 2021)."""

    first: LowRank
    second: LowRank

    @property
    def shape(self) -> tuple[int, int]:
        return self.first.shape

    @property
    def rank(self) -> int:
        return self.first.rank * self.second.rank

    def pair(self) -> tuple[Tensor, Tensor]:
        # (Σᵢ bᵢaᵢ) ∘ (Σⱼ dⱼcⱼ) = Σᵢⱼ (bᵢ∘dⱼ)(aᵢ∘cⱼ)
        down = (self.first.down[:, None] * self.second.down[None]).flatten(0, 1)
        up = (self.first.up[:, :, None] * self.second.up[:, None]).flatten(1)
        return down, up

    def times(self, inputs: Tensor) -> Tensor:
        return inputs @ self._whole().T

    def norm(self) -> float:
        return float(torch.linalg.vector_norm(self._whole().double()))

    def is_zero(self) -> bool:
        return not bool(self._whole().any())

    def _whole(self) -> Tensor:
        return (self.first.up @ self.first.down) * (self.second.up @ self.second.down)


def whole(change: LayerChange) -> Tensor:
    """ΔW [O, I], made whole."""
    down, up = change.pair()
    return up @ down


def dora_scales(change: LayerChange, magnitude: Tensor, weight: Tensor) -> Tensor:
    """DoRA's factor of each row [O, 1] or column [1, I], as `magnitude` is shaped: magnitude / ‖W + ΔW‖, so that the
    rows or columns of the changed weight have the lengths that were trained (Liu et al. 2024, equation 5). `weight`
    [O, I] is the base's, in float32."""
    length = torch.linalg.vector_norm(weight + whole(change), dim=1 if magnitude.shape[1] == 1 else 0, keepdim=True)
    return magnitude / length.clamp(min=torch.finfo(torch.float32).tiny)


def changed(weight: Tensor, change: LayerChange, magnitude: Tensor | None = None, strength: float = 1.0) -> Tensor:
    """`weight` [O, I] with `strength` times what the adapter changes of it, in float32."""
    weight = weight.float()
    if magnitude is None:
        return weight + strength * whole(change)
    return weight + strength * (dora_scales(change, magnitude, weight) * (weight + whole(change)) - weight)
