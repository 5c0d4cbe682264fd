"""What a training step of a released model holds at once, found by running it on tensors without memory.

The real classes, our adapter, savings and loss run under FakeTensorMode on a fake CPU; `LiveBytes` counts storages.
`trace` runs five blocks and lays the middle one out for the others (see timeline); `step` runs every block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from memory_timeline import TRACED_BLOCKS, Stretch, Timeline, peak_of
from released_models import released_transformer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer

from trainer_core.adapters import add_lora, train_fully
from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.live import LiveBytes
from trainer_core.model.block_swap import BlockSwap
from trainer_core.model.ltx import LtxModel, ModalityInput, context_widths
from trainer_core.model.quantize import Packed, QuantizedLinear, quantizable, quantized_layer, replace_layer
from trainer_core.model.savings import checkpoint_blocks, chunk_feed_forward
from trainer_core.objective import ModalityObjective, Objective
from trainer_core.quantization_names import Quantization, quantization_named
from trainer_core.sections.own import LoraKindSection
from trainer_core.sections.run import LoraSection
from trainer_core.training.optim.fused import FusedOptimizer
from trainer_core.training.optim.rounded import float24_adamw
from trainer_core.training.step import masked_mse

LATENT_CHANNELS = 128


@dataclass(frozen=True)
class Trace:
    """Bytes on the device: of model, adapter and optimizer at rest, and at the peak of a step."""

    resting: int
    peak: int


def trace(cell: Cell) -> Trace:
    """The bytes of the cell's whole model, from five of its blocks; every block runs where some are swapped."""
    if cell.swap_blocks or cell.layers <= TRACED_BLOCKS:
        return step(cell)
    return trace_depths(cell, [cell.layers])[0]


def trace_depths(cell: Cell, depths: Sequence[int]) -> list[Trace]:
    """The bytes of the cell's model at several depths, none below TRACED_BLOCKS, from one run of five blocks."""
    ran = _run_blocks(replace(cell, layers=TRACED_BLOCKS))
    found = []
    for layers in depths:
        resting = ran.resting + ran.block * (layers - TRACED_BLOCKS)
        found.append(Trace(resting, peak_of(ran.stretches, resting, layers)))
    return found


def step(cell: Cell) -> Trace:
    """Run a step of a model of all `cell.layers` blocks whose optimizer has its state already."""
    ran = _run_blocks(cell)
    return Trace(ran.resting, peak_of(ran.stretches, ran.resting))


@dataclass(frozen=True)
class _Ran:
    """`block`: the bytes at rest of the middle block, its share of the optimizer included."""

    resting: int
    block: int
    stretches: list[Stretch]


