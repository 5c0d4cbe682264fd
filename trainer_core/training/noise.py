"""Noise levels of samples: the sigma samplers of flow matching.

B samples. Source of the formulas: the official LTX trainer's timestep samplers (ARCHITECTURE.md, "Formulas").
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer_core.errors import ConfigError
from trainer_core.objective import ModalityName
from trainer_core.sections.own import NoiseSection
from trainer_core.sections.run import FlowMatchingSection

# The 99.9th and the 0.5th percentile of the standard normal: the logit-normal is stretched so that they become 1 and 0.
_UPPER_Z, _LOWER_Z = 3.0902, 2.5758
# mu grows linearly with the token count through (1024, 0.95) and (4096, 2.05).
_MU_AT_1024, _MU_GROWTH = 0.95, 1.1 / 3072


def shifted_logit_normal(
    tokens: int, generator: torch.Generator, *, std: float = 1.0, eps: float = 1e-3, uniform_prob: float = 0.1
) -> float:
    """One sigma in [0, 1], nearer to noise the more target `tokens` the modality has; with `uniform_prob` uniform."""
    mu = _MU_AT_1024 + (tokens - 1024) * _MU_GROWTH
    normal = torch.randn((), generator=generator, dtype=torch.float64).item()
    chance, uniform = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    if chance < uniform_prob:
        return eps + (1 - eps) * uniform
    high, low = _sigmoid(mu + _UPPER_Z * std), _sigmoid(mu - _LOWER_Z * std)
    stretched = (_sigmoid(mu + std * normal) - low) / (high - low)
    if stretched < eps:
        stretched = 2 * eps - stretched
    return min(max(stretched, 0.0), 1.0)


def uniform(
    _tokens: int,
    generator: torch.Generator,
    *,
    min_value: float = 0.0,
    max_value: float = 1.0,
) -> float:
    """One sigma uniform in [min_value, max_value], whatever the token count."""
    return min_value + (max_value - min_value) * torch.rand((), generator=generator, dtype=torch.float64).item()


def logit_normal(
    _tokens: int,
    generator: torch.Generator,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> float:
    """One sigma whose logit is normal, whatever the token count.

    Source: Esser et al. 2024, "Scaling Rectified Flow Transformers", section 3.1.
    """
    return _sigmoid(mean + std * torch.randn((), generator=generator, dtype=torch.float64).item())


def shifted(sigma: float, shift: float) -> float:
    """`sigma` moved towards noise (`shift` above 1) or towards the clean end (below 1); 0 and 1 stay.

    Source: the same, equation 23, its ratio of square roots of token counts given as `shift`.
    """
    return shift * sigma / (1 + (shift - 1) * sigma)


SIGMA_SAMPLERS: dict[str, Callable[..., float]] = {
    "shifted_logit_normal": shifted_logit_normal,
    "logit_normal": logit_normal,
    "uniform": uniform,
}
_RANGES: dict[str, tuple[float, float]] = {
    "mean": (-10.0, 10.0),
    "std": (0.01, 10.0),
    "eps": (0.0, 0.5),
    "uniform_prob": (0.0, 1.0),
    "min_value": (0.0, 1.0),
    "max_value": (0.0, 1.0),
}
SigmaSampler = Callable[[int, torch.Generator], float]


def sigma_samplers(section: FlowMatchingSection, own: NoiseSection) -> dict[ModalityName, SigmaSampler]:
    """Return the sampler of each modality: our own mode before upstream's, then the modality's shift.

    Raises ConfigError for a parameter that the mode doesn't have.
    """
    base = sigma_sampler(section.timestep_sampling_mode, section.timestep_sampling_params)
    if own.sampling_mode is not None:
        base = sigma_sampler(own.sampling_mode, {"mean": own.mean, "std": own.std})
    return {"video": _moved(base, own.video_shift), "audio": _moved(base, own.audio_shift)}


def sigma_sampler(mode: str, params: dict[str, Any]) -> SigmaSampler:
    """Return the sampler that the YAML names. Raises ConfigError for a parameter it doesn't have."""
    sampler = SIGMA_SAMPLERS[mode]
    known = {name: p.default for name, p in inspect.signature(sampler).parameters.items() if p.kind is p.KEYWORD_ONLY}
    for name in params:
        if name not in known:
            raise ConfigError(
                f"flow_matching.timestep_sampling_params: `{name}` is not a parameter of {mode}.",
                f"It has: {', '.join(known)}.",
            )
    for name, value in params.items():
        least, most = _RANGES[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ConfigError(
                f"flow_matching.timestep_sampling_params: {name} is {value!r}.", f"Use a number from {least} to {most}."
            )
    given = {**known, **params}
    if mode == "uniform" and given["min_value"] > given["max_value"]:
        raise ConfigError(
            f"flow_matching.timestep_sampling_params: min_value {given['min_value']} exceeds max_value "
            f"{given['max_value']}.",
            "Swap them.",
        )
    return lambda tokens, generator: sampler(tokens, generator, **params)


def _moved(sampler: SigmaSampler, shift: float) -> SigmaSampler:
    if shift == 1.0:
        return sampler
    return lambda tokens, generator: shifted(sampler(tokens, generator), shift)


def noised(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_t = (1 - sigma)·x0 + sigma·noise; `sigma` broadcasts against `clean`."""
    return torch.lerp(clean, noise, sigma)


def velocity_target(clean: Tensor, noise: Tensor) -> Tensor:
    """Return the target that the model learns to predict: noise - x0."""
    return noise - clean


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
