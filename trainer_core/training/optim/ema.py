"""An exponential moving average of the trained weights: steadier than the last step's, saved beside them."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages of `parameters` in float32 on their devices.

    The decay warms up as min(decay, (1 + n) / (10 + n)) over the n-th update, so that early averages aren't the
    initial weights (Tensorflow's ExponentialMovingAverage, `num_updates`).
    """

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self.updates = 0
        self.averages: list[Tensor] = [parameter.detach().float().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of one more optimizer step in."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now: list[Tensor] = [parameter.detach() for parameter in self.parameters]
        if any(weight.dtype != torch.float32 for weight in now):
            now = [weight.float() for weight in now]
        torch._foreach_lerp_(self.averages, now, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages into the model for a while; the trained weights come back bit for bit."""
        with torch.no_grad():
            trained = [parameter.detach().clone() for parameter in self.parameters]
            for parameter, average in zip(self.parameters, self.averages, strict=True):
                parameter.copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, weight in zip(self.parameters, trained, strict=True):
                    parameter.copy_(weight)

    def state(self) -> dict[str, object]:
        return {"updates": self.updates, "averages": list(self.averages)}

    def restore(self, state: dict[str, object]) -> None:
        averages = state["averages"]
        assert isinstance(averages, list)
        assert isinstance(state["updates"], int)
        self.updates = state["updates"]
        for mine, saved in zip(self.averages, averages, strict=True):
            mine.copy_(saved)
