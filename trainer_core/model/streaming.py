"""Weights from safetensors files into an empty model, tensor by tensor: no second copy in host memory or on the card.

A file is memory-mapped; each tensor goes to its device and dtype, is packed there where the base is quantised, and is
let go before the next one is read.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer_core.errors import ConfigError
from trainer_core.model.block_swap import swapped_indices
from trainer_core.model.quantize import BLOCKS, quantizable, quantized_layer, replace_layer
from trainer_core.model.source import Placement
from trainer_core.quantization_names import quantization_named

Held = dict[str, tuple[Path, str]]
"""The file and the key in it that hold each of the model's parameters, by the model's own names."""


def empty(kind: Any, config: dict[str, Any]) -> Any:
    """A model of class `kind` without memory: every parameter on the meta device."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        return kind.from_config(config)


def whole_config(kind: Any, config: dict[str, Any]) -> dict[str, Any]:
    """`config` with every default of class `kind`, without the library's own notes (their order differs by process)."""
    return {name: value for name, value in dict(empty(kind, config).config).items() if not name.startswith("_")}


def fill(
    module: Any,
    held: Held,
    whose: str,
    dtype: torch.dtype,
    placement: Placement = Placement(),
) -> None:
    """Give every parameter of the empty `module` its tensor; `whose` names the model in errors.

    A block that will be swapped is packed on the device like the others and put back into host memory at once. Raises
    ConfigError when a weight is missing, unknown or of another shape.
    """
    from safetensors import safe_open

    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    _refuse_other_names(set(wanted), held, whose)
    scheme = None if placement.quantization is None else quantization_named(placement.quantization)
    blocks = len(module.transformer_blocks) if placement.swap_blocks else 0
    on_host = tuple(f"{BLOCKS}{index}." for index in swapped_indices(blocks, placement.swap_blocks))
    packed = {f"{name}.weight" for name in quantizable(module)} if scheme is not None else set()
    for path in dict.fromkeys(path for path, _ in held.values()):
        with safe_open(path, framework="pt") as handle:
            for name, (file, key) in held.items():
                if file != path:
                    continue
                tensor = handle.get_tensor(key)
                if tuple(tensor.shape) != wanted[name]:
                    raise ConfigError(
                        f"{path}: {key} is {tuple(tensor.shape)}, {whose} has {wanted[name]}.",
                        "Check that the file is of the version its metadata says.",
                    )
                if tensor.is_floating_point():
                    tensor = tensor.to(device=placement.device, dtype=dtype)
                if scheme is not None and name in packed:
                    layer_name = name.removesuffix(".weight")
                    layer = module.get_submodule(layer_name)
                    few = quantized_layer(layer, tensor, scheme)
                    replace_layer(module, layer_name, few.to("cpu") if on_host and name.startswith(on_host) else few)
                else:
                    _assign(module, name, tensor.to("cpu") if on_host and name.startswith(on_host) else tensor)


def _assign(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    parent, _, own = name.rpartition(".")
    holder = module.get_submodule(parent)
    if own in holder._parameters:
        holder._parameters[own] = nn.Parameter(tensor, requires_grad=False)
    else:
        holder._buffers[own] = tensor


def _refuse_other_names(wanted: set[str], held: Held, whose: str) -> None:
    missing, foreign = sorted(wanted - set(held)), sorted(set(held) - wanted)
    if missing or foreign:
        example = f"{missing[0]} is missing" if missing else f"{held[foreign[0]][1]} is unknown"
        source = next(iter(held.values()))[0]
        raise ConfigError(
            f"{source} isn't {whose}: {len(missing)} weights missing, {len(foreign)} unknown: {example}.",
            "Check that the file is complete and of the version its metadata says.",
        )
