"""Updating each weight in the backward pass, as soon as its gradient is there, so that gradients never pile up."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class FusedOptimizer(Optimizer):
    """One optimizer a parameter behind the face of one: `step` finds its work done, schedules and state work as usual.

    A gradient that is not finite is not applied. There is no common norm to clip by and nothing to accumulate.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, make: Callable[[list[nn.Parameter]], Optimizer]):
        super().__init__(parameters, {"lr": lr})
        self._inner = {parameter: make([parameter]) for parameter in parameters}
        self._squares: list[Tensor] = []
        self._share_state()
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._update)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing is left to do."""

    def take_norm(self) -> float:
        """Return the norm of the gradients since the last call; nan or inf where one was not finite and not applied."""
        squares, self._squares = self._squares, []
        return math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share_state()

    def _share_state(self) -> None:
        for optimizer in self._inner.values():
            optimizer.state = self.state

    def _update(self, parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        square = parameter.grad.float().square().sum()
        self._squares.append(square.detach())
        if math.isfinite(float(square)):
            inner = self._inner[parameter]
            inner.param_groups[0]["lr"] = self.param_groups[0]["lr"]
            inner.step()
        parameter.grad = None
