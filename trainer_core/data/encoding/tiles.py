"""Encoding pictures of any size and number by the video VAE in pieces, so that memory doesn't grow with the clip.

In time this is diffusers' `AutoencoderKLLTX2Video._temporal_tiled_encode`, tile by tile as the pictures arrive; in
space the VAE's own tiling. What fits into one tile is encoded whole. F pictures, H rows, W columns, primed in latents.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Tiling:
    """Size of a tile and distance from one to the next, in pictures and pixels; multiples of the VAE's factors.

    Part of how latents are made: a change here must raise manifest.CODE_VERSION.
    """

    frames: int = 96
    stride_frames: int = 72
    side_px: int = 768
    stride_px: int = 640


TILING = Tiling()


def encode_pictures(vae: Any, pictures: Iterable[np.ndarray], tiling: Tiling = TILING) -> Tensor:
    """Return the un-normalised latents [1, C, F', H', W'] (the mode) of `pictures`, uint8 [H, W, 3] each.

    F must be a multiple of the VAE's time factor plus one.
    """
    vae.enable_tiling(
        tile_sample_min_height=tiling.side_px,
        tile_sample_min_width=tiling.side_px,
        tile_sample_stride_height=tiling.stride_px,
        tile_sample_stride_width=tiling.stride_px,
    )
    factor = vae.temporal_compression_ratio
    kept, overlap = tiling.stride_frames // factor, (tiling.frames - tiling.stride_frames) // factor
    parts: list[Tensor] = []
    before: Tensor | None = None
    for tile in _tiles(pictures, tiling):
        latents = _mode(vae, tile)
        if before is None:
            parts.append(latents)
        else:
            latents = vae.blend_t(before, latents[:, :, 1:].clone(), overlap)
            parts[-1] = parts[-1][:, :, : kept + (len(parts) == 1)]
            parts.append(latents)
        before = latents
    return torch.cat(parts, dim=2)


def _tiles(pictures: Iterable[np.ndarray], tiling: Tiling) -> Iterator[np.ndarray]:
    """Yield overlapping tiles [F, H, W, 3] of `tiling.frames` + 1 pictures, the last one shorter.

    One tile more than needed is never made: the last begins where the one before it doesn't reach the end.
    """
    held: list[np.ndarray] = []
    fresh = 0
    for picture in pictures:
        held.append(picture)
        fresh += 1
        if len(held) == tiling.frames + 1:
            yield np.stack(held)
            held = held[tiling.stride_frames :]
            fresh = 0
    if fresh:
        yield np.stack(held)


def _mode(vae: Any, pixels: np.ndarray) -> Tensor:
    scaled = torch.from_numpy(pixels).to(vae.device).permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0
    return vae.encode(scaled.to(vae.dtype)).latent_dist.mode()
