"""The run folder: the contract between a training process and whoever watches it. No torch.

`<project>/runs/<id>/` holds config.yaml (resolved, written once), resumes.jsonl (what each resume changed),
metrics.jsonl, events.jsonl, status.json, run-summary.md, checkpoints/ (weights), state/ (what a resume needs) and
samples/.
"""

import os
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from trainer_core.errors import ConfigError
from trainer_core.files import append_jsonl, read_json, read_jsonl, storage_error, write_json
from trainer_core.lease import machine_id, process_identity

RunState = Literal["queued", "starting", "running", "stopping", "done", "failed", "diverged"]
LIVE_STATES: frozenset[str] = frozenset({"queued", "starting", "running", "stopping"})
LEASE_S = 60.0


@dataclass(frozen=True)
class RunStatus:
    """`status.json`. Times are Unix seconds; checkpoints are paths relative to the run folder.

    `process` and `machine` tell the trainer from a later process under the same pid and from other machines' processes;
    `eta_parts_s` keeps training, evaluation, saving and validation apart.
    """

    state: RunState
    step: int = 0
    steps: int = 0
    pid: int | None = None
    lease_expires_at: float | None = None
    eta_s: float | None = None
    last_checkpoint: str | None = None
    best_checkpoint: str | None = None
    verdict: dict[str, Any] | None = None
    error: str | None = None
    stage: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    process: str | None = None
    machine: str | None = None
    eta_parts_s: dict[str, float] | None = None


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run, and its status file."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def status_path(self) -> Path:
        return self.path / "status.json"

    @property
    def stop_request_path(self) -> Path:
        return self.path / "stop-requested"

    @property
    def log_path(self) -> Path:
        return self.path / "trainer.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def states(self) -> Path:
        return self.path / "state"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def set_aside(self) -> Path:
        """Folder of what lies behind the step that a resume goes back to: nothing is deleted."""
        return self.path / "set-aside"

    @property
    def lease_path(self) -> Path:
        return self.path / ".lease"

    @property
    def resumes_path(self) -> Path:
        return self.path / "resumes.jsonl"

    @property
    def cut_metrics_path(self) -> Path:
        """The metrics rows that resumes cut off, each with the step that was resumed from."""
        return self.path / "metrics.cut.jsonl"

    @property
    def evaluation_path(self) -> Path:
        """The plan of the held-out evaluation: which clips, sigmas and how often."""
        return self.path / "evaluation.json"

    @property
    def doctor_path(self) -> Path:
        """The adapter doctor's findings on each checkpoint."""
        return self.path / "doctor.jsonl"

    @property
    def summary_path(self) -> Path:
        return self.path / "run-summary.md"

    def resumes(self) -> list[dict[str, Any]]:
        """Return each resume's request, oldest first: `{"time", "from_step", "overrides"}`."""
        return read_jsonl(self.resumes_path) if self.resumes_path.exists() else []

    def events(self) -> list[dict[str, Any]]:
        """The rows of events.jsonl, oldest first."""
        return read_jsonl(self.events_path) if self.events_path.exists() else []

    def state_steps(self) -> list[int]:
        """Steps with a saved state to go on from, oldest first; their checksums are looked at when one is used."""
        names = [path.parent.name for path in self.states.glob("step_*/manifest.json")]
        return sorted(int(name[5:]) for name in names if name[5:].isdigit())

    def write_status(self, status: RunStatus) -> None:
        write_json(self.status_path, asdict(status))

    def read_status(self) -> RunStatus:
        """Return the status as it truly is: a live state whose process is gone reads as failed.

        Raises ConfigError when the folder holds no run.
        """
        if not self.status_path.exists():
            raise ConfigError(f"{self.path} is not a run folder: it has no status.json.", "Give a folder under runs/.")
        document = read_json(self.status_path)
        if not isinstance(document, dict) or document.get("state") not in get_args(RunState):
            raise ConfigError(f"{self.status_path} is not a run status.", "Give another run folder.")
        known = {name: document[name] for name in RunStatus.__dataclass_fields__ if name in document}
        status = RunStatus(**known)
        return _abandoned(status) if status.state in LIVE_STATES and not _is_alive(status) else status

    def record_event(self, kind: str, **fields: Any) -> None:
        """Append one line to events.jsonl: `{"time", "kind", …}`."""
        append_jsonl(self.events_path, {"time": time.time(), "kind": kind, **fields})


def create_run_folder(runs: Path) -> RunFolder:
    """Create `<runs>/<yyyymmdd-hhmmss>[-n]` with its sub-folders; never reuses a folder that exists."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(1000):
        path = runs / (stamp if attempt == 0 else f"{stamp}-{attempt}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise storage_error(path, error) from error
        (path / "checkpoints").mkdir()
        (path / "samples").mkdir()
        return RunFolder(path)
    raise ConfigError(f"{runs} already holds a thousand runs of this second.", "Choose another project folder.")


def list_runs(runs: Path) -> list[RunFolder]:
    """Return the runs under `runs`, oldest first."""
    if not runs.is_dir():
        return []
    return [RunFolder(path) for path in sorted(runs.iterdir(), key=start_order) if (path / "status.json").exists()]


def start_order(path: Path) -> tuple[str, int]:
    """Sort key of run folders: `yyyymmdd-hhmmss`, then the number that tells runs of one second apart."""
    stamp, number = path.name[:15], path.name[16:]
    return stamp, int(number) if number.isdigit() else 0


def _is_alive(status: RunStatus) -> bool:
    """On the machine of the trainer its process decides, whatever the clock says; from elsewhere the lease does."""
    if status.pid is None or status.lease_expires_at is None:
        return status.state == "queued"
    if status.machine == machine_id() and status.process is not None:
        return process_identity(status.pid) == status.process
    if time.time() > status.lease_expires_at:
        return False
    if status.machine is not None:
        return True
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _abandoned(status: RunStatus) -> RunStatus:
    error = (
        f"The trainer (process {status.pid}) ended without finishing; it was last seen at step {status.step}. "
        "Go on from its last checkpoint with `ltx-agent resume`."
    )
    return replace(status, state="failed", error=status.error or error, eta_s=None, eta_parts_s=None)
