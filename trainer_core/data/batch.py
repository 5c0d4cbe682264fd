"""A training step's batch: latents of one shape, inputs of the conditions and text features, on the CPU.

B samples, F H W latent frames, rows and columns, T audio latent frames, C latent channels, L text tokens, D text width.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer_core.objective import ModalityName


@dataclass(frozen=True)
class Reference:
    """Latents that a modality is given beside its own: as its `latents`, of their own size.

    `frame_rate` [B], frames per second of a video's source before every S-th frame was taken; None: the target's.
    """

    latents: Tensor
    frame_rate: Tensor | None = None

    @property
    def tokens(self) -> int:
        """Tokens of one sample's reference."""
        return math.prod(self.latents.shape[2:]) if self.latents.ndim == 5 else self.latents.shape[2]


@dataclass(frozen=True)
class ModalityBatch:
    """Latents of one modality.

    `latents` [B, C, F, H, W] for video, [B, C, T, M] for audio (M mel bins); `frame_rate` [B], frames per second;
    `mask` [B, F, H, W] or [B, T], 1 = keep, 0 = generate; `references` by the `latents_dir` of their conditions.
    """

    latents: Tensor
    frame_rate: Tensor | None = None
    mask: Tensor | None = None
    references: dict[str, Reference] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[int, ...]:
        """(F, H, W) for video, (T,) for audio."""
        return tuple(self.latents.shape[2:]) if self.latents.ndim == 5 else (self.latents.shape[2],)

    @property
    def tokens(self) -> int:
        """Target tokens of one sample."""
        count = 1
        for size in self.grid:
            count *= size
        return count

    @property
    def width(self) -> int:
        """Numbers a token: the channels, of sound times the mel bins."""
        return token_width(self.latents[0])


@dataclass(frozen=True)
class Batch:
    """Samples of one shape. Text features [B, L, D] are taken before the connectors; `text_mask` [B, L], 1 = a token.

    `clips` names the samples; `indices` are their numbers in the dataset, which with `epoch` seed their noise.
    """

    video: ModalityBatch | None
    audio: ModalityBatch | None
    video_features: Tensor
    audio_features: Tensor
    text_mask: Tensor
    clips: tuple[str, ...]
    indices: tuple[int, ...]
    epoch: int = 0

    def modality(self, name: ModalityName) -> ModalityBatch | None:
        return self.video if name == "video" else self.audio

    def __len__(self) -> int:
        return len(self.clips)


def random_batch(
    grid: tuple[int, int, int],
    audio_frames: int,
    text_tokens: int,
    text_widths: tuple[int, int],
    generator: torch.Generator,
    *,
    conditioned: bool = False,
) -> Batch:
    """One sample of noise, with picture (F, H, W), sound and text of widths (video, audio), to measure a step on.

    `conditioned` gives each modality a mask that keeps every other token, and a reference of the target's size in the
    folder that the recipes name.
    """

    def noise(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    def side(shape: tuple[int, ...], tokens: tuple[int, ...], frame_rate: Tensor | None, folder: str) -> ModalityBatch:
        latents = noise(*shape)
        if not conditioned:
            return ModalityBatch(latents, frame_rate)
        every_other = (torch.arange(math.prod(tokens)).view(1, *tokens) % 2).float()
        return ModalityBatch(latents, frame_rate, every_other, {folder: Reference(noise(*shape))})

    return Batch(
        video=side((128, *grid), grid, torch.tensor([24.0]), "reference_latents"),
        audio=side((8, audio_frames, 16), (audio_frames,), None, "reference_audio_latents"),
        video_features=noise(text_tokens, text_widths[0]),
        audio_features=noise(text_tokens, text_widths[1]),
        text_mask=torch.ones(1, text_tokens, dtype=torch.int64),
        clips=("random",),
        indices=(0,),
    )


def token_width(latents: Tensor) -> int:
    """Numbers a token of one sample: the channels of video [C, F, H, W], times the mel bins of audio [C, T, M]."""
    return latents.shape[0] if latents.ndim == 4 else latents.shape[0] * latents.shape[2]


def to_tokens(latents: Tensor) -> Tensor:
    """Patchify: video [B, C, F, H, W] to [B, F·H·W, C]; audio [B, C, T, M] to [B, T, C·M]."""
    if latents.ndim == 5:
        return latents.flatten(2).transpose(1, 2)
    return latents.transpose(1, 2).flatten(2)


def from_tokens(tokens: Tensor, grid: tuple[int, ...], channels: int) -> Tensor:
    """The inverse of `to_tokens`, for the latent grid (F, H, W) or (T,)."""
    if len(grid) == 3:
        return tokens.transpose(1, 2).unflatten(2, grid)
    return tokens.unflatten(2, (channels, -1)).transpose(1, 2)
