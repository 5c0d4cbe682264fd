"""The share of a fixed sample of the trained weights that an update changed: 1 unless updates are rounded away.

One gather a step; the last look is the next step's look before.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

SAMPLED_PARAMETERS = 64
SAMPLED_ELEMENTS = 64
"""Of each of those parameters, evenly spaced."""


@dataclass(frozen=True)
class _Look:
    """The sampled weights, and what is kept of them beside the model, at one moment; both flat."""

    weights: Tensor
    remainders: Tensor


class WeightChange:
    """Looks at the sample before and after updates. A 24-bit weight has changed when its last 8 bits have."""

    def __init__(self, parameters: list[nn.Parameter], optimizer: Optimizer) -> None:
        chosen = torch.randperm(len(parameters), generator=torch.Generator().manual_seed(0))[:SAMPLED_PARAMETERS]
        self._parameters = [parameters[index] for index in sorted(chosen.tolist())]
        self._weights = [_sample(parameter.detach()) for parameter in self._parameters]
        self._nothing = [torch.zeros_like(weights, dtype=torch.int8) for weights in self._weights]
        self._optimizer = optimizer
        self._before: _Look | None = None

    def before_update(self) -> None:
        """Look at the weights, unless the last update's look stands for it."""
        if self._before is None:
            self._before = self._look()

    def after_update(self) -> float:
        """Return the share of the sampled weights that changed since the last look."""
        before, now = self._before, self._look()
        assert before is not None, "look before the update"
        changed = (before.weights != now.weights) | (before.remainders != now.remainders)
        self._before = now
        return float(changed.float().mean())

    def _look(self) -> _Look:
        states: list[dict[str, Any]] = [self._optimizer.state.get(one, {}) for one in self._parameters]
        kept = [
            _sample(state["error_bits"]) if "error_bits" in state else none
            for state, none in zip(states, self._nothing, strict=True)
        ]
        return _Look(torch.cat(self._weights), torch.cat(kept))


def _sample(tensor: Tensor) -> Tensor:
    flat = tensor.view(-1)
    return flat[:: max(len(flat) // SAMPLED_ELEMENTS, 1)][:SAMPLED_ELEMENTS]
