"""The six conditions as pure functions in a dict: which target tokens are given clean, and what stands before them.

B samples, T target tokens, R reference tokens, C channels as tokens. `keep` is True where a token is given clean.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trainer_core.data.batch import ModalityBatch, to_tokens
from trainer_core.model.ltx import LtxModel
from trainer_core.objective import latent_region, reference_scales


@dataclass(frozen=True)
class Conditioned:
    """What the conditions made of one modality.

    `keep` [B, T] bool; `reference` [B, R, C] clean tokens placed before the target, with `reference_positions`
    [B, 3 or 1, R, 2]; both None without a reference.
    """

    keep: Tensor
    reference: Tensor | None = None
    reference_positions: Tensor | None = None


ConditionFunction = Callable[[Conditioned, Any, ModalityBatch, Tensor, LtxModel], Conditioned]


def first_frame(
    state: Conditioned, _condition: Any, side: ModalityBatch, applied: Tensor, _model: LtxModel
) -> Conditioned:
    """Keep the first latent frame, except of a one-frame sample, which would have nothing left to train."""
    frames, height, width = side.grid
    return _keeping(state, side, applied, slice(0, height * width)) if frames > 1 else state


def prefix(state: Conditioned, condition: Any, side: ModalityBatch, applied: Tensor, _model: LtxModel) -> Conditioned:
    """Keep the first `temporal_boundary` latent frames."""
    return _keeping(state, side, applied, slice(0, condition.temporal_boundary * _tokens_a_frame(side)))


def suffix(state: Conditioned, condition: Any, side: ModalityBatch, applied: Tensor, _model: LtxModel) -> Conditioned:
    """Keep the last `temporal_boundary` latent frames."""
    return _keeping(state, side, applied, slice(-condition.temporal_boundary * _tokens_a_frame(side), None))


def spatial_crop(
    state: Conditioned, condition: Any, side: ModalityBatch, applied: Tensor, model: LtxModel
) -> Conditioned:
    """Keep the latent cells that lie wholly inside the pixel region, in every frame."""
    inside = torch.zeros(side.grid, dtype=torch.bool)
    rows, columns = latent_region(condition.spatial_region, model.factors)
    inside[:, rows, columns] = True
    return replace(state, keep=state.keep | (applied[:, None] & inside.flatten()[None]))


def mask(state: Conditioned, _condition: Any, side: ModalityBatch, applied: Tensor, _model: LtxModel) -> Conditioned:
    """Keep the tokens whose stored mask is above one half (1 = keep, 0 = generate)."""
    assert side.mask is not None, "the dataset loads the mask of a mask condition"
    return replace(state, keep=state.keep | (applied[:, None] & (side.mask.flatten(1) > 0.5)))


def reference(
    state: Conditioned, _condition: Any, side: ModalityBatch, applied: Tensor, model: LtxModel
) -> Conditioned:
    """Place the clean reference tokens before the target; for the whole batch or not at all."""
    if not bool(applied[0]):
        return state
    assert side.reference is not None, "the dataset loads the reference of a reference condition"
    if side.latents.ndim == 5:
        positions = video_reference_positions(side, model)
    else:
        positions = model.audio_positions(len(side.reference), side.reference.shape[2], side.reference.device)
    return replace(state, reference=to_tokens(side.reference), reference_positions=positions)


CONDITIONS: dict[str, ConditionFunction] = {
    "first_frame": first_frame,
    "prefix": prefix,
    "suffix": suffix,
    "spatial_crop": spatial_crop,
    "mask": mask,
    "reference": reference,
}
PER_BATCH = frozenset({"reference"})  # conditions that change the token count apply to a whole batch


def video_reference_positions(side: ModalityBatch, model: LtxModel) -> Tensor:
    """Positions [B, 3, R, 2] of a reference in the target's seconds and pixels.

    Its own grid at its effective frame rate (the target's over S_t), shifted by -(S_t - 1)/frame_rate and clamped at 0;
    rows and columns times S_s. Source: the official LTX trainer's reference positions.
    """
    assert side.reference is not None
    assert side.frame_rate is not None
    grid = tuple(side.reference.shape[2:])
    spatial, temporal = reference_scales(side.grid, grid)
    own = model.video_positions((grid[0], grid[1], grid[2]), side.frame_rate / temporal)
    shift = ((temporal - 1) / side.frame_rate)[:, None, None, None]
    return torch.cat([(own[:, :1] - shift).clamp(min=0), own[:, 1:] * spatial], dim=1)


def _tokens_a_frame(side: ModalityBatch) -> int:
    return side.tokens // side.grid[0]


def _keeping(state: Conditioned, side: ModalityBatch, applied: Tensor, tokens: slice) -> Conditioned:
    kept = torch.zeros(side.tokens, dtype=torch.bool)
    kept[tokens] = True
    return replace(state, keep=state.keep | (applied[:, None] & kept[None]))
