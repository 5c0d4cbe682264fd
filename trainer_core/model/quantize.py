"""A quantised frozen base under a trained adapter: int8, int8-dynamic, fp8, nf4.

Only the large linear layers of the blocks are quantised. Norms, gates, embeddings, AdaLN, input and output layers, the
modulation tables and the adapter stay in high precision.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer_core.errors import ConfigError
from trainer_core.quantization_names import Quantization, quantization_named

BLOCKS = "transformer_blocks."
HIGH_PRECISION_LAYERS = ("to_gate_logits",)
_NF4_BLOCK = 64


@dataclass(frozen=True)
class Packed:
    """A quantised weight [O, I]: plain tensors, and how to read them. `tensors` are what moves between devices."""

    tensors: tuple[Tensor, ...]
    dense: Callable[[tuple[Tensor, ...], torch.dtype], Tensor]
    linear: Callable[[Tensor, tuple[Tensor, ...], Tensor | None], Tensor]


class _FrozenLinear(torch.autograd.Function):
    """x·Wᵀ + b with a frozen few-bit W. The backward of the activation goes through the dense W made on the spot.

    Only the packed tensors are saved, never a dense copy. A forward that rounds its activations (int8-dynamic) gets
    the gradient of the unrounded product: straight-through.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, packed: Packed, *tensors: Tensor) -> Tensor:
        ctx.dense = packed.dense
        ctx.save_for_backward(*tensors)
        return packed.linear(x, tensors, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        wanted = grad @ ctx.dense(tensors, grad.dtype) if ctx.needs_input_grad[0] else None
        return (wanted, None, None, *(None for _ in tensors))


class QuantizedLinear(nn.Linear):
    """A frozen linear layer that holds its weight quantised; everything else sees an `nn.Linear`.

    The packed tensors are buffers `packed_0 …`; `weight` is a dense copy made on demand.
    """

    def __init__(self, packed: Packed, bias: Tensor | None, shape: tuple[int, int], dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = shape
        self.dtype = dtype
        self._packed = packed
        self._count = len(packed.tensors)
        for index, tensor in enumerate(packed.tensors):
            self.register_buffer(f"packed_{index}", tensor)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self._packed.dense(self._tensors(), self.dtype)

    @property
    def packed_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        with torch.autocast(device, enabled=False):
            return _FrozenLinear.apply(x.to(dtype), bias, self._packed, *self._tensors())

    def _apply(
        self,
        function: Callable[[Tensor], Tensor],
        recurse: bool = True,  # noqa: ARG002 (it has no children)
    ) -> "QuantizedLinear":
        """Move, never cast: `module.float()` would turn the packed scales into something the kernels don't read."""
        for index, tensor in enumerate(self._tensors()):
            moved = function(tensor)
            same = moved if moved.dtype == tensor.dtype else tensor.to(moved.device)
            setattr(self, f"packed_{index}", same)
        if self.bias is not None:
            self.bias.data = function(self.bias.data)
        return self

    def _tensors(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, f"packed_{index}") for index in range(self._count))


def quantizable(module: nn.Module) -> Iterator[str]:
    """The names of the linear layers that a quantised base holds quantised."""
    for name, layer in module.named_modules():
        if (
            isinstance(layer, nn.Linear)
            and name.startswith(BLOCKS)
            and name.rpartition(".")[2] not in HIGH_PRECISION_LAYERS
        ):
            yield name


def quantized_layer(layer: nn.Linear, weight: Tensor, scheme: Quantization) -> QuantizedLinear:
    """Return `layer` with `weight` [O, I] packed on the device it lies on; `layer` itself may be on `meta`."""
    packed = _PACK[scheme.name](weight.detach())
    bias = None if layer.bias is None else layer.bias.detach()
    return QuantizedLinear(packed, bias, (weight.shape[0], weight.shape[1]), weight.dtype)


def encoder_layers(encoder: nn.Module) -> Iterator[str]:
    """The names of the linear layers of a text encoder that 8 bits hold: all but the one over the vocabulary."""
    for name, layer in encoder.named_modules():
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] != "lm_head":
            yield name


