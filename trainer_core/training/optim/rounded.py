"""AdamW for weights that are held in bf16: what an update changes beyond their 8 bits is kept, or rounded by chance.

Both hold their moments in 8 bits. Imported late: the libraries are large.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from pytorch_optimizer import FlashAdamW
from torch import Tensor, nn
from torchao.optim import AdamW8bit
from torchao.optim.subclass_8bit import OptimState8bit


def float24_adamw(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> FlashAdamW:
    """AdamW on bf16 weights that keeps 8 more bits of each beside it, so that no update is rounded away.

    Source: FlashOptim (Databricks 2026), as pytorch-optimizer has it. Nothing in it is drawn by chance.
    """
    narrow = any(parameter.dtype == torch.bfloat16 for parameter in parameters)
    return FlashAdamW(
        parameters,
        lr=learning_rate,
        weight_decay=weight_decay,
        quantize=True,
        master_weight_bits=24 if narrow else None,
    )


class StochasticAdamW(AdamW8bit):
    """torchao's AdamW, which rounds each new bf16 weight up or down with the chance that makes it right on average.

    torchao draws from the device's global generator. Here each update draws from the seed, the parameter's number and
    how often it was updated: a resumed run draws the same, ranks with the same weights draw alike, and nothing else
    that is random moves.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        *,
        seed: int,
        first_index: int = 0,
    ) -> None:
        self._seed = seed
        self._index = {parameter: first_index + number for number, parameter in enumerate(parameters)}
        super().__init__(parameters, lr=learning_rate, weight_decay=weight_decay, bf16_stochastic_round=True)
        for group in self.param_groups:
            group["lr"] = learning_rate  # torchao makes a tensor of it, which schedules and states needn't know

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            everyone, rate = group["params"], group["lr"]
            group["lr"] = torch.as_tensor(rate, dtype=torch.float32)  # torchao takes no plain number
            try:
                for parameter in everyone:
                    if parameter.grad is None:
                        continue
                    group["params"] = [parameter]
                    with self._drawn(parameter), _compiled_on_cuda(parameter):
                        super().step()
            finally:
                group["params"], group["lr"] = everyone, rate

    def state_dict(self) -> dict[str, Any]:
        """As torch's, the 8-bit moments taken apart into plain tensors."""
        found = super().state_dict()
        states = {
            number: {name: _apart(value) for name, value in state.items()} for number, state in found["state"].items()
        }
        return {**found, "state": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore exactly: torch's own way would turn every state into the weights' precision."""
        super().load_state_dict({**state_dict, "state": {}})
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for number, state in state_dict["state"].items():
            parameter = parameters[number]
            self.state[parameter] = {
                name: value.clone() if name == "step" else _together(value, parameter) for name, value in state.items()
            }

    @contextlib.contextmanager
    def _drawn(self, parameter: nn.Parameter) -> Iterator[None]:
        updates = int(self.state[parameter]["step"]) if self.state.get(parameter) else 0
        words = np.random.SeedSequence([self._seed, self._index[parameter], updates]).generate_state(1, np.uint64)
        on_card = parameter.device.type == "cuda"
        with torch.random.fork_rng(devices=[parameter.device] if on_card else []):
            if on_card:
                with torch.cuda.device(parameter.device):
                    torch.cuda.manual_seed(int(words[0] >> 1))
            else:
                torch.default_generator.manual_seed(int(words[0] >> 1))
            yield


def _compiled_on_cuda(parameter: nn.Parameter) -> Any:
    """torchao compiles its update for each shape: worth it on a card, half a minute of nothing on a processor."""
    if parameter.device.type == "cuda":
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


def _apart(value: Any) -> Any:
    if not isinstance(value, OptimState8bit):
        return value
    return {"codes": value.codes, "scale": value.scale, "qmap": value.qmap, "signed": value.signed}


def _together(value: Any, parameter: Tensor) -> Any:
    if not isinstance(value, dict):
        return value.to(parameter.device, copy=True)
    tensors = [value[name].to(parameter.device, copy=True) for name in ("codes", "scale", "qmap")]
    return OptimState8bit(*tensors, value["signed"], parameter.dtype)
