"""Breakdown of a run's time, with the reasons why it is slow or stands still. Reads only; loads no torch."""

import time
from statistics import median
from typing import Any

from trainer_core.run_folder import LIVE_STATES, RunStatus
from trainer_core.strict import Strict

RECENT, BASELINE = 20, 50
DATA_SHARE = 0.25
OPTIMIZER_SHARE = 0.3
SLOWED = 1.5
"""Steps that take this many times as long as the run's own first ones have slowed down."""
QUIET_STEPS, QUIET_LEAST_S = 10.0, 60.0
"""No step for ten usual ones, and for a minute, is a standstill."""
ADVICE = {
    "data": "the step waits for the loader: raise data.num_dataloader_workers, or put the precomputed folder on a "
    "local disk",
    "optimizer": "the update takes more than a third of the step: an offloaded optimizer, or very small clips",
}


class RunSpeed(Strict):
    """Median seconds of the latest steps, whole and by part, and what is odd about them."""

    step_s: dict[str, float]
    remarks: list[str]


def measure_speed(rows: list[dict[str, Any]], status: RunStatus, now: float | None = None) -> RunSpeed:
    """Measure by training rows in order of step; `now` in Unix seconds."""
    if not rows:
        return RunSpeed(step_s={}, remarks=[])
    recent = [row["step_s"] for row in rows[-RECENT:]]
    parts = {part: median(step[part] for step in recent) for part in recent[0]}
    whole = median(sum(step.values()) for step in recent)
    remarks = []
    if whole > 0:
        remarks += [
            f"{part} takes {parts[part] / whole:.0%} of a step: {ADVICE[part]}"
            for part, limit in (("data", DATA_SHARE), ("optimizer", OPTIMIZER_SHARE))
            if parts.get(part, 0.0) / whole > limit
        ]
    remarks += _slowed(rows, whole)
    remarks += _quiet(status, rows[-1]["time_s"], whole, now)
    return RunSpeed(step_s={"whole": whole, **parts}, remarks=remarks)


def _slowed(rows: list[dict[str, Any]], whole: float) -> list[str]:
    """Compare with the run's own early steps (the very first ones compile and fill caches), and name the part."""
    early = [row["step_s"] for row in rows[5 : 5 + BASELINE]]
    if len(rows) < 5 + BASELINE + RECENT:
        return []
    before = median(sum(step.values()) for step in early)
    if before <= 0 or whole <= SLOWED * before:
        return []
    recent = [row["step_s"] for row in rows[-RECENT:]]
    grown = {part: median(step[part] for step in recent) - median(step[part] for step in early) for part in early[0]}
    part = max(grown, key=lambda name: grown[name])
    cause = {
        "data": "the loader has become slower: another program may use the disk",
        "forward": "the computing has become slower: a hot or shared GPU, or memory that spills over",
        "backward": "the computing has become slower: a hot or shared GPU, or memory that spills over",
        "optimizer": "the update has become slower: memory that spills over into host memory",
    }
    told = f"a step takes {whole:.2g} s, {whole / before:.1f} times what it took at first ({before:.2g} s), mostly in "
    return [f"{told}{part}: {cause.get(part, 'see the log')}"]


def _quiet(status: RunStatus, last_s: float, whole: float, now: float | None) -> list[str]:
    """Say since when nothing has moved, and what the trainer was doing."""
    moment = time.time() if now is None else now
    silent = moment - last_s
    if status.state not in LIVE_STATES or status.stage not in ("training", None):
        return []
    if silent < max(QUIET_LEAST_S, QUIET_STEPS * whole):
        return []
    return [
        f"no step for {silent:.0f} s; a step usually takes {whole:.2g} s. The process is alive: it may be waiting for "
        "the disk, the GPU or another rank. See trainer.log; `ltx-agent stop --deadline 60` ends it, and "
        "`ltx-agent resume` goes on"
    ]