def text_encoder_quantization() -> Any:
    """Return transformers' config to hold a text encoder in 8 bits as it streams from disk."""
    from transformers import TorchAoConfig

    return TorchAoConfig(_import_torchao().Int8WeightOnlyConfig(), modules_to_not_convert=["lm_head"])


def quantize(module: nn.Module, name: str, layers: Iterable[str] | None = None) -> nn.Module:
    """Quantise a loaded model in place, layer by layer, so that no second copy of it exists. Returns `module`.

    `layers` names the linear layers; by default those of a transformer that `quantizable` finds.
    """
    scheme = quantization_named(name)
    for layer_name in list(quantizable(module) if layers is None else layers):
        layer = module.get_submodule(layer_name)
        assert isinstance(layer, nn.Linear)
        replace_layer(module, layer_name, quantized_layer(layer, layer.weight, scheme))
    return module


def replace_layer(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Put `layer` where `name` is."""
    parent, _, child = name.rpartition(".")
    holder = module.get_submodule(parent)
    if isinstance(holder, nn.ModuleList | nn.Sequential):
        holder[int(child)] = layer
    else:
        setattr(holder, child, layer)


def _torchao(config_name: str) -> Callable[[Tensor], Packed]:
    def pack(weight: Tensor) -> Packed:
        quantization = _import_torchao()
        holder = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        holder.weight = nn.Parameter(weight, requires_grad=False)
        quantization.quantize_(holder, getattr(quantization, config_name)())
        whole: Any = holder.weight.data
        vars(holder).pop("extra_repr", None)  # torchao ties the holder to itself with it, and with it its weight
        names, context = whole.__tensor_flatten__()
        kind, size, stride = type(whole), whole.size(), whole.stride()

        def unflatten(tensors: tuple[Tensor, ...]) -> Any:
            return kind.__tensor_unflatten__(dict(zip(names, tensors, strict=True)), context, size, stride)

        def dense(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
            return unflatten(tensors).dequantize().to(dtype)

        def linear(x: Tensor, tensors: tuple[Tensor, ...], bias: Tensor | None) -> Tensor:
            return nn.functional.linear(x, unflatten(tensors), bias)

        return Packed(tuple(getattr(whole, name) for name in names), dense, linear)

    return pack


def _nf4(weight: Tensor) -> Packed:
    """4-bit normal float in blocks of 64 with quantised block scales (Dettmers et al. 2023, QLoRA), by bitsandbytes."""
    from bitsandbytes import functional

    codes, state = functional.quantize_4bit(
        weight.contiguous(), blocksize=_NF4_BLOCK, quant_type="nf4", compress_statistics=True
    )
    shape = weight.shape

    def dense(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        packed, absmax, code, offset, nested_absmax, nested_code = tensors
        nested = functional.QuantState(
            absmax=nested_absmax, code=nested_code, blocksize=state.state2.blocksize, dtype=torch.float32
        )
        whole = functional.QuantState(
            absmax=absmax,
            shape=shape,
            code=code,
            blocksize=_NF4_BLOCK,
            quant_type="nf4",
            dtype=dtype,
            offset=offset,
            state2=nested,
        )
        return functional.dequantize_4bit(packed, whole)

    def linear(x: Tensor, tensors: tuple[Tensor, ...], bias: Tensor | None) -> Tensor:
        return nn.functional.linear(x, dense(tensors, x.dtype), bias)

    tensors = (codes, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
    return Packed(tensors, dense, linear)


_PACK: dict[str, Callable[[Tensor], Packed]] = {
    "int8": _torchao("Int8WeightOnlyConfig"),
    "int8-dynamic": _torchao("Int8DynamicActivationInt8WeightConfig"),
    "fp8": _torchao("Float8WeightOnlyConfig"),
    "nf4": _nf4,
}


def _import_torchao() -> Any:
    try:
        from torchao import quantization
    except ImportError as error:
        raise ConfigError("This quantisation needs the package torchao.", "Run `pip install torchao`.") from error
    return quantization
