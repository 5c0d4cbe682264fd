"""A tiny model whose text encoder finds no room on a card: torch's own refusal, without a card."""

from typing import Any

import torch

from trainer_core.model.source import Version
from trainer_core.model.tiny import TinySource


class FullCard(TinySource):
    """`asked` says where the text encoder was wanted, and whether in 8 bits."""

    def __init__(self, version: Version = "2.3") -> None:
        super().__init__(version)
        self.asked: list[tuple[str, bool]] = []

    def text_encoder(
        self, dtype: torch.dtype, device: torch.device | None = None, *, in_8bit: bool = False
    ) -> tuple[Any, Any]:
        assert device is not None
        self.asked.append((device.type, in_8bit))
        if device.type == "cuda":
            raise torch.OutOfMemoryError("no room")
        return super().text_encoder(dtype, device, in_8bit=in_8bit)
