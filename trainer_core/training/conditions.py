"""The six conditions as pure functions in a dict: which target tokens are given clean, and what stands before them.

B samples, T target tokens, R reference tokens, C channels as tokens. `keep` is True where a token is given clean.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trainer_core.data.batch import ModalityBatch, Reference, to_tokens
from trainer_core.model.ltx import LtxModel
from trainer_core.sample_shape import latent_region, reference_scales


@dataclass(frozen=True)
class Conditioned:
    """One modality after its conditions.

    `keep` [B, T] bool; `reference` [B, R, C] clean tokens placed before the target, those of all references after each
    other, with `reference_positions` [B, 3 or 1, R, 2]; both None without a reference.
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
    """Keep the latent cells of the pixel region, its ends rounded down to whole cells, in every frame."""
    inside = torch.zeros(side.grid, dtype=torch.bool)
    rows, columns = latent_region(condition.spatial_region, model.factors)
    inside[:, rows, columns] = True
    return replace(state, keep=state.keep | (applied[:, None] & inside.flatten()[None]))


def mask(state: Conditioned, _condition: Any, side: ModalityBatch, applied: Tensor, _model: LtxModel) -> Conditioned:
    """Keep the tokens whose stored mask is above one half (1 = keep, 0 = generate)."""
    assert side.mask is not None, "the dataset loads the mask of a mask condition"
    return replace(state, keep=state.keep | (applied[:, None] & (side.mask.flatten(1) > 0.5)))


def reference(state: Conditioned, condition: Any, side: ModalityBatch, applied: Tensor, model: LtxModel) -> Conditioned:
    """Place the clean reference tokens before the target, after those of other references; for a whole batch or not."""
    if not bool(applied[0]):
        return state
    assert condition.latents_dir in side.references, "the dataset loads the reference of a reference condition"
    given = side.references[condition.latents_dir]
    tokens = to_tokens(given.latents)
    if side.latents.ndim == 5:
        positions = video_reference_positions(side, given, model)
    else:
        positions = model.audio_positions(len(given.latents), given.latents.shape[2], given.latents.device)
    if state.reference is not None and state.reference_positions is not None:
        tokens = torch.cat([state.reference, tokens], dim=1)
        positions = torch.cat([state.reference_positions, positions], dim=2)
    return replace(state, reference=tokens, reference_positions=positions)


CONDITIONS: dict[str, ConditionFunction] = {
    "first_frame": first_frame,
    "prefix": prefix,
    "suffix": suffix,
    "spatial_crop": spatial_crop,
    "mask": mask,
    "reference": reference,
}
PER_BATCH = frozenset({"reference"})  # conditions that change the token count apply to a whole batch


def video_reference_positions(side: ModalityBatch, given: Reference, model: LtxModel) -> Tensor:
    """Positions [B, 3, R, 2] of a reference in the target's seconds and pixels.

    Its own grid at its effective frame rate, shifted by -(S_t - 1)/frame_rate of the target and clamped at 0; rows and
    columns times S_s. A single image has no frame rate and takes the target's. Source: the official LTX trainer's
    reference positions.
    """
    assert side.frame_rate is not None
    grid = tuple(given.latents.shape[2:])
    spatial, temporal = reference_scales(side.grid, grid)
    stated = side.frame_rate if given.frame_rate is None or grid[0] == 1 else given.frame_rate
    # files state the rate of their source; one that is the target's over S_t already is that of the frames they hold
    effective = torch.where(torch.isclose(stated * temporal, side.frame_rate, rtol=1e-3), stated, stated / temporal)
    own = model.video_positions((grid[0], grid[1], grid[2]), effective)
    shift = ((temporal - 1) / side.frame_rate)[:, None, None, None]
    return torch.cat([(own[:, :1] - shift).clamp(min=0), own[:, 1:] * spatial], dim=1)


def _tokens_a_frame(side: ModalityBatch) -> int:
    return side.tokens // side.grid[0]


def _keeping(state: Conditioned, side: ModalityBatch, applied: Tensor, tokens: slice) -> Conditioned:
    kept = torch.zeros(side.tokens, dtype=torch.bool)
    kept[tokens] = True
    return replace(state, keep=state.keep | (applied[:, None] & kept[None]))
