"""Bytes of live tensors and their peak: counted op by op, on any device, fake or real."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that come to life inside it. `hold` counts tensors that existed before.

    A storage counts once, whatever views there are of it, and until the last of them is gone. Above `limit_bytes` it
    raises torch.OutOfMemoryError, as a card of that size would.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        super().__init__()
        self.limit_bytes = limit_bytes
        self.live = 0
        self.peak = 0
        self._known: dict[int, Any] = {}
        self._ignored: set[int] = set()

    def hold(self, *tensors: torch.Tensor) -> None:
        """Count tensors that are there already."""
        for tensor in tensors:
            self._track(tensor)

    def ignore(self, *tensors: torch.Tensor) -> None:
        """Never count these: they stand for memory elsewhere, as host copies beside a card."""
        for tensor in tensors:
            self._ignored.add(tensor.untyped_storage()._cdata)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._track(leaf)
        return result

    def _track(self, tensor: torch.Tensor) -> None:
        # neither meta tensors nor wrappers round others own memory, whatever their storages say
        if tensor.device.type == "meta" or is_traceable_wrapper_subclass(tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known or key in self._ignored:
            return
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        self._known[key] = weakref.finalize(storage, self._forget, key, size)
        if self.limit_bytes is not None and self.live > self.limit_bytes:
            raise torch.OutOfMemoryError(f"{self.live} bytes of tensors are more than the limit of {self.limit_bytes}")

    def _forget(self, key: int, size: int) -> None:
        self.live -= size
        self._known.pop(key, None)
