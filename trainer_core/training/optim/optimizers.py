"""Optimizers and learning-rate schedules under upstream's names, with our warm-up in front."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from trainer_core.errors import ConfigError
from trainer_core.sections.run import OptimizationSection
from trainer_core.training.optim.fused import FusedOptimizer

logger = logging.getLogger(__name__)
_END_OF_LINEAR = 0.1  # upstream's linear schedule ends at a tenth of the learning rate
END_OF_RESTARTS = 5e-5
"""Upstream's `eta_min` of `cosine_with_restarts`: where each of its cosines ends, whatever the learning rate."""


def build_optimizer(section: OptimizationSection, parameters: list[nn.Parameter], *, fused: bool = False) -> Optimizer:
    """Return the optimizer that the YAML names; `fused` updates in the backward pass.

    Raises ConfigError when its library is missing.
    """
    if fused:
        return FusedOptimizer(parameters, section.learning_rate, lambda one: build_optimizer(section, one))
    if section.optimizer_type == "adamw":
        return torch.optim.AdamW(parameters, lr=section.learning_rate)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ConfigError(
            "optimizer_type adamw8bit needs the package bitsandbytes, which is not installed.",
            "Run `pip install bitsandbytes`, or set optimizer_type: adamw.",
        ) from error
    optimizer: Optimizer = AdamW8bit(parameters, lr=section.learning_rate)
    return optimizer


def build_schedule(section: OptimizationSection, optimizer: Optimizer, warmup_steps: int) -> LRScheduler:
    """Return the schedule, in optimizer steps, after a linear warm-up. Raises ConfigError for unknown params."""
    try:
        # on a throwaway optimizer first: some wrong values show only when the schedule moves
        trial = _schedule(
            section, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=section.learning_rate), warmup_steps
        )
        for _ in range(warmup_steps + 2):
            trial.optimizer.step()
            trial.step()
        if section.scheduler_type == "cosine_with_restarts":
            _tell_of_rising(section)
        return _schedule(section, optimizer, warmup_steps)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"optimization.scheduler_params {section.scheduler_params} don't fit {section.scheduler_type}: {error}.",
            "Correct or remove them.",
        ) from error


def _tell_of_rising(section: OptimizationSection) -> None:
    """Log that the schedule rises: its end is upstream's, which a small learning rate lies below."""
    end = float(section.scheduler_params.get("eta_min", END_OF_RESTARTS))
    if section.learning_rate < end:
        logger.warning(
            "cosine_with_restarts ends each cosine at %g, above the learning rate %g: it rises. Set "
            "optimization.scheduler_params: {eta_min: 0} to fall to 0.",
            end,
            section.learning_rate,
        )


def _schedule(section: OptimizationSection, optimizer: Optimizer, warmup_steps: int) -> LRScheduler:
    steps = max(section.steps - warmup_steps, 1)
    schedule = _SCHEDULES[section.scheduler_type](optimizer, steps, dict(section.scheduler_params))
    if not warmup_steps:
        return schedule
    warmup = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup_steps + 1), total_iters=warmup_steps)
    return lr_scheduler.SequentialLR(optimizer, [warmup, schedule], milestones=[warmup_steps])


def _linear(optimizer: Optimizer, steps: int, params: dict[str, Any]) -> LRScheduler:
    return lr_scheduler.LinearLR(
        optimizer, **{"start_factor": 1.0, "end_factor": _END_OF_LINEAR, "total_iters": steps, **params}
    )


def _constant(optimizer: Optimizer, steps: int, params: dict[str, Any]) -> LRScheduler:  # noqa: ARG001
    return lr_scheduler.ConstantLR(optimizer, **{"factor": 1.0, "total_iters": 0, **params})


def _cosine(optimizer: Optimizer, steps: int, params: dict[str, Any]) -> LRScheduler:
    return lr_scheduler.CosineAnnealingLR(optimizer, **{"T_max": steps, "eta_min": 0.0, **params})


def _cosine_with_restarts(optimizer: Optimizer, steps: int, params: dict[str, Any]) -> LRScheduler:
    first = {"T_0": max(steps // 4, 1), "eta_min": END_OF_RESTARTS}
    return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, **{**first, **params})


def _polynomial(optimizer: Optimizer, steps: int, params: dict[str, Any]) -> LRScheduler:
    return lr_scheduler.PolynomialLR(optimizer, **{"total_iters": steps, "power": 1.0, **params})


def _step(optimizer: Optimizer, steps: int, params: dict[str, Any]) -> LRScheduler:
    return lr_scheduler.StepLR(optimizer, **{"step_size": max(steps // 2, 1), "gamma": 0.1, **params})


_SCHEDULES: dict[str, Callable[[Optimizer, int, dict[str, Any]], LRScheduler]] = {
    "linear": _linear,
    "constant": _constant,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "polynomial": _polynomial,
    "step": _step,
}
