"""The error of the time left on simulated noisy runs, and what the held-out evaluation costs of a real one's time."""

import random
from statistics import median

import pytest

from trainer_core.pace import RunPace, times_due

pytestmark = pytest.mark.bench

STEPS, SAVE_EVERY, EVALUATE_EVERY, RENDER_EVERY = 2000, 250, 125, 500
RUNS = 40
MOMENTS = (0.1, 0.25, 0.5, 0.75, 0.9)


def simulated_errors(seed: int) -> list[float]:
    """Relative errors of the time left, at MOMENTS of one run whose steps vary by a quarter, stall and drift."""
    chance = random.Random(seed)
    pace, elapsed = RunPace(), 0.0
    drift = chance.uniform(0.9, 1.2)
    told: list[tuple[float, float]] = []
    pace.parts.update(evaluation=[6.0], validation=[180.0])  # both are measured before the first step
    for step in range(1, STEPS + 1):
        seconds = chance.lognormvariate(0, 0.25) * drift ** (step / STEPS)
        if chance.random() < 0.003:
            seconds += chance.uniform(10, 60)  # another program takes the disk or the card for a while
        pace.stepped(seconds)
        elapsed += seconds
        for part, every, cost in (
            ("saving", SAVE_EVERY, 8.0),
            ("evaluation", EVALUATE_EVERY, 6.0),
            ("validation", RENDER_EVERY, 180.0),
        ):
            if step % every == 0:
                took = cost * chance.lognormvariate(0, 0.2)
                pace.parts.setdefault(part, []).append(took)
                elapsed += took
        if step in {round(moment * STEPS) for moment in MOMENTS}:
            left = {
                part: times_due(every, step, STEPS, at_end=True)
                for part, every in (
                    ("saving", SAVE_EVERY),
                    ("evaluation", EVALUATE_EVERY),
                    ("validation", RENDER_EVERY),
                )
            }
            parts = pace.eta_parts_s(STEPS - step, left)
            assert parts is not None
            told.append((elapsed, sum(parts.values())))
    return [abs(left - (elapsed - at)) / (elapsed - at) for at, left in told if elapsed > at]


def test_error_of_the_time_left_on_noisy_runs(record_ratio):
    errors = [error for seed in range(RUNS) for error in simulated_errors(seed)]
    note = (
        f"median of {len(errors)} estimates on {RUNS} simulated runs with stalls and drift; the worst {max(errors):.0%}"
    )
    record_ratio("relative error of the time left", median(errors), 0.1, note)
