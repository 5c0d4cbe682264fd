"""Text contexts made once: the connectors are frozen, so what they make of a caption never changes in a run."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor

from trainer_core.data.batch import Batch
from trainer_core.model.text import TextContext, TextFeatures, connect
from trainer_core.objective import ModalityName


class StoredContexts:
    """The contexts of every sample in host memory, in the place of the connectors, which are let go.

    `load` brings the connectors back for a sample that wasn't there, such as a held-out one.
    """

    def __init__(self, load: Callable[[], Any], modalities: tuple[ModalityName, ...]) -> None:
        self._load = load
        self._modalities = modalities
        self._stored: dict[str, dict[str, Tensor | None]] = {}

    @property
    def host_bytes(self) -> int:
        tensors = (tensor for context in self._stored.values() for tensor in context.values() if tensor is not None)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def add(self, batches: Iterable[Batch], device: torch.device) -> None:
        """Run the connectors over `batches` and keep what they make of each sample."""
        connectors = self._load()
        for batch in batches:
            self._keep(batch, connect_batch(connectors, batch, self._modalities, device))

    def context(self, batch: Batch, modalities: Collection[ModalityName], device: torch.device) -> TextContext:
        """The stored contexts of a batch on `device`."""
        if any(name not in self._stored for name in batch.clips):
            self.add([batch], device)
        kept = [self._stored[name] for name in batch.clips]

        def stacked(key: str) -> Tensor | None:
            tensors = [context[key] for context in kept]
            present = [tensor for tensor in tensors if tensor is not None]
            return torch.stack(present).to(device, non_blocking=True) if present else None

        sides = {name: stacked(name) if name in modalities else None for name in self._modalities}
        return TextContext(sides.get("video"), sides.get("audio"), stacked("mask"))

    def _keep(self, batch: Batch, made: TextContext) -> None:
        for index, name in enumerate(batch.clips):
            self._stored[name] = {
                key: None if tensor is None else tensor[index].to("cpu").clone()
                for key, tensor in (("video", made.video), ("audio", made.audio), ("mask", made.mask))
            }


def text_context(
    connectors: Any, batch: Batch, modalities: tuple[ModalityName, ...], device: torch.device
) -> TextContext:
    """The text context of a batch, from the connectors or from what they made before."""
    if isinstance(connectors, StoredContexts):
        return connectors.context(batch, modalities, device)
    return connect_batch(connectors, batch, modalities, device)


@torch.no_grad()
def connect_batch(
    connectors: Any, batch: Batch, modalities: tuple[ModalityName, ...], device: torch.device
) -> TextContext:
    """Run the connectors over a batch's features."""
    features = TextFeatures(batch.video_features, batch.audio_features, batch.text_mask)
    return connect(connectors, features.to(device), modalities)
