"""A file's parts put together to the change of each module, from its header alone: shapes, ranks, and what is amiss.

Matrices are read when a change is asked for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trainer_core.lora.changes import Hadamard, Kronecker, LayerChange, LowRank
from trainer_core.lora.header import Header
from trainer_core.lora.names import Part
from trainer_core.lora.strength import Stated

Parts = dict[Part, str]
"""The key of each part that a file has of one module."""
_FORMS: tuple[tuple[str, frozenset[Part]], ...] = (
    ("LoKr", frozenset({"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"})),
    ("LoHa", frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})),
    ("LoRA", frozenset({"down", "up"})),
)


class Builder:
    """Puts the parts of modules together, from the header alone; matrices are read when a change is asked for."""

    def __init__(self, header: Header, tensors: Callable[[str], Tensor], stated: Stated) -> None:
        self.header, self.tensors, self.stated = header, tensors, stated
        self.makers: dict[bool, dict[str, Callable[[], LayerChange]]] = {False: {}, True: {}}
        self.magnitudes: dict[str, Callable[[], Tensor]] = {}
        self.shapes: dict[str, tuple[int, int]] = {}
        self.text_shapes: dict[str, tuple[int, int]] = {}
        self.ranks: dict[str, int] = {}
        self.halves: dict[str, str] = {}
        self.forms: list[str] = []

    def add(self, module: str, parts: Parts, *, text: bool) -> None:
        forms = [form for form, mine in _FORMS if mine & parts.keys()]
        try:
            if len(forms) != 1:
                raise _Half("has an alpha or a magnitude and no matrices" if not forms else f"is {' and '.join(forms)}")
            shape, rank, make = _MAKERS[forms[0]](self, module, parts)
            magnitude = parts.get("magnitude") or parts.get("dora_scale")
            if magnitude is not None:
                self._add_magnitude(module, magnitude, shape)
        except _Half as why:
            self.halves[module] = str(why)
            return
        self.forms.append(forms[0] if magnitude is None else "DoRA")
        self.makers[text][module] = make
        (self.text_shapes if text else self.shapes)[module] = shape
        if not text:
            self.ranks[module] = rank

    def _add_magnitude(self, module: str, key: str, shape: tuple[int, int]) -> None:
        """PEFT's are the lengths of the rows; `dora_scale` may be of the columns, as its shape says."""
        stored = self.header.shapes[key]
        rows, columns = shape
        if math.prod(stored) == columns and stored[-1] == columns and len(stored) == 2 and stored[0] == 1:
            lengths = (1, columns)
        elif math.prod(stored) == rows:
            lengths = (rows, 1)
        else:
            raise _Half(f"has magnitudes of DoRA of the shape {list(stored)} for a matrix of {rows}x{columns}")
        self.magnitudes[module] = lambda: self.tensors(key).float().reshape(lengths)

    def lora(self, module: str, parts: Parts) -> tuple[tuple[int, int], int, Callable[[], LayerChange]]:
        down, up = self._matrix(parts, "down", "lora_A"), self._matrix(parts, "up", "lora_B")
        (rank, columns), (rows, other) = down.shape, up.shape
        if rank != other:
            raise _Half(f"has ranks that contradict each other: A is {down.shape}, B {up.shape}")
        factor = self._factor(module, parts, rank)
        return (rows, columns), rank, lambda: LowRank(down(), up() * factor)

    def loha(self, module: str, parts: Parts) -> tuple[tuple[int, int], int, Callable[[], LayerChange]]:
        ups = [self._matrix(parts, part, part) for part in ("hada_w1_a", "hada_w2_a")]
        downs = [self._matrix(parts, part, part) for part in ("hada_w1_b", "hada_w2_b")]
        shapes = {(up.shape[0], down.shape[1]) for up, down in zip(ups, downs, strict=True)}
        if len(shapes) != 1 or any(up.shape[1] != down.shape[0] for up, down in zip(ups, downs, strict=True)):
            raise _Half("has matrices of LoHa that don't fit each other")
        factor = self._factor(module, parts, downs[0].shape[0])
        rank = downs[0].shape[0] * downs[1].shape[0]
        return (
            shapes.pop(),
            rank,
            lambda: Hadamard(LowRank(downs[0](), ups[0]() * factor), LowRank(downs[1](), ups[1]())),
        )

    def lokr(self, module: str, parts: Parts) -> tuple[tuple[int, int], int, Callable[[], LayerChange]]:
        left, left_rank = self._factored(parts, "lokr_w1")
        right, right_rank = self._factored(parts, "lokr_w2")
        rank = right_rank or left_rank
        if "alpha" in parts:  # LyCORIS and ComfyUI: alpha counts for a factor that is stored as two matrices
            factor = self._factor(module, parts, rank) if rank else 1.0
        else:
            factor = self.stated.factor(module, rank or 1, of_config=True)

        def make() -> LayerChange:
            first, second = left(), right()
            whole = first[0] if len(first) == 1 else first[0] @ first[1]
            if len(second) == 1:
                return Kronecker.of_whole(whole * factor, second[0])
            return Kronecker(whole * factor, *second)

        one, other = _product_shape(left.shapes), _product_shape(right.shapes)
        inner = right_rank or min(other)
        return (one[0] * other[0], one[1] * other[1]), min(one) * inner, make

    def _factored(self, parts: Parts, name: Any) -> tuple["_Matrices", int | None]:
        """A factor of LoKr, whole or as two matrices, and the rank of the two."""
        if name in parts:
            return _Matrices([self._matrix(parts, name, name)]), None
        first, second = (self._matrix(parts, f"{name}_{side}", f"{name}_{side}") for side in "ab")
        if first.shape[1] != second.shape[0]:
            raise _Half(f"has matrices of {name} that don't fit each other")
        return _Matrices([first, second]), first.shape[1]

    def _factor(self, module: str, parts: Parts, rank: int) -> float:
        if "alpha" not in parts:
            return self.stated.factor(module, rank)
        values = self.tensors(parts["alpha"]).float().flatten().unique()
        if len(values) != 1:
            raise _Half(f"has {len(values)} different alphas where one is wanted")
        return float(values) / rank

    def _matrix(self, parts: Parts, part: Any, name: str) -> "_Matrix":
        if part not in parts:
            other = "only one of its two matrices: " if part in ("down", "up") else ""
            raise _Half(f"has {other}no {name}")
        shape = self.header.shapes[parts[part]]
        if len(shape) < 2 or math.prod(shape[2:]) != 1 or 0 in shape:
            raise _Half(f"has {name} of the shape {list(shape)}, which changes no linear layer")
        return _Matrix(self.tensors, parts[part], (shape[0], shape[1]))


@dataclass(frozen=True)
class _Matrix:
    """One matrix in the file; a convolution's of 1×1 counts. Calling it reads it, in float32."""

    tensors: Callable[[str], Tensor]
    key: str
    shape: tuple[int, int]

    def __call__(self) -> Tensor:
        return self.tensors(self.key).float().reshape(self.shape)


@dataclass(frozen=True)
class _Matrices:
    """The matrices whose product is one factor."""

    parts: list[_Matrix]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [part.shape for part in self.parts]

    def __call__(self) -> list[Tensor]:
        return [part() for part in self.parts]


class _Half(Exception):
    """Why a module's parts make no change."""


_MAKERS: dict[str, Any] = {"LoRA": Builder.lora, "LoHa": Builder.loha, "LoKr": Builder.lokr}


def _product_shape(shapes: list[tuple[int, int]]) -> tuple[int, int]:
    return shapes[0][0], shapes[-1][1]
