"""The only wrapper round the model library: (video modality, audio modality) to one transformer call.

Shapes: B samples, T tokens, C latent channels as tokens, L text tokens, D text width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainer_core.objective import VaeFactors

Branch = Literal["video", "audio", "cross"]
KEPT_POSITIONS = 16
CROSS_MODULES = ("audio_to_video_attn", "video_to_audio_attn")


@dataclass(frozen=True)
class ModalityInput:
    """One modality as the transformer sees it.

    `tokens` [B, T, C]; `timesteps` [B, T], the sigma of each token in [0, 1], 0 for a clean one; `sigma` [B], that of
    the sample (0 when the modality is frozen); `positions` [B, 3, T, 2] (seconds, px, px) for video or [B, 1, T, 2]
    (seconds) for audio, as [start, end); `context` [B, L, D]; `context_mask` [B, L], 1 for valid, None when all are.
    """

    tokens: Tensor
    timesteps: Tensor
    sigma: Tensor
    positions: Tensor
    context: Tensor
    context_mask: Tensor | None = None


def context_widths(config: Any) -> tuple[int, int]:
    """Return the widths of the text contexts (video, audio) that a transformer of `config` takes."""
    if config.use_prompt_embeddings:
        return config.caption_channels, config.caption_channels
    return config.cross_attention_dim, config.audio_cross_attention_dim


class _NoAttention:
    """Attention processor of an absent modality's layers: no work, a residual of zero."""

    def __call__(
        self,
        attn: Any,  # noqa: ARG002
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,  # noqa: ARG002
        attention_mask: Tensor | None = None,  # noqa: ARG002
        query_rotary_emb: tuple[Tensor, Tensor] | None = None,  # noqa: ARG002
        key_rotary_emb: tuple[Tensor, Tensor] | None = None,  # noqa: ARG002
        perturbation_mask: Tensor | None = None,  # noqa: ARG002
        all_perturbed: bool | None = None,  # noqa: ARG002
    ) -> Tensor:
        return torch.zeros_like(hidden_states)


