"""Blocks whose frozen weights live in host memory and come to the device when they are needed.

The next block is fetched on a side stream while the present one computes. What autograd keeps of a block (for its
backward) keeps the device copy alive, so a block is let go as soon as its forward is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Slot:
    """One frozen tensor of a block: where it hangs, and its copy in host memory."""

    module: nn.Module
    name: str
    host: Tensor
    is_parameter: bool

    def put(self, tensor: Tensor) -> None:
        if self.is_parameter:
            # a new Parameter, not new data in the old one: autograd may still hold the old one for a backward
            self.module._parameters[self.name] = nn.Parameter(tensor, requires_grad=False)
        else:
            self.module._buffers[self.name] = tensor


class BlockSwap:
    """Keeps `count` of `blocks` in host memory, spread evenly, so that each arrives while the ones before compute."""

    def __init__(self, blocks: Sequence[nn.Module], count: int, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.indices = swapped_indices(len(blocks), count)
        self._slots = {index: _slots(blocks[index], device) for index in self.indices}
        self._arriving: dict[int, tuple[list[Tensor], Any]] = {}
        for index in self.indices:
            self._leave(index)
            blocks[index].register_forward_pre_hook(lambda _module, _args, index=index: self._arrive(index))
            # always: a block that the backward pass computes again ends with an exception of checkpoint's own
            blocks[index].register_forward_hook(
                lambda _module, _args, _output, index=index: self._leave(index), always_call=True
            )

    def host_tensors(self) -> list[Tensor]:
        """The copies in host memory."""
        return [slot.host for slots in self._slots.values() for slot in slots]

    def _arrive(self, index: int) -> None:
        tensors, fetched = self._arriving.pop(index) if index in self._arriving else self._fetch(index)
        if fetched is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(fetched)
            for tensor in tensors:
                tensor.record_stream(stream)
        for slot, tensor in zip(self._slots[index], tensors, strict=True):
            slot.put(tensor)
        if (following := self._following(index)) is not None and following not in self._arriving:
            self._arriving = {following: self._fetch(following)}

    def _leave(self, index: int) -> None:
        for slot in self._slots[index]:
            slot.put(slot.host)

    def _following(self, index: int) -> int | None:
        """The swapped block that runs next: the one above, or below while the backward pass computes blocks again."""
        backward = torch._C._current_graph_task_id() != -1
        position = self.indices.index(index) + (-1 if backward else 1)
        return self.indices[position] if 0 <= position < len(self.indices) else None

    def _fetch(self, index: int) -> tuple[list[Tensor], Any]:
        if self._stream is None:
            return [slot.host.clone() for slot in self._slots[index]], None
        with torch.cuda.stream(self._stream):
            tensors = [slot.host.to(self._device, non_blocking=True) for slot in self._slots[index]]
            return tensors, self._stream.record_event()


def swapped_indices(blocks: int, count: int) -> list[int]:
    """Return the indices of `blocks` that live in host memory: `count` of them, spread evenly."""
    count = min(count, blocks)
    return [(2 * number + 1) * blocks // (2 * count) for number in range(count)]


def to_device(module: nn.Module, device: torch.device, swapped: Sequence[nn.Module]) -> None:
    """Move everything of `module` to `device` but the frozen tensors of the `swapped` blocks."""
    stay = {id(tensor) for block in swapped for _, _, tensor, _ in _frozen(block)}
    for layer in module.modules():
        for name, parameter in layer._parameters.items():
            if parameter is not None and id(parameter) not in stay:
                parameter.data = parameter.data.to(device)
                layer._parameters[name] = parameter
        for name, buffer in layer._buffers.items():
            if buffer is not None and id(buffer) not in stay:
                layer._buffers[name] = buffer.to(device)


def _slots(block: nn.Module, device: torch.device) -> list[_Slot]:
    found = []
    for module, name, tensor, is_parameter in _frozen(block):
        host = tensor.detach().to("cpu")
        found.append(_Slot(module, name, host.pin_memory() if device.type == "cuda" else host, is_parameter))
    return found


def _frozen(block: nn.Module) -> list[tuple[nn.Module, str, Tensor, bool]]:
    return [
        (module, name, tensor, is_parameter)
        for module in block.modules()
        for held, is_parameter in ((module._parameters, True), (module._buffers, False))
        for name, tensor in held.items()
        if tensor is not None and not tensor.requires_grad
    ]
