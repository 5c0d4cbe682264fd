"""Spikes of the gradient norm, explosions of the loss, lost updates: told from the noise of a healthy run. No torch.

Both compare with the run's own recent past by medians, so that one odd step moves nothing.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from trainer_core.verdict.lost_updates import LEAST_RATE_SHARE, LOST_STEPS, lost_words, updates_lost

WINDOW = 100
FEWEST = 20
"""Fewer steps are no past to compare with."""
SPIKE_DEVIATIONS = 8.0
SPIKE_FACTOR = 4.0
"""A gradient norm is a spike when its logarithm lies this many robust deviations above the median and it is this many
times the median: sigma alone moves a healthy norm by a factor of two or three."""
EXPLOSION_STEPS = 10
EXPLOSION_FACTOR = 3.0
"""The loss has exploded when its median over the last ten steps is three times that of the steps before."""


@dataclass(frozen=True)
class Alarm:
    """Something a person should see. `kind` is the event's; `step` is where it was seen."""

    kind: str
    step: int
    message: str


@dataclass
class Alarms:
    """The recent past of a run; `observe` a step and get an alarm, or None. Plain state, saved with the run's."""

    norms: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    quiet_until: int = 0
    """No second explosion is reported before this step."""
    shares: deque[float] = field(default_factory=lambda: deque(maxlen=LOST_STEPS))
    highest_rate: float = 0.0
    lost_told: bool = False

    def observe(self, step: int, loss: float, grad_norm: float) -> Alarm | None:
        """Take one finite step in."""
        alarm = self._spike(step, grad_norm) or self._explosion(step, loss)
        self.norms.append(grad_norm)
        self.losses.append(loss)
        return alarm

    def observe_change(self, step: int, share: float, rate: float) -> Alarm | None:
        """Take in the share of the weights that an update at a learning rate of `rate` changed; told once a run."""
        self.highest_rate = max(self.highest_rate, rate)
        if rate < LEAST_RATE_SHARE * self.highest_rate:
            return None
        self.shares.append(share)
        if self.lost_told or not updates_lost(list(self.shares)):
            return None
        self.lost_told = True
        return Alarm("updates rounded away", step, f"Step {step}: {lost_words(list(self.shares))}.")

    def state(self) -> dict[str, Any]:
        return {
            "norms": list(self.norms),
            "losses": list(self.losses),
            "quiet_until": self.quiet_until,
            "shares": list(self.shares),
            "highest_rate": self.highest_rate,
            "lost_told": self.lost_told,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.norms = deque(state["norms"], maxlen=WINDOW)
        self.losses = deque(state["losses"], maxlen=WINDOW)
        self.quiet_until = state["quiet_until"]
        self.shares = deque(state.get("shares", ()), maxlen=LOST_STEPS)
        self.highest_rate = state.get("highest_rate", 0.0)
        self.lost_told = state.get("lost_told", False)

    def _spike(self, step: int, norm: float) -> Alarm | None:
        # the cheap comparison first: medians are computed for the rare candidates alone
        if len(self.norms) < FEWEST or norm <= SPIKE_FACTOR * self.norms[-1]:
            return None
        logs = sorted(math.log(value) for value in self.norms if value > 0)
        if len(logs) < FEWEST:
            return None
        middle = median(logs)
        deviation = 1.4826 * median(abs(value - middle) for value in logs)
        usual = math.exp(middle)
        if norm <= SPIKE_FACTOR * usual or math.log(norm) <= middle + SPIKE_DEVIATIONS * max(deviation, 0.05):
            return None
        return Alarm(
            "gradient spike",
            step,
            f"Step {step}: the gradient norm is {norm:.3g}, {norm / usual:.0f} times the median of the last "
            f"{len(logs)} steps ({usual:.3g}). It was clipped; watch whether the loss follows.",
        )

    def _explosion(self, step: int, loss: float) -> Alarm | None:
        past = len(self.losses) - EXPLOSION_STEPS + 1
        if past < FEWEST or step < self.quiet_until or loss <= EXPLOSION_FACTOR * self.losses[0]:
            return None
        values = [*self.losses, loss]
        before, now = median(values[:past]), median(values[past:])
        if now <= EXPLOSION_FACTOR * before:
            return None
        self.quiet_until = step + WINDOW
        return Alarm(
            "loss explosion",
            step,
            f"Step {step}: the loss over the last {EXPLOSION_STEPS} steps is {now:.3g}, {now / before:.1f} times the "
            f"{before:.3g} of the {past} before them.",
        )