def _run_blocks(cell: Cell) -> _Ran:
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    model, parameters = _trainable(cell, fake)
    with fake:
        optimizer = _optimizer(cell, parameters)
        blocks = model.transformer.transformer_blocks
        swap = BlockSwap(blocks, cell.swap_blocks, torch.device("cpu")) if cell.swap_blocks else None
        _make_state(cell, parameters, optimizer)
        counted, block = LiveBytes(), LiveBytes()
        counted.ignore(*(swap.host_tensors() if swap is not None else []))
        for counter, module in ((counted, model), (block, blocks[len(blocks) // 2])):
            counter.hold(*module.parameters(), *module.buffers())
            states = (optimizer.state.get(parameter, {}) for parameter in module.parameters())
            counter.hold(*(value for state in states for value in state.values() if isinstance(value, Tensor)))
        resting, a_block = counted.live, block.live
        timeline = Timeline(counted)
        timeline.follow(blocks)
        with counted:
            _run(cell, model, optimizer, timeline)
        timeline.begin()
    return _Ran(resting, a_block, timeline.stretches)


def _trainable(cell: Cell, fake: FakeTensorMode) -> tuple[LtxModel, list[nn.Parameter]]:
    """The cell's model with its adapter, every tensor fake. PEFT builds its layers on meta: it can't on fake ones."""
    transformer = released_transformer(cell.version, cell.layers)
    if cell.precision == "no":
        nn.Module.to(transformer, torch.float32)
    if cell.quantization is not None:
        scheme = quantization_named(cell.quantization)
        for name in list(quantizable(transformer)):
            layer = transformer.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            with fake:
                replace_layer(transformer, name, _packed(layer, scheme))
    objective = Objective(_role(cell.video), _role(cell.audio))
    if cell.full:
        wide = torch.float32 if cell.trained_bytes == 4 else None
        train_fully(transformer, objective, wide)
    else:
        section = LoraSection(rank=cell.rank, alpha=cell.rank, target_modules=list(cell.targets))
        add_lora(transformer, section, objective, 0, LoraKindSection(kind=cell.kind, factor=cell.factor))
    with fake:
        _become_fake(transformer)
    if cell.checkpointing:
        # what is offloaded is on meta here: memory elsewhere
        checkpoint_blocks(
            transformer,
            offload=cell.offload,
            leave=lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta"),
            arrive=lambda tensor, _device: torch.empty(tensor.shape, dtype=tensor.dtype),
        )
    if cell.chunk_tokens is not None:
        chunk_feed_forward(transformer, cell.chunk_tokens)
    model = LtxModel(transformer)
    return model, [parameter for parameter in model.parameters() if parameter.requires_grad]


def _become_fake(module: nn.Module) -> None:
    for layer in module.modules():
        for name, parameter in layer._parameters.items():
            if parameter is not None and parameter.is_meta:
                fake = torch.empty(parameter.shape, dtype=parameter.dtype)
                layer._parameters[name] = nn.Parameter(fake, requires_grad=parameter.requires_grad)
        for name, buffer in layer._buffers.items():
            if buffer is not None and buffer.is_meta:
                layer._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _packed(layer: nn.Linear, scheme: Quantization) -> QuantizedLinear:
    weight = torch.empty(layer.weight.shape, dtype=layer.weight.dtype)
    if scheme.name != "nf4":
        return quantized_layer(layer, weight, scheme)
    # bitsandbytes makes its tables from data; the sizes are those of its layout
    shape, count = layer.weight.shape, layer.weight.numel()
    tensors = (
        torch.empty(count // 2, 1, dtype=torch.uint8),
        torch.empty(count // 64, dtype=torch.uint8),
        torch.empty(16),
        torch.empty(()),
        torch.empty(count // 64 // 256),
        torch.empty(256),
    )

    def dense(packed: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        return packed[0].new_empty(shape, dtype=dtype)

    def linear(x: Tensor, packed: tuple[Tensor, ...], bias: Tensor | None) -> Tensor:
        return nn.functional.linear(x, dense(packed, x.dtype), bias)

    bias = None if layer.bias is None else layer.bias.detach()
    return QuantizedLinear(Packed(tensors, dense, linear), bias, (shape[0], shape[1]), weight.dtype)


class _EightBitMoments(Optimizer):
    """What bitsandbytes' AdamW8bit holds: two bytes a weight and two scales in 256 weights. It updates nothing."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.0})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not self.state[parameter]:
                    count = parameter.numel()
                    self.state[parameter] = {
                        name: torch.empty(size, dtype=dtype)
                        for name, size, dtype in (
                            ("state1", count, torch.uint8),
                            ("state2", count, torch.uint8),
                            ("absmax1", count // 256 + 1, torch.float32),
                            ("absmax2", count // 256 + 1, torch.float32),
                        )
                    }


def _optimizer(cell: Cell, parameters: list[nn.Parameter]) -> Optimizer:
    def make(chosen: list[nn.Parameter]) -> Optimizer:
        if cell.trained_bytes == 2 and cell.master == "float24":
            return float24_adamw(chosen, 1e-5, 1e-2)
        return (
            _EightBitMoments(chosen)
            if cell.moments_8bit or cell.trained_bytes == 2
            else torch.optim.AdamW(chosen, fused=True)
        )

    return _FusedWithoutValues(parameters, 0.0, make) if cell.fused else make(parameters)


class _FusedWithoutValues(FusedOptimizer):
    """The same life of each gradient; a fake one has no value to be looked at."""

    def _update(self, parameter: nn.Parameter) -> None:
        self.step_one(parameter)
        parameter.grad = None


def _make_state(cell: Cell, parameters: list[nn.Parameter], optimizer: Optimizer) -> None:
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
        if cell.fused and isinstance(optimizer, FusedOptimizer):
            optimizer._update(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _run(cell: Cell, model: LtxModel, optimizer: Optimizer, timeline: Timeline) -> None:
    autocast = torch.autocast(
        "cpu", dtype=torch.bfloat16, enabled=cell.precision == "bf16", cache_enabled=not cell.full
    )
    sides = {"video": cell.video, "audio": cell.audio}
    with autocast:
        inputs = {name: None if side is None else _input(cell, model, name, side) for name, side in sides.items()}
        predicted = model(inputs["video"], inputs["audio"])
        losses = [
            masked_mse(found, torch.empty(found.shape), torch.empty(found.shape[:2]))
            for found, side in zip(predicted, (cell.video, cell.audio), strict=True)
            if found is not None and side is not None and side.generated
        ]
        total = torch.stack(losses).sum(dim=0).mean()
        timeline.begin(shared=True)
    timeline.begin()
    del inputs, predicted, losses
    total.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _input(cell: Cell, model: LtxModel, name: str, side: Side) -> ModalityInput:
    batch, tokens, video = cell.batch, side.tokens, name == "video"
    width = context_widths(model.transformer.config)[0 if video else 1]
    return ModalityInput(
        tokens=torch.empty(batch, tokens, LATENT_CHANNELS),
        timesteps=torch.empty(batch, tokens),
        sigma=torch.empty(batch),
        positions=torch.empty(batch, 3 if video else 1, tokens, 2),
        context=torch.empty(batch, cell.text_tokens, width, dtype=torch.bfloat16),
    )


def _role(side: Side | None) -> ModalityObjective:
    return ModalityObjective("absent" if side is None else "generate" if side.generated else "frozen")
