"""Letting a change act on a linear layer as it computes, the layer's own weight untouched: quantised ones too."""

from typing import Any

import torch
from torch import Tensor, nn

from trainer_core.lora.changes import Hadamard, Kronecker, LayerChange, LowRank, dora_scales


def act_on(layer: nn.Module, change: LayerChange, magnitude: Tensor | None = None, strength: float = 1.0) -> Any:
    """Add `strength` times the change to what `layer` puts out; returns the hook's handle, whose `remove` ends it.

    `magnitude` [O, 1] or [1, I] is DoRA's: the rows or columns of the changed weight get these lengths.
    """
    weighed: Any = layer
    here = _moved(change, weighed.weight.device)
    scales = None
    if magnitude is not None:
        weight = weighed.weight.detach().float()
        scales = dora_scales(here, magnitude.to(weight.device), weight)

    def added(inputs: Tensor, output: Tensor) -> Tensor:
        if scales is None:
            return here.times(inputs)
        if scales.shape[1] != 1:
            return (inputs * (scales - 1)[0]) @ weighed.weight.float().T + here.times(inputs * scales[0])
        product = output if weighed.bias is None else output - weighed.bias.float()
        return (scales - 1)[:, 0] * product + scales[:, 0] * here.times(inputs)

    def add(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + (strength * added(inputs[0].float(), output.float())).to(output.dtype)

    return layer.register_forward_hook(add)


def linears_of(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of `model` by their names, those under an adapter by the names they have without it."""
    layers = {name: getattr(module, "base_layer", module) for name, module in model.named_modules()}
    return {
        name: layer
        for name, layer in layers.items()
        if hasattr(layer, "in_features")
        and hasattr(layer, "out_features")
        and ".lora_" not in f".{name}"
        and not name.endswith(".base_layer")
    }


def _moved(change: LayerChange, device: torch.device) -> LayerChange:
    if isinstance(change, Kronecker):
        return Kronecker(change.left.to(device), change.up.to(device), change.down.to(device))
    if isinstance(change, Hadamard):
        first, second = (LowRank(one.down.to(device), one.up.to(device)) for one in (change.first, change.second))
        return Hadamard(first, second)
    down, up = change.pair()
    return LowRank(down.to(device), up.to(device))
