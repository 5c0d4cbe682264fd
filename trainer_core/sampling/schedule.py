"""The noise levels a sampler walks down, and what each LTX version samples with unless somebody says otherwise.

Source: the official LTX trainer's validation sampler and diffusers' FlowMatchEulerDiscreteScheduler (time shift,
stretch to the terminal value); the distilled levels are diffusers' DISTILLED_SIGMA_VALUES.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer_core.errors import ConfigError

if TYPE_CHECKING:  # drafting reads the defaults below, and loads no torch
    from trainer_core.model.source import Version

_SHIFT_AT_1024, _SHIFT_AT_4096 = 0.95, 2.05
SHIFT_TOKENS = 4096
"""Upstream shifts every sample as one of 4096 tokens; diffusers shifts by the sample's own token count."""
_TERMINAL = 0.1
DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)


@dataclass(frozen=True)
class VersionDefaults:
    """Steps and the transformer blocks that spatio-temporal guidance perturbs."""

    inference_steps: int
    stg_blocks: tuple[int, ...]


VERSION_DEFAULTS: "dict[Version, VersionDefaults]" = {
    "2.0": VersionDefaults(40, (29,)),
    "2.3": VersionDefaults(30, (28,)),
    "2.5": VersionDefaults(30, (28,)),
}


def dev_sigmas(steps: int, tokens: int = SHIFT_TOKENS) -> tuple[float, ...]:
    """Return `steps` + 1 levels from 1 to 0 for a base (dev) model: linear, shifted, the last but one at 0.1.

    The shift is exp(mu) / (exp(mu) + 1/sigma - 1) with mu linear in `tokens` through (1024, 0.95) and (4096, 2.05).
    Raises ConfigError for fewer than two steps: the stretch needs a last level below 1.
    """
    if steps < 2:
        raise ConfigError(f"inference_steps {steps} is too few for this schedule.", "Use at least 2.")
    mu = _SHIFT_AT_1024 + (tokens - 1024) * (_SHIFT_AT_4096 - _SHIFT_AT_1024) / (4096 - 1024)
    linear = [1 - index * (1 - 1 / steps) / (steps - 1) for index in range(steps)]
    shifted = [math.exp(mu) / (math.exp(mu) + 1 / sigma - 1) for sigma in linear]
    stretch = (1 - shifted[-1]) / (1 - _TERMINAL)
    return (*(1 - (1 - sigma) / stretch for sigma in shifted), 0.0)
