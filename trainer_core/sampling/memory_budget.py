"""Memory that samples may take while a run trains: what there is, what a sample needs, in which tiles it is decoded.

What a sample needs is an estimate, held against counted tensors by a test; what there is comes from the rehearsal, the
run's own limit, or the device.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer_core.errors import TrainingError
from trainer_core.sampling.decode import Tiles
from trainer_core.sections.own import MemorySection

TILE_CHOICES = (Tiles(), Tiles(px=512), Tiles(7, 2, 512), Tiles(5, 2, 320))
"""Largest first: smaller ones decode more of a clip twice."""
_ESTIMATES_OFF_BY = 1.1
"""What was measured to fit isn't refused for an estimate that is a little too high."""
_MAPS_AT_ONCE = 3
"""Feature maps of the decoder's last block that are alive together: a block's input, its padded copy, its output."""
_WIDTHS_AT_ONCE = 12
"""Tensors as wide as a token that a transformer block holds at once without gradients, its feed-forward among them."""


@dataclass(frozen=True)
class Room:
    """Bytes that a device may hold in all, this process's own included, and what says so."""

    total: int
    source: str


def room_for_samples(memory: MemorySection, device: torch.device) -> Room:
    """The rehearsed figure where there is one, else the run's limit, else what the device has."""
    if memory.samples_gb is not None:
        return Room(round(memory.samples_gb * 1e9 * _ESTIMATES_OFF_BY), "ltx_agent.memory.samples_gb")
    if memory.limit_gb is not None:
        return Room(round(memory.limit_gb * 1e9), "ltx_agent.memory.limit_gb")
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return Room(free + torch.cuda.memory_reserved(device), "what the card has free")
    import psutil

    process = psutil.Process()
    return Room(psutil.virtual_memory().available + process.memory_info().rss, "what this machine has free")


def held_bytes(device: torch.device, tensors: Iterable[Tensor]) -> int:
    """Return the bytes on `device` already: the allocator's figure of a GPU, else the sum of `tensors`."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def denoise_bytes(tokens: int, width: int, element_bytes: int) -> int:
    """Return the bytes of one forward without gradients beside the weights, for `tokens` tokens of `width` channels."""
    return _WIDTHS_AT_ONCE * tokens * width * element_bytes


def decode_bytes(vae_config: Any, grid: tuple[int, int, int], tiles: Tiles, element_bytes: int) -> int:
    """Return the bytes for decoding a latent `grid` (F, H, W) in `tiles` beside the VAE's weights: one tile's share.

    Either the last block's feature maps (a quarter of the picture's sides) are the most, or the pictures in float32.
    """
    frames, rows, columns = grid
    pictures = (min(frames, tiles.frames) - 1) * vae_config.temporal_compression_ratio + 1
    cell = vae_config.spatial_compression_ratio
    area = min(rows * cell, tiles.px) * min(columns * cell, tiles.px)
    maps = pictures * area // vae_config.patch_size**2 * vae_config.decoder_block_out_channels[0] * element_bytes
    whole = pictures * rows * cell * columns * cell * 3 * 4
    shared = whole * tiles.overlap // tiles.frames if frames > tiles.frames else 0
    return max(_MAPS_AT_ONCE * maps, whole) + whole + shared


def tiles_that_fit(vae_config: Any, grid: tuple[int, int, int], element_bytes: int, room: Room, held: int) -> Tiles:
    """The largest tiles whose decoding stays inside `room` beside `held` bytes. Raises NoRoom when none do."""
    needs = [held + decode_bytes(vae_config, grid, tiles, element_bytes) for tiles in TILE_CHOICES]
    fitting = next((tiles for tiles, need in zip(TILE_CHOICES, needs, strict=True) if need <= room.total), None)
    if fitting is None:
        raise no_room("Decoding a sample", needs[-1], room)
    return fitting


class NoRoom(TrainingError):
    """A sample that would take more memory than there is; the message has both figures."""


def no_room(what: str, need: int, room: Room) -> NoRoom:
    """The refusal, with both figures."""
    return NoRoom(
        f"{what} needs about {need / 1e9:.2f} GB, {room.source} is {room.total / 1e9:.2f} GB.",
        "Use smaller validation.video_dims, or fewer frames.",
    )
