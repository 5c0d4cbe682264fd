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
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._update)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing is left to do."""

    def take_norm(self) -> float:
        """Return the norm of the gradients since the last call; nan or inf where one was not finite and not applied."""
        squares, self._squares = self._squares, []
        return math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0

    def state_dict(self) -> dict[str, Any]:
        """As torch's; `inner` are the groups of the parameters' own optimizers, where some count their steps."""
        inner = [self._inner[parameter].state_dict() for parameter in self._parameters()]
        return {
            "state": {number: one["state"][0] for number, one in enumerate(inner) if one["state"]},
            "param_groups": super().state_dict()["param_groups"],
            "inner": [one["param_groups"][0] for one in inner],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Each parameter's optimizer restores its own: torch's way turns any state into the weights' precision."""
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        for number, parameter in enumerate(self._parameters()):
            state = {0: state_dict["state"][number]} if number in state_dict["state"] else {}
            inner = self._inner[parameter]
            inner.load_state_dict({"state": state, "param_groups": [state_dict["inner"][number]]})
            self.state[parameter] = inner.state[parameter]

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _update(self, parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        square = parameter.grad.float().square().sum()
        self._squares.append(square.detach())
        if math.isfinite(float(square)):
            self.step_one(parameter)
        parameter.grad = None

    def step_one(self, parameter: nn.Parameter) -> None:
        """Update one parameter by its own optimizer, whose state is then seen here too."""
        inner = self._inner[parameter]
        inner.param_groups[0]["lr"] = self.param_groups[0]["lr"]
        inner.step()
        self.state[parameter] = inner.state[parameter]
