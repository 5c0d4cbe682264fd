"""Latents to pictures and sound. Pictures come in a stream of tiles: one tile's are held, never all of a clip's.

F H W latent frames, rows and columns; N pictures; T audio latent frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from trainer_core.data.batch import from_tokens, to_tokens


@dataclass(frozen=True)
class Tiles:
    """Tiles of a decoded clip: so many latent frames at once, of which so many overlap with the tile before; frames
    larger than `px` in overlapping squares of that side, which the library blends.
    """

    frames: int = 13
    overlap: int = 3
    px: int = 768
    overlap_px: int = 64

    def starts(self, total: int) -> list[int]:
        """First latent frames of the tiles that cover `total`."""
        step = self.frames - self.overlap
        return [0, *range(step, max(total - self.overlap, 1), step)]


def denormalise_video(latents: Tensor, vae: Any) -> Tensor:
    """The inverse of `normalise_video`, for [B, C, F, H, W]."""
    mean, std = (s.view(1, -1, 1, 1, 1).to(latents) for s in (vae.latents_mean, vae.latents_std))
    return latents * std / vae.config.scaling_factor + mean


def denormalise_audio(latents: Tensor, vae: Any) -> Tensor:
    """The inverse of `normalise_audio`, for [B, C, T, M]."""
    packed = to_tokens(latents) * vae.latents_std.to(latents) + vae.latents_mean.to(latents)
    return from_tokens(packed, (latents.shape[2],), latents.shape[1])


@torch.no_grad()
def decode_video(vae: Any, latents: Tensor, tiles: Tiles = Tiles()) -> Iterator[np.ndarray]:
    """Yield the pictures uint8 [n, H·32, W·32, 3] of normalised latents [C, F, H, W], in order, a stretch at a time.

    The first latent frame of a decode stands for one picture, every other for `temporal_compression_ratio`: a tile
    that begins at latent frame a begins at picture 8a. Pictures that two tiles have in common fade from one to the
    other.
    """
    device, dtype, step = next(vae.parameters()).device, vae.dtype, vae.temporal_compression_ratio
    stride_px = tiles.px - tiles.overlap_px
    vae.enable_tiling(tiles.px, tiles.px, tile_sample_stride_height=stride_px, tile_sample_stride_width=stride_px)
    total = latents.shape[1]
    starts = tiles.starts(total)
    shared: Tensor | None = None
    for start, following in zip(starts, [*starts[1:], total], strict=True):
        part = denormalise_video(latents[None, :, start : start + tiles.frames].to(device, torch.float32), vae)
        pixels = _decoded(vae, part.to(dtype))  # [3, n, h, w] in -1..1
        if shared is not None:
            common = min(shared.shape[1], pixels.shape[1])
            weight = torch.linspace(0, 1, common + 2, device=device)[1:-1].view(1, -1, 1, 1)
            pixels[:, :common] = shared[:, :common] * (1 - weight) + pixels[:, :common] * weight
        ended = following == total
        kept = pixels.shape[1] if ended else (following - start) * step
        shared = None if ended else pixels[:, kept:].clone()
        yield _pictures(pixels[:, :kept])
        del pixels


def _decoded(vae: Any, part: Tensor) -> Tensor:
    timestep = torch.zeros(1, device=part.device, dtype=part.dtype) if vae.config.timestep_conditioning else None
    return vae.decode(part, timestep, return_dict=False)[0][0].float()


def _pictures(pixels: Tensor) -> np.ndarray:
    """Pixels [3, n, h, w] in -1..1 as pictures; on a card the bytes are made there, a quarter to bring over."""
    _, frames, height, width = pixels.shape
    pictures = np.empty((frames, height, width, 3), np.uint8)
    levels = _levels_by_torch if pixels.device.type != "cpu" else _levels_by_opencv
    for index in range(frames):  # picture by picture: what one pass leaves in the cache, the next one finds
        cv2.merge(levels(pixels[:, index]), pictures[index])
    return pictures


def _levels_by_torch(planes: Tensor) -> list[np.ndarray]:
    return list(planes.mul(127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy())


def _levels_by_opencv(planes: Tensor) -> list[np.ndarray]:
    """The same in one pass, a third of the time."""
    return [cv2.addWeighted(plane, 127.5, plane, 0, 127.5, dtype=cv2.CV_8U) for plane in planes.numpy()]


@torch.no_grad()
def decode_audio(audio_vae: Any, vocoder: Any, latents: Tensor) -> tuple[np.ndarray, int]:
    """Return (sound float32 [2, N] in -1..1, samples per second) of normalised latents [C, T, M]."""
    device = next(audio_vae.parameters()).device
    mel = audio_vae.decode(
        denormalise_audio(latents[None].to(device, torch.float32), audio_vae).to(audio_vae.dtype), return_dict=False
    )[0]
    wave = vocoder(mel.to(next(vocoder.parameters()).dtype))[0]
    return wave.float().clamp(-1, 1).cpu().numpy(), int(vocoder.config.output_sampling_rate)
