"""The sampler: from noise to clean latents under the same roles and conditions that training uses.

B samples, T target tokens, R reference tokens before them, C channels as tokens.
Source of the update: Euler steps of flow matching over x0 predictions, as in diffusers' LTX2Pipeline; given tokens are
pinned to their clean value at every step, as in its LTX2ConditionPipeline.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer_core.data.batch import Batch, from_tokens, to_tokens
from trainer_core.model.ltx import LtxModel, ModalityInput
from trainer_core.model.text import TextFeatures, connect
from trainer_core.objective import ModalityName, Objective
from trainer_core.sampling.guidance import Guidance, guided
from trainer_core.training.conditions import CONDITIONS, Conditioned
from trainer_core.training.step import MODALITIES

StepReport = Callable[[int, int], None]
"""Called as (done, total) after every step; it may raise to abandon the sample."""


@dataclass(frozen=True)
class SampleInputs:
    """One sample to make. `batch` holds what is given: latents where they are known (their values elsewhere don't
    matter), masks, references and the prompt's features; `negative` the negative prompt's.
    """

    objective: Objective
    batch: Batch
    negative: TextFeatures


@dataclass(frozen=True)
class _Side:
    """One modality during sampling, on the model's device. `clean` [B, T, C]; `keep` [B, T] bool, 1 = given clean."""

    generated: bool
    clean: Tensor
    keep: Tensor
    reference: Tensor | None
    positions: Tensor

    def model_input(self, x: Tensor, sigma: Tensor, context: Tensor, mask: Tensor | None) -> ModalityInput:
        """Tokens [B, R+T, C] and their timesteps at the level `sigma` [B]; given tokens are at 0."""
        timesteps = torch.where(self.keep, 0.0, sigma[:, None])
        if self.reference is not None:
            x = torch.cat([self.reference, x], dim=1)
            timesteps = torch.cat([timesteps.new_zeros(self.reference.shape[:2]), timesteps], dim=1)
        level = sigma if self.generated else torch.zeros_like(sigma)
        return ModalityInput(x, timesteps, level, self.positions, context, mask)


def draw_noise(inputs: SampleInputs, seed: int) -> dict[str, Tensor]:
    """Noise [B, T, C] of each generated modality, from the seed alone: drawn on the CPU, equal on every machine.

    Each modality has a generator of its own, so that its picture doesn't change when the other one comes or goes.
    """
    noise: dict[str, Tensor] = {}
    for number, name in enumerate(MODALITIES):
        side = inputs.batch.modality(name)
        if side is not None and inputs.objective.modality(name).generated:
            generator = torch.Generator().manual_seed(seed * len(MODALITIES) + number)
            noise[name] = torch.randn(to_tokens(side.latents).shape, generator=generator)
    return noise


@torch.no_grad()
def denoise(
    model: LtxModel,
    connectors: Any,
    inputs: SampleInputs,
    guidance: Guidance,
    sigmas: Sequence[float],
    noise: dict[str, Tensor],
    report: StepReport | None = None,
) -> dict[ModalityName, Tensor]:
    """Return the latents ([B, C, F, H, W] video, [B, C, T, M] audio) of each modality present, in float32 on the CPU.

    `sigmas` are the levels from 1 to 0. What isn't generated comes back as it was given.
    """
    sides = {name: _side(model, name, inputs) for name in MODALITIES}
    contexts = _contexts(connectors, inputs, model.device, guidance)
    batch = len(inputs.batch)
    x = {
        name: torch.where(side.keep[..., None], side.clean, noise[name].to(side.clean))
        if side.generated
        else side.clean
        for name, side in sides.items()
        if side is not None
    }
    calls = _calls(guidance, sides)
    for index, (sigma, following) in enumerate(itertools.pairwise(sigmas)):
        level = torch.full((batch,), sigma, dtype=torch.float32, device=model.device)
        predictions: dict[str, dict[str, Tensor]] = {}
        given_by_text = {
            text: {
                name: side.model_input(x[name], level, context[name], mask) if side is not None else None
                for name, side in sides.items()
            }
            for text, (context, mask) in contexts.items()
        }
        for call, options in calls.items():
            given = given_by_text["negative" if call == "negative" else "conditional"]
            velocities = dict(zip(MODALITIES, model(given["video"], given["audio"], **options), strict=True))
            predictions[call] = {
                # the level stands for all tokens, given ones included, as in diffusers; those are replaced below
                name: _with_reference(side, x[name]) - sigma * velocity.float()
                for name, side in sides.items()
                if side is not None and side.generated and (velocity := velocities[name]) is not None
            }
        for name, side in sides.items():
            if side is None or not side.generated:
                continue
            of = {call: made[name] for call, made in predictions.items()}
            scales = guidance.of(name)
            clean = guided(scales, of["conditional"], of.get("negative"), of.get("perturbed"), of.get("isolated"))
            clean = torch.where(side.keep[..., None], side.clean, clean[:, -x[name].shape[1] :])
            x[name] = x[name] + (following - sigma) * ((x[name] - clean) / sigma)
        if report is not None:
            report(index + 1, len(sigmas) - 1)
    return {name: _latents(x[name], name, inputs) for name in MODALITIES if name in x}


