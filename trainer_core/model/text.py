"""Captions to text features (stored in the cache) and features to the transformer's text context (made at every step).

B samples, L text tokens, D width. Features are taken after the text projection and before the connectors, left-padded.
"""

import gc
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer_core.memory.encoding import prompt_bytes
from trainer_core.model.source import ModelSource
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
    """Text that the transformer attends to: `video` [B, L, Dv], `audio` [B, L, Da], None for an absent modality.

    `mask` [B, L], 1 = valid, None = all are.
    """

    video: Tensor | None
    audio: Tensor | None
    mask: Tensor | None


def load_prompt_encoder(
    source: ModelSource,
    dtype: torch.dtype,
    device: torch.device,
    *,
    in_8bit: bool = False,
    tell: Callable[[str], None] = lambda _said: None,
) -> tuple[Any, Any, Any]:
    """Return (tokenizer, text encoder, connectors) on `device`; of the connectors only the projections, all that
    `encode_prompts` uses. On a card without room for them and for one prompt all stay on the CPU, which `tell` hears.
    """
    try:
        return _prompt_encoder_on(source, dtype, device, in_8bit)
    except torch.OutOfMemoryError:
        if device.type == "cpu":
            raise
    # after the except block, whose traceback holds what was loaded
    tell(
        "The text encoder doesn't fit the card: captions and prompts are encoded on the CPU, which takes longer."
        + ("" if in_8bit else " acceleration.load_text_encoder_in_8bit: true needs half of the memory.")
    )
    gc.collect()
    torch.cuda.empty_cache()
    return _prompt_encoder_on(source, dtype, torch.device("cpu"), in_8bit)


def _prompt_encoder_on(
    source: ModelSource, dtype: torch.dtype, device: torch.device, in_8bit: bool
) -> tuple[Any, Any, Any]:
    tokenizer, encoder = source.text_encoder(dtype, device, in_8bit=in_8bit)
    connectors = source.connectors(dtype)
    for name, part in connectors.named_children():
        if name.endswith("text_proj_in"):
            part.to(device)
    if device.type != "cpu":
        config = encoder.config.get_text_config()
        states = (config.num_hidden_layers + 1, tokenizer.model_max_length, config.hidden_size)
        torch.empty(prompt_bytes(*states), dtype=torch.uint8, device=device)  # is there room for a prompt as well?
    return tokenizer, encoder, connectors


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
