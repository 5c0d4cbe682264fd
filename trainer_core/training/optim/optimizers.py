"""Optimizers and learning-rate schedules by the names of the YAML, with our warm-up in front."""

import contextlib
import io
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from trainer_core.errors import ConfigError
from trainer_core.optimizer_names import PRODIGY_SLICE, MasterWeights, OptimizerName
from trainer_core.sections.run import OptimizationSection
from trainer_core.training.optim.fused import FusedOptimizer

logger = logging.getLogger(__name__)
WEIGHT_DECAY = 1e-2
"""Of every optimizer: torch's AdamW has it by default."""
_END_OF_LINEAR = 0.1  # upstream's linear schedule ends at a tenth of the learning rate
END_OF_RESTARTS = 5e-5
"""Upstream's `eta_min` of `cosine_with_restarts`: where each of its cosines ends, whatever the learning rate."""


def build_optimizer(
    section: OptimizationSection,
    parameters: list[nn.Parameter],
    *,
    fused: bool = False,
    master_weights: MasterWeights = "float32",
    seed: int = 0,
) -> Optimizer:
    """Return the optimizer that the YAML names; `fused` updates in the backward pass.

    For bf16 weights `master_weights` decides: float24 and stochastic bring an AdamW of their own, which draws from
    `seed`. Raises ConfigError when a library is missing.
    """
    builder = _MASTER_BUILDERS.get(master_weights, _BUILDERS[section.optimizer_type])
    try:
        if fused:
            number = itertools.count()
            return FusedOptimizer(
                parameters,
                section.learning_rate,
                lambda one: builder(one, _Options(section.learning_rate, seed, next(number))),
            )
        return builder(parameters, _Options(section.learning_rate, seed))
    except ImportError as error:
        package = (error.name or "").partition(".")[0].replace("_", "-") or str(error)
        raise ConfigError(
            f"optimizer_type {section.optimizer_type} with master_weights {master_weights} needs the package "
            f"{package}, which is not installed.",
            f"Run `pip install {package}`, or set optimizer_type: adamw.",
        ) from error


@dataclass(frozen=True)
class _Options:
    """`first_index`: the place of the first parameter among all that train."""

    learning_rate: float
    seed: int
    first_index: int = 0


def _adamw(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    return torch.optim.AdamW(parameters, lr=options.learning_rate)


def _adamw8bit(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    from bitsandbytes.optim import AdamW8bit

    optimizer: Optimizer = AdamW8bit(parameters, lr=options.learning_rate)
    return optimizer


def _adafactor(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    from pytorch_optimizer import AdaFactor

    # the learning rate is taken as it is given, and no momentum is kept
    return AdaFactor(
        parameters,
        lr=options.learning_rate,
        betas=(None, 0.999),
        scale_parameter=False,
        relative_step=False,
        weight_decay=WEIGHT_DECAY,
    )


def _lion(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    from pytorch_optimizer import Lion

    return Lion(parameters, lr=options.learning_rate, weight_decay=WEIGHT_DECAY)


def _came(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    from pytorch_optimizer import CAME

    return CAME(parameters, lr=options.learning_rate, weight_decay=WEIGHT_DECAY)


def _prodigy(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    from prodigyopt import Prodigy

    # bias correction and the guarded warm-up are its authors' advice for diffusion models
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that weight decay is decoupled
        return Prodigy(
            parameters,
            lr=options.learning_rate,
            weight_decay=WEIGHT_DECAY,
            use_bias_correction=True,
            safeguard_warmup=True,
            slice_p=PRODIGY_SLICE,
        )


def _schedule_free_adamw(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    from pytorch_optimizer import ScheduleFreeAdamW

    return ScheduleFreeAdamW(parameters, lr=options.learning_rate, weight_decay=WEIGHT_DECAY)


def _float24(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    from trainer_core.training.optim.rounded import float24_adamw

    return float24_adamw(parameters, options.learning_rate, WEIGHT_DECAY)


def _stochastic(parameters: list[nn.Parameter], options: _Options) -> Optimizer:
    from trainer_core.training.optim.rounded import StochasticAdamW

    return StochasticAdamW(
        parameters, options.learning_rate, WEIGHT_DECAY, seed=options.seed, first_index=options.first_index
    )


_Builder = Callable[[list[nn.Parameter], _Options], Optimizer]
_BUILDERS: dict[OptimizerName, _Builder] = {
    "adamw": _adamw,
    "adamw8bit": _adamw8bit,
    "adafactor": _adafactor,
    "lion": _lion,
    "came": _came,
    "prodigy": _prodigy,
    "schedule_free_adamw": _schedule_free_adamw,
}
_MASTER_BUILDERS: dict[MasterWeights, _Builder] = {"float24": _float24, "stochastic": _stochastic}


@contextlib.contextmanager
def finished_weights(optimizer: Optimizer) -> Iterator[None]:
    """Put the weights that `optimizer` would hand out into the model for a while: a schedule-free one's averages.

    The trained ones come back bit for bit, which its own train() doesn't promise.
    """
    if not any("train_mode" in group for group in optimizer.param_groups):
        yield
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with torch.no_grad():
        trained = [parameter.detach().clone() for parameter in parameters]
        optimizer.eval()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weight in zip(parameters, trained, strict=True):
                parameter.copy_(weight)
        for group in optimizer.param_groups:
            group["train_mode"] = True


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


def _constant(optimizer: Optimizer, _steps: int, params: dict[str, Any]) -> LRScheduler:
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