class _ValuesAlone:
    """Attention processor of a perturbed layer: every token keeps its own value, nothing is attended to.

    Source: the library's LTX2PerturbedAttnProcessor, which it calls since LTX-2.3 only.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,  # noqa: ARG002 (self-attention has none)
        attention_mask: Tensor | None = None,  # noqa: ARG002
        query_rotary_emb: tuple[Tensor, Tensor] | None = None,  # noqa: ARG002
        key_rotary_emb: tuple[Tensor, Tensor] | None = None,  # noqa: ARG002
    ) -> Tensor:
        values = attn.to_v(hidden_states)
        if attn.to_gate_logits is not None:
            gates = 2.0 * torch.sigmoid(attn.to_gate_logits(hidden_states))
            values = (values.unflatten(2, (attn.heads, -1)) * gates.unsqueeze(-1)).flatten(2, 3)
        return attn.to_out[1](attn.to_out[0](values))


class LtxModel(nn.Module):
    """An LTX-2 transformer of any version, called by modality, with upstream's audio-video gate rule.

    Stock diffusers takes scale, shift and gate of the audio-video cross-attention all from the own per-token timestep,
    or all from the other modality's sigma. Upstream (since May 2026) takes scale and shift from the own timestep and
    the gate from the other's sigma; hooks on the two gate modules feed them accordingly.
    """

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer
        self._absent: Branch | None = None
        self._set_aside: list[Callable[[], None]] = []
        self._gate_timesteps: dict[str, Tensor] = {}
        # positions depend on nothing but the shape; read-ahead thread and training loop both ask for them
        self._video_positions = lru_cache(KEPT_POSITIONS)(self._make_video_positions)
        self._audio_positions = lru_cache(KEPT_POSITIONS)(transformer.audio_rope.prepare_audio_coords)
        config = transformer.config
        self._gate_factor = config.cross_attn_timestep_scale_multiplier / config.timestep_scale_multiplier
        for name in ("av_cross_attn_video_a2v_gate", "av_cross_attn_audio_v2a_gate"):
            getattr(transformer, name).register_forward_pre_hook(self._gate_hook(name), with_kwargs=True)

    @property
    def factors(self) -> VaeFactors:
        """Pixels and frames a latent cell, from the checkpoint."""
        return VaeFactors(*self.transformer.config.vae_scale_factors)

    @property
    def device(self) -> torch.device:
        return self.transformer.proj_in.weight.device

    def video_positions(self, shape: tuple[int, int, int], frame_rate: Tensor) -> Tensor:
        """Positions [B, 3, F·H·W, 2] of a latent grid (F, H, W) at `frame_rate` [B] frames per second; read-only.

        Those of the last few shapes are kept.
        """
        return self._video_positions(shape, tuple(frame_rate.tolist()), frame_rate.device)

    def audio_positions(self, batch: int, length: int, device: torch.device) -> Tensor:
        """Positions [B, 1, T, 2] of `length` audio latent frames, in seconds; never write to it."""
        return self._audio_positions(batch, length, device)

    def _make_video_positions(
        self, shape: tuple[int, int, int], frame_rate: tuple[float, ...], device: torch.device
    ) -> Tensor:
        positions = self.transformer.rope.prepare_video_coords(len(frame_rate), *shape, device, fps=1.0)
        positions[:, 0] = positions[:, 0] / torch.tensor(frame_rate, device=device)[:, None, None].to(positions.dtype)
        return positions

    def forward(
        self,
        video: ModalityInput | None,
        audio: ModalityInput | None,
        *,
        isolate_modalities: bool = False,
        stg_blocks: list[int] | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the predicted velocities ([B, Tv, C] or None, [B, Ta, C] or None).

        An absent modality is None: its layers do no work, and the other one's output is that of a single-modality call.
        In `stg_blocks` the tokens of a self-attention don't see each other (spatio-temporal guidance).
        """
        given = video if video is not None else audio
        assert given is not None, "a call needs a modality"
        self._skip_branch("video" if video is None else "audio" if audio is None else None)
        isolated = isolate_modalities or video is None or audio is None
        video_input = video if video is not None else self._stand_in("video", given)
        audio_input = audio if audio is not None else self._stand_in("audio", given)
        scale = self.transformer.config.timestep_scale_multiplier
        dtype = self.transformer.proj_in.weight.dtype
        sigma, audio_sigma = video_input.sigma * scale, audio_input.sigma * scale
        self._gate_timesteps = {
            "av_cross_attn_video_a2v_gate": audio_sigma * self._gate_factor,
            "av_cross_attn_audio_v2a_gate": sigma * self._gate_factor,
        }
        with self._perturbed(stg_blocks or []):
            velocity = self.transformer(
                hidden_states=video_input.tokens.to(dtype),
                audio_hidden_states=audio_input.tokens.to(dtype),
                encoder_hidden_states=video_input.context.to(dtype),
                audio_encoder_hidden_states=audio_input.context.to(dtype),
                timestep=video_input.timesteps * scale,
                audio_timestep=audio_input.timesteps * scale,
                sigma=sigma,
                audio_sigma=audio_sigma,
                encoder_attention_mask=video_input.context_mask,
                audio_encoder_attention_mask=audio_input.context_mask,
                video_coords=video_input.positions,
                audio_coords=audio_input.positions,
                isolate_modalities=isolated,
                spatio_temporal_guidance_blocks=stg_blocks,
                use_cross_timestep=False,
                return_dict=False,
            )
        return (velocity[0] if video is not None else None), (velocity[1] if audio is not None else None)

    @contextmanager
    def _perturbed(self, blocks: list[int]) -> Iterator[None]:
        """Perturb the self-attentions of `blocks` where the library wouldn't: it does so itself since LTX-2.3 only."""
        changed = []
        if not self.transformer.config.perturbed_attn:
            for block in (self.transformer.transformer_blocks[index] for index in blocks):
                for name in ("attn1", "audio_attn1"):
                    attention = getattr(block, name)
                    if not isinstance(attention.processor, _NoAttention):
                        changed.append((attention, attention.processor))
                        attention.set_processor(_ValuesAlone())
        try:
            yield
        finally:
            for attention, processor in changed:
                attention.set_processor(processor)

    def _gate_hook(self, name: str) -> Any:
        def feed_other_sigma(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return (self._gate_timesteps[name], *args[1:]), kwargs

        return feed_other_sigma

    def _stand_in(self, name: Branch, given: ModalityInput) -> ModalityInput:
        """One zero token for an absent modality: the library takes neither None nor zero tokens."""
        config, like = self.transformer.config, given.tokens
        video = name == "video"
        channels = config.in_channels if video else config.audio_in_channels
        width = config.cross_attention_dim if video else config.audio_cross_attention_dim
        if config.use_prompt_embeddings:
            width = config.caption_channels
        batch = len(like)
        return ModalityInput(
            tokens=like.new_zeros(batch, 1, channels),
            timesteps=given.sigma.new_zeros(batch, 1),
            sigma=torch.zeros_like(given.sigma),
            positions=given.positions.new_zeros(batch, 3 if video else 1, 1, 2),
            context=like.new_zeros(batch, 1, width),
        )

    def _skip_branch(self, absent: Branch | None) -> None:
        """Let the layers of an absent modality do nothing, so that it costs nothing; undone when it returns."""
        if absent == self._absent:
            return
        for put_back in self._set_aside:
            put_back()
        self._set_aside = []
        prefix = "audio_" if absent == "audio" else ""
        for block in self.transformer.transformer_blocks if absent else ():
            for attention in (getattr(block, f"{prefix}attn1"), getattr(block, f"{prefix}attn2")):
                self._set_aside.append(partial(attention.set_processor, attention.processor))
                attention.set_processor(_NoAttention())
            feed_forward = getattr(block, f"{prefix}ff")
            # a layer that computes in chunks has a forward of its own already
            chunked = vars(feed_forward).get("forward")
            self._set_aside.append(
                partial(delattr, feed_forward, "forward")
                if chunked is None
                else partial(setattr, feed_forward, "forward", chunked)
            )
            feed_forward.forward = torch.zeros_like
        self._absent = absent


def branch_of(module_name: str) -> Branch:
    """Return the transformer's branch that a module name belongs to."""
    parts = module_name.split(".")
    if any(part in CROSS_MODULES or part.startswith("av_c") for part in parts) or "a2v_cross_attn" in module_name:
        return "cross"
    return "audio" if any(part.startswith("audio_") for part in parts) else "video"
