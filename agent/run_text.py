"""A run's status in a few lines of plain text, from what `run_status` returned."""

from typing import Any

from trainer_core.run_folder import LIVE_STATES

_STATES = {
    "queued": "is waiting to start",
    "starting": "is starting",
    "running": "is training",
    "stopping": "is stopping",
    "done": "is done",
    "failed": "failed",
    "diverged": "diverged and was stopped",
}


def run_lines(status: dict[str, Any]) -> list[str]:
    """Return state, step, time left, losses, verdict with its evidence, and where the adapter is."""
    state = _STATES.get(status["state"], status["state"])
    lines = [f"Run {status['run']} {state}: step {status['step']} of {status['steps']}.{_time_left(status)}"]
    if status.get("stage") and status["state"] in LIVE_STATES:
        lines[0] += f" Now: {status['stage']}."
    if status.get("error"):
        lines.append(f"Error: {status['error']}")
    losses = status.get("losses") or {}
    if losses:
        curves = ", ".join(f"{name} {loss['first']:.3f} → {loss['last']:.3f}" for name, loss in losses.items())
        lines.append(f"Training loss (running median, first → last): {curves}.")
    verdict = status.get("verdict")
    if verdict:
        lines.append(f"Verdict: {verdict['kind']} (confidence {verdict['confidence']:.0%}).")
        lines.extend(f"  – {evidence}" for evidence in verdict["evidence"])
    if status.get("last_checkpoint"):
        lines.append(f"Adapter: {status['path']}/{status['last_checkpoint']}")
    return lines


def duration(seconds: float) -> str:
    """Return a duration in words, as coarse as it is uncertain."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _time_left(status: dict[str, Any]) -> str:
    eta_s = status.get("eta_s")
    return f" About {duration(eta_s)} left." if eta_s else ""
