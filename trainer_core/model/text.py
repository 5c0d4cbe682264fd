"""Captions to text features (stored in the cache) and features to the transformer's text context (made at every step).

B samples, L text tokens, D width. Features are taken after the text projection and before the connectors, left-padded.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer_core.objective import ModalityName


@dataclass(frozen=True)
class TextFeatures:
    """Per-modality features. `video` [B, L, Dv], `audio` [B, L, Da], `mask` [B, L] with 1 for a real token."""

    video: Tensor
    audio: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "TextFeatures":
        return TextFeatures(self.video.to(device), self.audio.to(device), self.mask.to(device))


@dataclass(frozen=True)
class TextContext:
    """What the transformer attends to: `video` [B, L, Dv], `audio` [B, L, Da], None for an absent modality.

    `mask` [B, L], 1 = valid, None = all are.
    """

    video: Tensor | None
    audio: Tensor | None
    mask: Tensor | None


@torch.no_grad()
def encode_prompts(tokenizer: Any, encoder: Any, connectors: Any, prompts: list[str]) -> TextFeatures:
    """Return the features of `prompts`, padded to the tokenizer's length; a longer prompt is cut: check it first."""
    tokenizer.padding_side = "left"
    tokens = tokenizer(
        [prompt.strip() for prompt in prompts],
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).to(encoder.device)
    # the inner model gives the same hidden states without the logits over the whole vocabulary
    outputs = encoder.model(
        input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True, use_cache=False
    )
    hidden = torch.stack(outputs.hidden_states, dim=-1)  # [B, L, D, layers]
    video, audio = project(connectors, hidden.to(connectors.dtype), tokens.attention_mask)
    return TextFeatures(video, audio, tokens.attention_mask)


def count_tokens(tokenizer: Any, prompt: str) -> int:
    """Return how many tokens `prompt` takes, special tokens included."""
    return len(tokenizer(prompt.strip()).input_ids)


def project(connectors: Any, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The first half of `LTX2TextConnectors.forward`: hidden states [B, L, D, layers] to (video, audio) features.

    Source: diffusers.pipelines.ltx2.connectors; LTX-2.0 normalises per layer and projects once, 2.3 and 2.5 normalise
    per token and project per modality.
    """
    from diffusers.pipelines.ltx2.connectors import per_layer_masked_mean_norm, per_token_rms_norm

    config = connectors.config
    if not config.per_modality_projections:
        normalised = per_layer_masked_mean_norm(hidden, mask.sum(dim=-1), hidden.device, padding_side="left")
        features = connectors.text_proj_in(normalised)
        return features, features
    normalised = per_token_rms_norm(hidden).flatten(2, 3)
    normalised = torch.where(mask.bool().unsqueeze(-1), normalised, torch.zeros_like(normalised))
    video = connectors.video_text_proj_in(normalised * (config.video_hidden_dim / config.caption_channels) ** 0.5)
    audio = connectors.audio_text_proj_in(normalised * (config.audio_hidden_dim / config.caption_channels) ** 0.5)
    return video, audio


def connect(
    connectors: Any, features: TextFeatures, modalities: Collection[ModalityName] = ("video", "audio")
) -> TextContext:
    """The second half of `LTX2TextConnectors.forward`: features to context, padding replaced by learned registers."""
    dtype = connectors.dtype
    additive = (features.mask.to(torch.int64) - 1).to(dtype)[:, None, None, :] * torch.finfo(dtype).max
    contexts = {
        name: getattr(connectors, f"{name}_connector")(getattr(features, name).to(dtype), additive)[0]
        for name in modalities
    }
    mask = None if connectors.config.video_connector_num_learnable_registers else features.mask
    return TextContext(contexts.get("video"), contexts.get("audio"), mask)
