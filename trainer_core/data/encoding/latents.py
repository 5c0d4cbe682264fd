"""Pictures, sound and masks to the contents of upstream's latents files.

F frames, H rows, W columns of pixels, primed in latents; C channels, T audio latent frames, M mel bins, N samples.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer_core.data.batch import from_tokens, to_tokens
from trainer_core.data.encoding.mel import log_mel
from trainer_core.data.encoding.tiles import encode_pictures
from trainer_core.objective import VaeFactors


def video_content(vae: Any, pictures: Iterable[np.ndarray], frame_rate: float) -> dict[str, Any]:
    """Encode pictures, uint8 [H, W, 3] each, to what a latents file holds."""
    latents = normalise_video(encode_pictures(vae, pictures), vae)[0]
    _, count, height, width = latents.shape
    return {
        "latents": latents.to(torch.bfloat16).cpu().contiguous(),
        "num_frames": count,
        "height": height,
        "width": width,
        "fps": float(frame_rate),
    }


def audio_content(vae: Any, samples: np.ndarray, duration_s: float) -> dict[str, Any]:
    """Encode stereo sound [2, N] float32 at the VAE's own rate to what an audio latents file holds."""
    rate, hop, bins = vae.config.sample_rate, vae.config.mel_hop_length, vae.config.mel_bins
    mel = log_mel(torch.from_numpy(samples), rate, hop, bins)[None]  # [1, 2, frames, bins]
    latents = normalise_audio(vae.encode(mel.to(vae.device, vae.dtype)).latent_dist.mode(), vae)[0]  # [C, T, M]
    return {
        "latents": latents.to(torch.bfloat16).cpu().contiguous(),
        "num_time_steps": latents.shape[1],
        "frequency_bins": latents.shape[2],
        "duration": duration_s,
    }


def audio_mask_content(vae: Any, samples: np.ndarray) -> dict[str, Any]:
    """Average the level of sound [2, N] over the audio latent frames it would give; above one half means keep."""
    mel_frames = samples.shape[1] // vae.config.mel_hop_length + 1
    length = -(-mel_frames // vae.temporal_compression_ratio)
    level = torch.from_numpy(np.abs(samples).mean(axis=0))
    return {"mask": torch.nn.functional.adaptive_avg_pool1d(level[None], length)[0]}


def pooled_mask(keep: Tensor, factors: VaeFactors) -> Tensor:
    """Average a mask [F, H, W] over latent cells [F', H', W'], causally: picture 0 alone, then each `factors.time`."""
    cells = torch.nn.functional.avg_pool2d(keep[:, None], (factors.height, factors.width))[:, 0]
    groups = [cells[:1], *cells[1:].split(factors.time)]
    return torch.stack([group.mean(dim=0) for group in groups])


def normalise_video(latents: Tensor, vae: Any) -> Tensor:
    """Return (latents - mean)/std of un-normalised video latents [B, C, F, H, W], as they are stored and trained on."""
    mean, std = (s.view(1, -1, 1, 1, 1).to(latents) for s in (vae.latents_mean, vae.latents_std))
    return (latents - mean) * vae.config.scaling_factor / std


def normalise_audio(latents: Tensor, vae: Any) -> Tensor:
    """Return normalised audio latents [B, C, T, M]; the statistics belong to the packed [B, T, C·M]."""
    packed = (to_tokens(latents) - vae.latents_mean.to(latents)) / vae.latents_std.to(latents)
    return from_tokens(packed, (latents.shape[2],), latents.shape[1])
