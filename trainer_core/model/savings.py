"""Memory savings of a transformer in training, at the price of time: the same losses, up to rounding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class _Away:
    tensor: Tensor
    device: torch.device


def to_host(tensor: Tensor) -> Tensor:
    """A copy in host memory, pinned beside a card, so that neither way blocks."""
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda")
    return host.copy_(tensor, non_blocking=True)


def from_host(tensor: Tensor, device: torch.device) -> Tensor:
    """The copy on `device` again."""
    return tensor.to(device, non_blocking=True, copy=True)


def checkpoint_blocks(
    transformer: Any,
    *,
    offload: bool = False,
    leave: Callable[[Tensor], Tensor] = to_host,
    arrive: Callable[[Tensor, torch.device], Tensor] = from_host,
) -> None:
    """Keep only each block's input for the backward pass; `offload` keeps it in host memory until it is needed."""

    def checkpointed(block: nn.Module, video: Tensor, audio: Tensor, *rest: Any) -> Any:
        # only the hidden states travel: all else that a block is given is shared by the blocks and stays where it is
        travelling = {tensor.untyped_storage()._cdata for tensor in (video, audio)}

        def pack(tensor: Tensor) -> Tensor | _Away:
            if tensor.untyped_storage()._cdata not in travelling:
                return tensor
            return _Away(leave(tensor), tensor.device)

        def unpack(kept: Tensor | _Away) -> Tensor:
            return arrive(kept.tensor, kept.device) if isinstance(kept, _Away) else kept

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            return checkpoint(block, video, audio, *rest, use_reentrant=False)

    transformer.enable_gradient_checkpointing(checkpointed if offload else None)


def chunk_feed_forward(transformer: Any, tokens: int) -> None:
    """Compute each feed-forward layer `tokens` tokens at a time, again in the backward pass.

    Tokens don't see each other there, so the result is the same; the widest activations exist for one chunk at a time.
    """
    for block in transformer.transformer_blocks:
        for layer in (block.ff, block.audio_ff):
            layer.forward = _chunked(layer.forward, tokens)


def _chunked(forward: Callable[..., Tensor], tokens: int) -> Callable[..., Tensor]:
    def in_chunks(hidden: Tensor) -> Tensor:
        if hidden.shape[1] <= tokens:
            return forward(hidden)
        run = _recomputed(forward) if torch.is_grad_enabled() else forward
        return torch.cat([run(chunk) for chunk in hidden.split(tokens, dim=1)], dim=1)

    return in_chunks


def _recomputed(forward: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda chunk: checkpoint(forward, chunk, use_reentrant=False)
