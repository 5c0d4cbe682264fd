"""The sigma samplers against their formulas, term by term, and against quantiles simulated on upstream's."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainer_core.errors import ConfigError
from trainer_core.sections.own import NoiseSection
from trainer_core.sections.run import FlowMatchingSection
from trainer_core.training.noise import (
    logit_normal,
    noised,
    shifted,
    shifted_logit_normal,
    sigma_sampler,
    sigma_samplers,
    uniform,
    velocity_target,
)

DRAWS = 2000


def _sigmoid(x: np.ndarray | float) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))


def _reference(
    tokens: int,
    normal: np.ndarray,
    chance: np.ndarray,
    position: np.ndarray,
    *,
    std: float = 1.0,
    eps: float = 1e-3,
    uniform_prob: float = 0.1,
    mu_at_1024: float = 0.95,
    mu_at_4096: float = 2.05,
    clamp_mu: bool = False,
    upper_z: float = 3.0902,
    lower_z: float = 2.5758,
    stretch: bool = True,
    reflect: bool = True,
) -> np.ndarray:
    """The published formula, vectorised, each term an argument so that a test can change it."""
    slope = (mu_at_4096 - mu_at_1024) / 3072
    length = max(tokens, 1024) if clamp_mu else tokens
    mu = mu_at_1024 + (length - 1024) * slope
    drawn = _sigmoid(mu + std * normal)
    if stretch:
        high, low = _sigmoid(mu + upper_z * std), _sigmoid(mu - lower_z * std)
        drawn = (drawn - low) / (high - low)
    if reflect:
        drawn = np.where(drawn < eps, 2 * eps - drawn, drawn)
    drawn = np.clip(drawn, 0.0, 1.0)
    return np.where(chance < uniform_prob, eps + (1 - eps) * position, drawn)


def _same_draws(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the sampler draws from a generator of this seed: a normal number, then a chance and a position in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    rows = [
        (
            torch.randn((), generator=generator, dtype=torch.float64),
            *torch.rand(2, generator=generator, dtype=torch.float64),
        )
        for _ in range(count)
    ]
    normal, chance, position = (np.array([float(row[column]) for row in rows]) for column in range(3))
    return normal, chance, position


def _sampled(tokens: int, seed: int, count: int, **params: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return np.array([shifted_logit_normal(tokens, generator, **params) for _ in range(count)])


@pytest.mark.parametrize("params", [{}, {"std": 0.7, "eps": 0.05, "uniform_prob": 0.0}, {"uniform_prob": 1.0}])
@pytest.mark.parametrize("tokens", [1, 64, 1024, 4096, 12000])
def test_the_sampler_is_the_formula(tokens: int, params: dict[str, Any]) -> None:
    sigmas = _sampled(tokens, 5, DRAWS, **params)
    np.testing.assert_allclose(sigmas, _reference(tokens, *_same_draws(5, DRAWS), **params), rtol=0, atol=1e-12)
    assert sigmas.min() >= 0.0
    assert sigmas.max() <= 1.0


@pytest.mark.parametrize(
    ("tokens", "changed"),
    [
        (4096, {"mu_at_4096": 2.06}),
        (1024, {"mu_at_1024": 0.96}),
        (256, {"clamp_mu": True}),
        (1024, {"upper_z": 3.0}),
        (1024, {"lower_z": 2.5}),
        (1024, {"stretch": False}),
        (1024, {"reflect": False}),
        (1024, {"eps": 2e-3}),
        (1024, {"uniform_prob": 0.11}),
        (1024, {"std": 1.01}),
    ],
)
def test_a_change_of_any_one_term_would_show(tokens: int, changed: dict[str, Any]) -> None:
    count = 6000  # the reflection at eps concerns one draw in two hundred
    difference = np.abs(_sampled(tokens, 11, count) - _reference(tokens, *_same_draws(11, count), **changed))
    assert difference.max() > 1e-4


# mean; 5 %, 25 %, 50 %, 75 % and 95 % quantiles as simulated on upstream's sampler
PUBLISHED = {
    1024: (0.625, (0.168, 0.468, 0.668, 0.817, 0.938)),
    4096: (0.743, (0.259, 0.645, 0.811, 0.905, 0.970)),
}


@pytest.mark.parametrize("tokens", sorted(PUBLISHED))
def test_mean_and_quantiles_are_the_published_ones(tokens: int) -> None:
    mean, quantiles = PUBLISHED[tokens]
    count = 20_000
    sigmas = _sampled(tokens, 2, count)
    rounding = 0.0015  # the published figures have three digits and are simulated themselves
    assert abs(sigmas.mean() - mean) < rounding + 4 * sigmas.std() / math.sqrt(count)
    for share, published in zip((0.05, 0.25, 0.5, 0.75, 0.95), quantiles, strict=True):
        # the standard error of a quantile, its density taken from the sample
        below, above = np.quantile(sigmas, [share - 0.02, share + 0.02])
        error = math.sqrt(share * (1 - share) / count) * (above - below) / 0.04
        assert abs(np.quantile(sigmas, share) - published) < rounding + 4 * error, share


def test_longer_samples_are_noisier() -> None:
    means = [_sampled(tokens, 3, DRAWS).mean() for tokens in (64, 1024, 4096, 12000)]
    assert means == sorted(means)
    assert means[0] < means[1] - 0.03, "the shift goes on below 1024 tokens"


def test_a_share_of_uniform_prob_is_uniform_above_eps() -> None:
    sigmas = _sampled(12000, 4, 4000, uniform_prob=1.0, eps=0.2)
    assert sigmas.min() >= 0.2
    assert abs(sigmas.mean() - 0.6) < 4 * 0.8 / math.sqrt(12 * 4000)


def test_uniform_covers_its_range_whatever_the_token_count() -> None:
    def drawn(tokens: int, **params: float) -> list[float]:
        generator = torch.Generator().manual_seed(1)
        return [uniform(tokens, generator, **params) for _ in range(DRAWS)]

    plain = drawn(10)
    assert drawn(10_000) == plain
    assert (min(plain) < 0.01, max(plain) > 0.99) == (True, True)
    narrow = drawn(10, min_value=0.2, max_value=0.4)
    assert (min(narrow) >= 0.2, max(narrow) <= 0.4) == (True, True)


def test_the_yaml_chooses_the_sampler_and_its_parameters() -> None:
    generator = torch.Generator

    def first(mode: str, params: dict[str, Any]) -> float:
        return sigma_sampler(mode, params)(2048, generator().manual_seed(9))

    assert first("shifted_logit_normal", {"std": 0.5}) == shifted_logit_normal(
        2048, generator().manual_seed(9), std=0.5
    )
    assert first("uniform", {"max_value": 0.5}) == uniform(2048, generator().manual_seed(9), max_value=0.5)


@pytest.mark.parametrize(
    ("mode", "params", "known"),
    [
        ("shifted_logit_normal", {"sigma": 1.0}, "std, eps, uniform_prob"),
        ("shifted_logit_normal", {"tokens": 4}, "std, eps, uniform_prob"),
        ("uniform", {"std": 1.0}, "min_value, max_value"),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_known_ones(mode: str, params: dict[str, Any], known: str) -> None:
    with pytest.raises(ConfigError, match=f"`{next(iter(params))}` is not a parameter of {mode}") as caught:
        sigma_sampler(mode, params)
    assert known in caught.value.hint


@pytest.mark.parametrize(
    ("mode", "params"),
    [
        ("shifted_logit_normal", {"std": 0}),
        ("shifted_logit_normal", {"std": "wide"}),
        ("shifted_logit_normal", {"eps": -1.0}),
        ("shifted_logit_normal", {"uniform_prob": 3}),
        ("uniform", {"min_value": 0.9, "max_value": 0.1}),
        ("uniform", {"max_value": 2.0}),
    ],
)
def test_a_parameter_out_of_range_is_refused_before_training(mode: str, params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="timestep_sampling_params"):
        sigma_sampler(mode, params)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0])
def test_noise_and_target_are_those_of_flow_matching(sigma: float) -> None:
    clean, noise = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 4.0]])
    expected = torch.tensor([[(1 - sigma) * 1.0 + sigma * 0.5, (1 - sigma) * -2.0 + sigma * 4.0]])
    torch.testing.assert_close(noised(clean, noise, torch.tensor(sigma)), expected)
    assert velocity_target(clean, noise).tolist() == [[-0.5, 6.0]]


@pytest.mark.parametrize("sampler", [shifted_logit_normal, uniform])
def test_the_global_generator_is_left_alone(sampler: Callable[..., float]) -> None:
    before = torch.get_rng_state()
    sampler(1024, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


def test_logit_normal_is_the_formula_and_knows_no_size() -> None:
    normal = torch.randn((), generator=torch.Generator().manual_seed(5), dtype=torch.float64).item()
    for tokens in (10, 8000):
        found = logit_normal(tokens, torch.Generator().manual_seed(5), mean=0.5, std=0.8)
        assert found == pytest.approx(1 / (1 + math.exp(-(0.5 + 0.8 * normal))))


@pytest.mark.parametrize(
    ("sigma", "shift", "wanted"),
    [(0.5, 3.0, 0.75), (0.5, 1.0, 0.5), (0.75, 1 / 3, 0.5), (0.0, 5.0, 0.0), (1.0, 5.0, 1.0)],
)
def test_a_shift_moves_sigma_and_leaves_the_ends(sigma: float, shift: float, wanted: float) -> None:
    assert shifted(sigma, shift) == pytest.approx(wanted)


def test_each_modality_has_its_own_shift() -> None:
    own = NoiseSection(sampling_mode="logit_normal", mean=0.2, video_shift=4.0)
    samplers = sigma_samplers(FlowMatchingSection(), own)
    video, audio = (samplers[name](900, torch.Generator().manual_seed(2)) for name in ("video", "audio"))
    assert audio == logit_normal(900, torch.Generator().manual_seed(2), mean=0.2)
    assert video == pytest.approx(shifted(audio, 4.0))


def test_without_our_section_the_noise_levels_are_upstreams() -> None:
    samplers = sigma_samplers(FlowMatchingSection(), NoiseSection())
    for name in ("video", "audio"):
        found = samplers[name](2048, torch.Generator().manual_seed(3))  # type: ignore[index]
        assert found == shifted_logit_normal(2048, torch.Generator().manual_seed(3))
