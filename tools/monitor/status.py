"""Status of a run from its folder: state, losses, speed and a verdict. Reads only; loads no torch."""

from typing import Any

from tools.monitor.speed import measure_speed
from trainer_core.metrics import by_step, described_steps, heldout_rows, read_steps
from trainer_core.run_folder import RunFolder, RunState, RunStatus
from trainer_core.strict import Strict
from trainer_core.verdict.judge import judge
from trainer_core.verdict.trend import smoothed, smoothing_width
from trainer_core.verdict.verdict import Verdict

ALERT_KINDS = frozenset(
    {
        "gradient spike",
        "loss explosion",
        "updates rounded away",
        "skipped step",
        "damaged state",
        "damaged weights",
        "not saved",
        "out of memory",
        "validation failed",
    }
)
LOG_TAIL_BYTES = 65536


class LossSummary(Strict):
    """One loss curve in two numbers: running medians at its first and last step."""

    first: float
    last: float


class Alert(Strict):
    """Something odd that the trainer saw; `command` is what it offers to do about it, `diff` what that changes.

    `settings` are those of the offer by dotted name, as `resume_training` takes them.
    """

    kind: str
    step: int | None
    message: str
    command: str | None = None
    settings: dict[str, Any] | None = None
    diff: str | None = None


class StatusResult(Strict):
    """`status.json` of a run with its verdict, and what its metrics say. Checkpoints are relative to `path`."""

    run: str
    path: str
    state: RunState
    stage: str | None
    step: int
    steps: int
    pid: int | None
    lease_expires_at: float | None
    eta_s: float | None
    started_at: float | None
    finished_at: float | None
    last_checkpoint: str | None
    best_checkpoint: str | None
    error: str | None
    samples_page: str | None
    losses: dict[str, LossSummary]
    step_s: dict[str, float]
    verdict: Verdict
    process: str | None = None
    machine: str | None = None
    eta_parts_s: dict[str, float] | None = None
    heldout: dict[str, Any] | None = None
    alerts: list[Alert] = []
    speed: list[str] = []
    """What is slow or stands still, and why, in words."""


def describe_run(run: RunFolder) -> StatusResult:
    """Return the state of `run`. Raises ConfigError when the folder holds no run."""
    status = run.read_status()
    rows, heldout = described_steps(run.metrics_path), heldout_rows(run.metrics_path)
    speed = measure_speed(rows, status)
    error = status.error
    if status.state == "failed":
        error = error or "The run failed without saying why."
        log_line = last_log_line(run)
        if log_line and log_line not in error:
            error = f"{error} The log's last line: {log_line}"
    return StatusResult(
        run=run.id,
        path=str(run.path),
        state=status.state,
        stage=status.stage,
        step=status.step,
        steps=status.steps,
        pid=status.pid,
        lease_expires_at=status.lease_expires_at,
        eta_s=status.eta_s,
        started_at=status.started_at,
        finished_at=status.finished_at,
        last_checkpoint=status.last_checkpoint,
        best_checkpoint=status.best_checkpoint,
        error=error,
        samples_page=_samples_page(run),
        process=status.process,
        machine=status.machine,
        eta_parts_s=status.eta_parts_s,
        heldout=_latest_heldout(heldout),
        alerts=alerts(run),
        losses=_losses(rows),
        step_s=speed.step_s,
        speed=speed.remarks,
        verdict=verdict_of(status, rows, heldout),
    )


def verdict_of(status: RunStatus, rows: list[dict[str, Any]], heldout: list[dict[str, Any]]) -> Verdict:
    """The verdict on a run as every surface tells it, from `described_steps` and `heldout_rows`."""
    return judge(rows, heldout, status.error if status.state == "diverged" else None)


def ordered_steps(run: RunFolder) -> list[dict[str, Any]]:
    """Return the training rows by step; where a resumed run repeated a step, the later row counts."""
    return by_step(read_steps(run.metrics_path))


def loss_points(rows: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Return steps and values of `loss`, `loss_video` or `loss_audio`, where it was measured."""
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


def alerts(run: RunFolder) -> list[Alert]:
    """Return what events.jsonl tells of spikes, explosions, skipped steps, damage and failures, oldest first."""
    found = []
    for event in run.events():
        if event["kind"] in ALERT_KINDS and event.get("message"):
            offer = event.get("offer") or {}
            offered = {name: offer.get(name) for name in ("command", "settings", "diff")}
            found.append(Alert(kind=event["kind"], step=event.get("step"), message=str(event["message"]), **offered))
    return found


def last_log_line(run: RunFolder) -> str:
    """Return the last line of trainer.log that says something, or an empty string."""
    if not run.log_path.exists():
        return ""
    with run.log_path.open("rb") as log:
        log.seek(max(0, run.log_path.stat().st_size - LOG_TAIL_BYTES))
        lines = log.read().decode("utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _samples_page(run: RunFolder) -> str | None:
    """The page of what the run rendered, newest gallery included; relative to the run folder, None without one."""
    pages = sorted(run.samples.glob("index.html")) or sorted(run.samples.glob("*/index.html"))
    return pages[-1].relative_to(run.path).as_posix() if pages else None


def _losses(rows: list[dict[str, Any]]) -> dict[str, LossSummary]:
    found = {}
    for name in ("loss", "loss_video", "loss_audio"):
        _, values = loss_points(rows, name)
        if values:
            curve = smoothed(values, smoothing_width(len(values)))
            found[name] = LossSummary(first=curve[0], last=curve[-1])
    return found


def _latest_heldout(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not rows:
        return None
    return {
        "step": rows[-1]["step"],
        **{part: (rows[-1].get(part) or {}).get("relative", {}) for part in ("heldout", "train")},
    }
