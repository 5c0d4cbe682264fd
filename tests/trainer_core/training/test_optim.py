"""Optimizers and schedules under upstream's names: where the learning rate starts, ends, and how it warms up."""

import math
import sys
from typing import Any

import pytest
import torch

from trainer_core.errors import ConfigError
from trainer_core.sections.run import OptimizationSection
from trainer_core.training.optim.optimizers import build_optimizer, build_schedule

RATE = 1e-3


def _rates(steps: int, warmup_steps: int = 0, **section: Any) -> list[float]:
    """The learning rate of each optimizer step, and the one after the last."""
    options = OptimizationSection(learning_rate=RATE, steps=steps, **section)
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = build_optimizer(options, [parameter])
    schedule = build_schedule(options, optimizer, warmup_steps)
    rates = []
    for _ in range(steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        assert schedule.get_last_lr()[0] == rates[-1]
        optimizer.step()
        schedule.step()
    return rates


def test_linear_falls_from_the_whole_rate_to_a_tenth() -> None:
    rates = _rates(10, scheduler_type="linear")
    assert rates == pytest.approx([RATE * (1 - 0.9 * step / 10) for step in range(11)])


def test_constant_stays() -> None:
    assert _rates(5, scheduler_type="constant") == [RATE] * 6


def test_cosine_is_half_a_cosine_down_to_zero() -> None:
    rates = _rates(8, scheduler_type="cosine")
    assert rates == pytest.approx([RATE * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)], abs=1e-12)


def test_cosine_with_restarts_returns_to_the_whole_rate() -> None:
    rates = _rates(8, scheduler_type="cosine_with_restarts")
    assert [rate == pytest.approx(RATE) for rate in rates] == [step % 2 == 0 for step in range(9)]


def test_cosine_with_restarts_falls_towards_upstreams_end() -> None:
    rates = _rates(8, scheduler_type="cosine_with_restarts", scheduler_params={"T_0": 4})
    expected = [5e-5 + (RATE - 5e-5) * (1 + math.cos(math.pi * (step % 4) / 4)) / 2 for step in range(9)]
    assert rates == pytest.approx(expected)
    assert _rates(8, scheduler_type="cosine_with_restarts", scheduler_params={"T_0": 4, "eta_min": 0})[2] == (
        pytest.approx(RATE / 2)
    )


def test_a_rate_below_that_end_rises_and_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    options = OptimizationSection(learning_rate=1e-5, steps=8, scheduler_type="cosine_with_restarts")
    optimizer = build_optimizer(options, [torch.nn.Parameter(torch.zeros(2))])
    schedule = build_schedule(options, optimizer, 0)
    assert "5e-05, above the learning rate 1e-05: it rises" in caplog.text
    assert "eta_min: 0" in caplog.text
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr()[0] == pytest.approx(3e-5)


def test_polynomial_reaches_zero_and_step_falls_in_steps() -> None:
    assert _rates(4, scheduler_type="polynomial", scheduler_params={"power": 2.0}) == pytest.approx(
        [RATE * (1 - step / 4) ** 2 for step in range(5)], abs=1e-12
    )
    assert _rates(4, scheduler_type="step", scheduler_params={"step_size": 2, "gamma": 0.5}) == pytest.approx(
        [RATE, RATE, RATE / 2, RATE / 2, RATE / 4]
    )


@pytest.mark.parametrize("kind", ["linear", "constant", "cosine", "cosine_with_restarts", "polynomial", "step"])
def test_warm_up_climbs_to_the_whole_rate_and_then_the_schedule_begins(kind: str) -> None:
    warm = _rates(20, warmup_steps=4, scheduler_type=kind)
    assert warm[:5] == pytest.approx([RATE * (step + 1) / 5 for step in range(5)])
    assert warm[4:] == pytest.approx(_rates(16, scheduler_type=kind), abs=1e-12)


def test_a_warm_up_longer_than_the_run_still_climbs() -> None:
    assert _rates(3, warmup_steps=9)[:3] == pytest.approx([RATE * (step + 1) / 10 for step in range(3)])


def test_schedule_parameters_of_the_yaml_win() -> None:
    assert _rates(10, scheduler_type="linear", scheduler_params={"end_factor": 0.5})[-1] == pytest.approx(RATE / 2)
    assert _rates(10, scheduler_type="cosine", scheduler_params={"eta_min": 1e-4})[-1] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("linear", {"T_max": 5}),
        ("cosine", {"gamma": 0.1}),
        ("linear", {"start_factor": 2.0}),
        ("cosine_with_restarts", {"T_0": 0}),
        ("cosine", {"T_max": 0}),
        ("cosine", {"eta_min": "low"}),
        ("step", {"step_size": 0}),
    ],
)
def test_parameters_that_do_not_fit_are_refused_before_training(kind: str, params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="scheduler_params") as caught:
        _rates(6, scheduler_type=kind, scheduler_params=params)
    assert next(iter(params)) in caught.value.message
    assert caught.value.exit_code == 2


def test_adamw_takes_the_rate_and_moves_only_its_parameters() -> None:
    trained, other = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(OptimizationSection(learning_rate=RATE), [trained])
    assert type(optimizer) is torch.optim.AdamW
    (trained.sum() + other.sum()).backward()
    optimizer.step()
    assert bool((trained < 1).all())
    assert bool((other == 1).all())


def test_adamw8bit_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)  # what Python itself does for a missing module
    with pytest.raises(ConfigError, match="needs the package bitsandbytes") as caught:
        build_optimizer(OptimizationSection(optimizer_type="adamw8bit"), [torch.nn.Parameter(torch.ones(1))])
    assert "pip install bitsandbytes" in caught.value.hint


def test_adamw8bit_follows_adamw() -> None:
    pytest.importorskip("bitsandbytes")
    start = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    moved = []
    for name in ("adamw", "adamw8bit"):
        parameter = torch.nn.Parameter(start.clone())
        options = OptimizationSection.model_validate({"optimizer_type": name, "learning_rate": 1e-2})
        optimizer = build_optimizer(options, [parameter])
        for _ in range(20):
            parameter.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        moved.append(parameter.detach() - start)
    assert float(moved[0].abs().mean()) > 0.1
    assert float((moved[0] - moved[1]).abs().mean()) < 0.05 * float(moved[0].abs().mean())
