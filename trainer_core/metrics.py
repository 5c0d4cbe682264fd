"""Reading and writing `metrics.jsonl`: one object a training step, and held-out rows. No torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer_core.files import append_jsonl, read_jsonl, read_jsonl_ends, read_jsonl_with


@dataclass(frozen=True)
class StepSeconds:
    """Parts of one optimizer step's wall time, in seconds."""

    data: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    optimizer: float = 0.0


@dataclass(frozen=True)
class StepMetrics:
    """One row of metrics.jsonl. Losses are means over the step's samples; None where the modality is not generated.

    A step that was skipped because something in it was not finite has no losses and no `grad_norm`. `changed_weights`:
    the share of a fixed sample of the trained weights that the update changed, from 0 to 1; None where weights are
    rounded by chance, of which no single update says anything.
    """

    step: int
    time_s: float
    epoch: int
    loss: float | None
    loss_video: float | None
    loss_audio: float | None
    sigma_video: float | None
    sigma_audio: float | None
    lr: float
    grad_norm: float | None
    step_s: StepSeconds
    memory_bytes: int
    samples_seen: int
    clips: list[str] = field(default_factory=list)
    changed_weights: float | None = None


def append_step(path: Path, metrics: StepMetrics) -> None:
    """Append one step to `path`."""
    append_jsonl(path, {**vars(metrics), "step_s": vars(metrics.step_s)})


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the training rows of `path` in file order (held-out rows left out); empty when there is no file yet."""
    if not path.exists():
        return []
    return [row for row in read_jsonl(path) if "heldout" not in row]


HEAD_BYTES, TAIL_BYTES = 1 << 18, 1 << 22
"""Of a long file these are read to describe and judge a run: about its first 600 and its last 10,000 steps."""


def described_steps(path: Path) -> list[dict[str, Any]]:
    """The training rows that describe a run, by step: all, or the first and the last of a long file.

    Every surface and the trainer judge by these, so that all say the same, and a look costs the same however long the
    run. Where a step is there twice, the later row counts.
    """
    if not path.exists():
        return []
    return by_step([row for row in read_jsonl_ends(path, HEAD_BYTES, TAIL_BYTES) if "heldout" not in row])


def by_step(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in order of step, one a step: the later one."""
    found = {row["step"]: row for row in rows}
    return [found[step] for step in sorted(found)]


def append_heldout(path: Path, row: dict[str, Any]) -> None:
    """Append one held-out row: `step, heldout {video, audio, by_sigma_bin, relative, clips}, train {…}, seconds`."""
    append_jsonl(path, row)


def heldout_rows(path: Path) -> list[dict[str, Any]]:
    """Return the held-out rows of `path`, one a step, in order of step; empty when there is none yet."""
    if not path.exists():
        return []
    rows: dict[int, dict[str, Any]] = {}
    for row in read_jsonl_with(path, b'"heldout"'):
        if "heldout" in row:
            rows.setdefault(row["step"], row)
    return [rows[step] for step in sorted(rows)]
