"""A limit on the memory that a training may take, and how running out of memory looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from trainer_core.memory.live import LiveBytes

if TYPE_CHECKING:
    from trainer_core.training.setup import TrainingSession

_CPU_WORDS = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


@contextmanager
def memory_limit(limit_gb: float | None, session: "TrainingSession") -> Iterator[None]:
    """Hold the training inside to `limit_gb` (10^9 bytes): the allocator's share of a card, or tensors counted."""
    device = session.accelerator.device
    if limit_gb is None:
        yield
    elif device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(limit_gb * 1e9 / total, 1.0), device)
        yield
    else:
        counted = LiveBytes()
        counted.hold(*session.model.parameters(), *session.model.buffers())
        counted.limit_bytes = round(limit_gb * 1e9)
        with counted:
            yield


def ran_out_of_memory(error: BaseException) -> bool:
    """True if `error` says that memory ran out, on a card or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _CPU_WORDS)