def _calls(guidance: Guidance, sides: dict[ModalityName, _Side | None]) -> dict[str, dict[str, Any]]:
    """The transformer calls of a step by name, with their options; a call that pulls on nothing is not made."""
    scales = [guidance.of(name) for name, side in sides.items() if side is not None and side.generated]
    calls: dict[str, dict[str, Any]] = {"conditional": {}}
    if any(scale.cfg != 1 for scale in scales):
        calls["negative"] = {}
    if any(scale.stg > 0 for scale in scales):
        calls["perturbed"] = {"stg_blocks": list(guidance.stg_blocks)}
    if all(sides.values()) and any(scale.modality != 1 for scale in scales):
        calls["isolated"] = {"isolate_modalities": True}
    return calls


def _contexts(
    connectors: Any, inputs: SampleInputs, device: torch.device, guidance: Guidance
) -> dict[str, tuple[dict[str, Tensor], Tensor | None]]:
    present = tuple(name for name in MODALITIES if inputs.objective.modality(name).present)
    batch = inputs.batch
    features = {"conditional": TextFeatures(batch.video_features, batch.audio_features, batch.text_mask)}
    if any(guidance.of(name).cfg != 1 for name in present):
        features["negative"] = inputs.negative
    found: dict[str, tuple[dict[str, Tensor], Tensor | None]] = {}
    for name, feature in features.items():
        context = connect(connectors, feature.to(device), present)
        found[name] = ({side: getattr(context, side) for side in present}, context.mask)
    return found


def _side(model: LtxModel, name: ModalityName, inputs: SampleInputs) -> _Side | None:
    role, given = inputs.objective.modality(name), inputs.batch.modality(name)
    if not role.present:
        return None
    assert given is not None, f"the sample lacks the {name} of its objective"
    clean = to_tokens(given.latents.float()).contiguous()
    batch, device = len(clean), model.device
    if name == "video":
        assert given.frame_rate is not None
        positions = model.video_positions((given.grid[0], given.grid[1], given.grid[2]), given.frame_rate)
    else:
        positions = model.audio_positions(batch, given.grid[0], clean.device)
    # all of a frozen modality is given; its conditions are references, which stand before it
    state = Conditioned(torch.full((batch, given.tokens), not role.generated, dtype=torch.bool))
    always = torch.ones(batch, dtype=torch.bool)
    for condition in role.conditions:
        state = CONDITIONS[condition.type](state, condition, given, always, model)
    reference = state.reference
    if reference is not None and state.reference_positions is not None:
        positions = torch.cat([state.reference_positions, positions], dim=2)
        reference = reference.float().to(device)
    return _Side(role.generated, clean.to(device), state.keep.to(device), reference, positions.to(device))


def _with_reference(side: _Side, x: Tensor) -> Tensor:
    return x if side.reference is None else torch.cat([side.reference, x], dim=1)


def _latents(tokens: Tensor, name: ModalityName, inputs: SampleInputs) -> Tensor:
    side = inputs.batch.modality(name)
    assert side is not None
    return from_tokens(tokens.float().cpu(), side.grid, side.latents.shape[1])
