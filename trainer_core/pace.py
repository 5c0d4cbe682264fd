"""Durations of a run, past and expected: training, evaluation, saving and validation kept apart. No torch."""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

Part = Literal["evaluation", "saving", "checkup", "validation"]
RECENT_STEPS = 50
STALL = 4.0


@dataclass
class RunPace:
    """Seconds measured so far in this process."""

    steps: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    parts: dict[Part, list[float]] = field(default_factory=dict)
    stepped_count: int = 0
    stalled_s: float = 0.0
    """What steps took beyond four usual ones: rare, but time that passes all the same."""
    _limit_s: float = math.inf

    def stepped(self, seconds: float) -> None:
        self.steps.append(seconds)
        self.stepped_count += 1
        self.stalled_s += max(0.0, seconds - self._limit_s)
        if self.stepped_count % RECENT_STEPS == 0:
            self._limit_s = STALL * median(self.steps)

    @contextmanager
    def measuring(self, part: Part) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.parts.setdefault(part, []).append(time.perf_counter() - started)

    def latest_s(self, part: Part) -> float:
        """Return the duration of the latest one."""
        return self.parts[part][-1]

    def step_s(self) -> float | None:
        """Return the current duration of a step; None before the first."""
        return usual(list(self.steps))

    def part_s(self, part: Part) -> float | None:
        """Return the duration of one evaluation, save or validation; None before the first."""
        return usual(self.parts.get(part, []))

    def eta_parts_s(self, steps_left: int, times_left: dict[Part, int]) -> dict[str, float] | None:
        """Seconds left for training and for each part still due; None before the first step.

        Stalls are expected to go on as they were over the whole run.
        """
        step_s = self.step_s()
        if step_s is None:
            return None
        left = {"training": steps_left * (step_s + self.stalled_s / self.stepped_count)}
        for part, times in times_left.items():
            left[part] = times * (self.part_s(part) or 0.0)
        return left


def usual(seconds: list[float]) -> float | None:
    """The expected duration of the next one: the mean with outliers beyond STALL medians set to that.

    A mean, for the sum of what is to come is made of means; bounded, for one stall says nothing about the rest.
    """
    if not seconds:
        return None
    limit = STALL * median(seconds)
    return sum(min(one, limit) for one in seconds) / len(seconds)


def times_due(interval: int | None, step: int, steps: int, *, at_end: bool) -> int:
    """Return how often something due every `interval` steps is still due after `step` (and once `at_end`)."""
    if step >= steps:
        return 0
    regular = 0 if interval is None else steps // interval - step // interval
    ends_on_one = interval is not None and steps % interval == 0
    return regular + (1 if at_end and not ends_on_one else 0)
