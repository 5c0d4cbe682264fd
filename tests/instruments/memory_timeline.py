"""The memory of a step as a row of stretches between its blocks, and the same row for a model of any depth.

All blocks but those at either end and their neighbours do the same, so a model of five shows what each of 48 keeps and
needs: the middle one's stretches are laid out again for every further block. A test holds the result to running the
whole depth: equal to the byte with checkpointing, within a ten-thousandth without.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer_core.memory.live import LiveBytes

TRACED_BLOCKS = 5


@dataclass(frozen=True)
class Stretch:
    """What happens from one block to the next. `kept`: bytes more at its end; `above`: its peak over its beginning.

    `shared`: it does the same for each block, as letting go of the weights that autocast has cast for them.
    """

    block: int | None
    kept: int
    above: int
    shared: bool = False


class Timeline:
    """Cuts what `counted` counts into stretches: a new one begins with each block, forward and backward."""

    def __init__(self, counted: LiveBytes) -> None:
        self._counted = counted
        self._begun = counted.live
        self._block: int | None = None
        self._shared = False
        self.stretches: list[Stretch] = []
        counted.peak = counted.live

    def follow(self, blocks: Any) -> None:
        """Begin a stretch whenever one of `blocks` begins its forward or its backward."""
        for index, block in enumerate(blocks):
            block.register_forward_pre_hook(self._forward(index))
            block.register_forward_hook(self._before_backward(index))

    def begin(self, block: int | None = None, *, shared: bool = False) -> None:
        """End the present stretch and begin the next one."""
        kept, above = self._counted.live - self._begun, self._counted.peak - self._begun
        self.stretches.append(Stretch(self._block, kept, above, self._shared))
        self._begun = self._counted.peak = self._counted.live
        self._block, self._shared = block, shared

    def _forward(self, index: int) -> Callable[..., None]:
        def begun(_block: Any, _given: Any) -> None:
            if torch._C._current_graph_task_id() == -1:  # else the backward pass computes it again
                self.begin(index)

        return begun

    def _before_backward(self, index: int) -> Callable[..., None]:
        def watch(_block: Any, _given: Any, made: Any) -> None:
            if torch._C._current_graph_task_id() != -1:
                return
            first = next(tensor for tensor in made if isinstance(tensor, Tensor) and tensor.requires_grad)
            first.register_hook(lambda _gradient: self.begin(index))

        return watch


def peak_of(stretches: list[Stretch], resting: int, layers: int = TRACED_BLOCKS) -> int:
    """The most bytes at once in a step of `layers` blocks; `stretches` are those of one of TRACED_BLOCKS.

    Without `layers` nothing is laid out again: the stretches, of however many blocks, are the whole step.
    """
    live = peak = resting
    for one in stretches:
        again = layers - TRACED_BLOCKS + 1 if one.block == TRACED_BLOCKS // 2 else 1
        for _ in range(again):
            peak = max(peak, live + one.above)
            live += one.kept * layers // TRACED_BLOCKS if one.shared else one.kept
    return peak
