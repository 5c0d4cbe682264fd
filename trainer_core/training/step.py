"""One training step without its optimizer: batch and draws to the per-sample loss of each modality.

B samples, T target tokens, R reference tokens, C channels as tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainer_core.data.batch import Batch, ModalityBatch, to_tokens
from trainer_core.errors import DataError
from trainer_core.model.ltx import LtxModel, ModalityInput
from trainer_core.model.text import TextContext
from trainer_core.objective import ModalityName, ModalityObjective, Objective
from trainer_core.training.conditions import CONDITIONS, PER_BATCH, Conditioned
from trainer_core.training.noise import SigmaSampler, noised, velocity_target
from trainer_core.training.text_contexts import text_context

MODALITIES: tuple[ModalityName, ...] = ("video", "audio")


@dataclass(frozen=True)
class Draws:
    """All that is random in a step: per modality sigma [B] and noise [B, T, C]; who gets a condition, [B] bool, by
    modality and the condition's place in its list."""

    sigma: dict[str, Tensor] = field(default_factory=dict)
    noise: dict[str, Tensor] = field(default_factory=dict)
    applied: dict[tuple[str, int], Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StepLoss:
    """Per-sample losses [B] and the sigmas [B] they were measured at; None for a modality that is not generated."""

    video: Tensor | None
    audio: Tensor | None
    sigma_video: Tensor | None
    sigma_audio: Tensor | None

    @property
    def total(self) -> Tensor:
        """Video and audio losses summed, averaged over the samples: what is differentiated."""
        if self.video is None or self.audio is None:
            alone = self.audio if self.video is None else self.video
            assert alone is not None, "a step generates a modality"
            return alone.mean()
        return (self.video + self.audio).mean()


@dataclass(frozen=True)
class PreparedModality:
    """One modality ready for the model, still on the CPU: tokens with references, target and loss mask.

    `target` [B, T, C], None when the modality is frozen; `trained` [B, T], 1 where the loss counts, None where it
    counts everywhere.
    """

    tokens: Tensor
    timesteps: Tensor
    sigma: Tensor
    positions: Tensor
    target: Tensor | None
    trained: Tensor | None


@dataclass(frozen=True)
class StepInput:
    """A batch ready for the model, still on the CPU, with the sigmas [B] that it was noised at."""

    batch: Batch
    prepared: dict[ModalityName, PreparedModality | None]
    sigma_video: Tensor | None
    sigma_audio: Tensor | None


def draw(
    batch: Batch,
    objective: Objective,
    sampler: SigmaSampler | Mapping[ModalityName, SigmaSampler],
    generator: torch.Generator | Sequence[torch.Generator],
) -> Draws:
    """Draw sigma, noise and conditions of a batch, from one generator or from one for each sample; sigma from one
    sampler or from one for each modality."""
    generators = [generator] * len(batch) if isinstance(generator, torch.Generator) else list(generator)
    assert len(generators) == len(batch), "one generator for each sample"
    draws = Draws()
    for name in MODALITIES:
        side, role = batch.modality(name), objective.modality(name)
        if side is None or not role.present:
            continue
        if role.generated:
            one_sigma = sampler[name] if isinstance(sampler, Mapping) else sampler
            sigmas = [one_sigma(side.tokens, one) for one in generators]
            draws.sigma[name] = torch.tensor(sigmas, dtype=torch.float32)
            draws.noise[name] = torch.empty(len(batch), side.tokens, side.width)
            for noise, one in zip(draws.noise[name], generators, strict=True):
                noise.normal_(generator=one)
        for place, condition in enumerate(role.conditions):
            chances = torch.stack([torch.rand((), generator=one) for one in generators])
            applied = chances < condition.probability
            draws.applied[name, place] = applied[:1].expand(len(batch)) if condition.type in PER_BATCH else applied
    return draws


def training_step(
    model: LtxModel,
    connectors: Any,
    batch: Batch,
    objective: Objective,
    *,
    draws: Draws | None = None,
    sampler: SigmaSampler | Mapping[ModalityName, SigmaSampler] | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
) -> StepLoss:
    """Return the per-sample losses of a batch, from given `draws` or from `sampler` and `generator`."""
    if draws is None:
        assert sampler is not None and generator is not None, "give draws, or a sampler with a generator"  # noqa: PT018
        draws = draw(batch, objective, sampler, generator)
    return losses_of(model, connectors, step_input(model, batch, objective, draws))


def step_input(model: LtxModel, batch: Batch, objective: Objective, draws: Draws) -> StepInput:
    """Noise a batch and apply its conditions: all of a step that needs no weights, so that it can be done ahead."""
    return StepInput(
        batch=batch,
        prepared={name: prepare_modality(model, name, batch, objective, draws) for name in MODALITIES},
        sigma_video=draws.sigma.get("video"),
        sigma_audio=draws.sigma.get("audio"),
    )


def losses_of(model: LtxModel, connectors: Any, inputs: StepInput) -> StepLoss:
    """The per-sample losses of a prepared batch."""
    present = tuple(name for name in MODALITIES if inputs.prepared[name] is not None)
    context = text_context(connectors, inputs.batch, present, model.device)
    return losses_from(inputs, *predict(model, context, inputs))


def predict(model: LtxModel, context: TextContext, inputs: StepInput) -> tuple[Tensor | None, Tensor | None]:
    """The velocities ([B, R + T, C] or None, for video and audio) of a prepared batch on a given text context."""
    video, audio = inputs.prepared["video"], inputs.prepared["audio"]
    return model(
        model_input(video, context.video, context.mask, model.device),
        model_input(audio, context.audio, context.mask, model.device),
    )


def losses_from(inputs: StepInput, video: Tensor | None, audio: Tensor | None) -> StepLoss:
    """The per-sample losses of what `predict` returned."""
    return StepLoss(
        video=_loss(video, inputs.prepared["video"]),
        audio=_loss(audio, inputs.prepared["audio"]),
        sigma_video=inputs.sigma_video,
        sigma_audio=inputs.sigma_audio,
    )


def prepare_modality(
    model: LtxModel, name: ModalityName, batch: Batch, objective: Objective, draws: Draws
) -> PreparedModality | None:
    """Noise one modality and apply its conditions; None when it is absent."""
    role, side = objective.modality(name), batch.modality(name)
    if not role.present:
        return None
    assert side is not None, f"the batch lacks the {name} of its objective"
    clean = to_tokens(side.latents.float()).contiguous()
    if name == "video":
        assert side.frame_rate is not None
        positions = model.video_positions((side.grid[0], side.grid[1], side.grid[2]), side.frame_rate)
    else:
        positions = model.audio_positions(len(batch), side.grid[0], clean.device)
    if not role.generated:
        conditioned = _conditions(model, name, role, side, draws, len(batch))
        zeros = torch.zeros(clean.shape[:2])
        tokens, timesteps, positions = _with_references(conditioned, clean, zeros, positions)
        return PreparedModality(tokens, timesteps, zeros[:, 0], positions, None, None)
    sigma, noise = draws.sigma[name], draws.noise[name]
    if not role.conditions:
        timesteps = sigma[:, None].repeat(1, side.tokens)
        tokens = noised(clean, noise, sigma[:, None, None])
        return PreparedModality(tokens, timesteps, sigma, positions, velocity_target(clean, noise), None)
    conditioned = _conditions(model, name, role, side, draws, len(batch))
    _refuse_untrainable(batch, name, conditioned.keep)
    timesteps = torch.where(conditioned.keep, 0.0, sigma[:, None])
    tokens = noised(clean, noise, timesteps[..., None])
    tokens, timesteps, positions = _with_references(conditioned, tokens, timesteps, positions)
    return PreparedModality(
        tokens, timesteps, sigma, positions, velocity_target(clean, noise), (~conditioned.keep).float()
    )


def masked_mse(predicted: Tensor, target: Tensor, trained: Tensor | None) -> Tensor:
    """Mean squared error [B] over the tokens where `trained` [B, T] is 1: masked mean over the mask's own mean.

    Without `trained` over all of them.
    """
    if trained is None and len(target) == 1:  # the usual batch, without a tensor as large as the target in between
        return torch.nn.functional.mse_loss(predicted.float(), target)[None]
    squared = torch.nn.functional.mse_loss(predicted.float(), target, reduction="none")
    if trained is None:
        return squared.flatten(1).mean(dim=1)
    return (squared.mean(dim=-1) * trained).mean(dim=1) / trained.mean(dim=1)


def _conditions(
    model: LtxModel, name: ModalityName, role: ModalityObjective, side: ModalityBatch, draws: Draws, batch: int
) -> Conditioned:
    state = Conditioned(torch.zeros(batch, side.tokens, dtype=torch.bool))
    for place, condition in enumerate(role.conditions):
        state = CONDITIONS[condition.type](state, condition, side, draws.applied[name, place], model)
    return state


def _with_references(
    conditioned: Conditioned, tokens: Tensor, timesteps: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B, R + T, C], timesteps [B, R + T] and positions with the clean references before them, if there are."""
    if conditioned.reference is None or conditioned.reference_positions is None:
        return tokens, timesteps, positions
    return (
        torch.cat([conditioned.reference.float(), tokens], dim=1),
        torch.cat([torch.zeros(conditioned.reference.shape[:2]), timesteps], dim=1),
        torch.cat([conditioned.reference_positions, positions], dim=2),
    )


def _refuse_untrainable(batch: Batch, name: ModalityName, keep: Tensor) -> None:
    full = keep.all(dim=1)
    if bool(full.any()):
        clip = batch.clips[int(full.int().argmax())]
        raise DataError(
            f"The conditions on {name} keep all {keep.shape[1]} tokens of {clip}: nothing is left to train on.",
            "Give it a mask with some 0 (generate), or a shorter prefix, suffix or region.",
        )


def model_input(
    prepared: PreparedModality | None, context: Tensor | None, mask: Tensor | None, device: torch.device
) -> ModalityInput | None:
    """Put a prepared modality on the model's device, with its text context; None when it is absent."""
    if prepared is None or context is None:
        return None
    tokens, timesteps, sigma, positions = (
        tensor.to(device, non_blocking=True)
        for tensor in (prepared.tokens, prepared.timesteps, prepared.sigma, prepared.positions)
    )
    return ModalityInput(tokens, timesteps, sigma, positions, context, mask)


def _loss(predicted: Tensor | None, prepared: PreparedModality | None) -> Tensor | None:
    if predicted is None or prepared is None or prepared.target is None:
        return None
    target = prepared.target.to(predicted.device, non_blocking=True)
    trained = None if prepared.trained is None else prepared.trained.to(predicted.device, non_blocking=True)
    if predicted.shape[1] > target.shape[1]:  # reference tokens stand before the target's
        predicted = predicted[:, -target.shape[1] :]
    return masked_mse(predicted, target, trained)
