"""News since the last visit: a project remembers when it was last on a screen, and how its runs were then."""

import json
import time
from pathlib import Path
from typing import Any

from tools.project import Project
from trainer_core.errors import LtxError
from trainer_core.files import write_json
from trainer_core.run_folder import LIVE_STATES, RunFolder

MOST_EVENTS = 6


class LastVisit:
    """`.last-visit.json` of a project: `{"time": Unix seconds, "runs": {id: state}}`."""

    def __init__(self, project: Project) -> None:
        self._path = project.path / ".last-visit.json"
        self._before = _read(self._path)
        self._known: dict[str, str] = {}
        self._written: dict[str, str] = {}

    def missed(self, runs: list[RunFolder], is_trouble: Any) -> list[str]:
        """Return what the runs did since the last visit, a line each; nothing on the first one."""
        before = self._before or {"time": time.time(), "runs": {}}
        lines: list[str] = []
        for run in runs:
            was = before["runs"].get(run.id)
            try:
                status = run.read_status()
                events = run.events()
            except (LtxError, OSError):
                continue
            self._known[run.id] = status.state
            if self._before is None:
                continue
            if was != status.state and (was is None or was in LIVE_STATES):
                error = f" {status.error}" if status.error else ""
                lines.append(f"Run {run.id} is {status.state} at step {status.step} of {status.steps}.{error}")
            if was is None or was in LIVE_STATES:
                late = [row for row in events if float(row.get("time") or 0) > before["time"]]
                told = [row for row in late if is_trouble(str(row.get("kind", "")))]
                lines += [_event(run.id, row) for row in told[-MOST_EVENTS:]]
                if len(told) > MOST_EVENTS:
                    lines.append(f"Run {run.id}: {len(told) - MOST_EVENTS} more such events before these.")
        return lines

    def note(self, states: dict[str, str], *, leaving: bool = False) -> None:
        """Write down how the runs are, when that has changed or the person leaves: those of `states` and the others."""
        states = {**self._known, **states}
        if states == self._written and not leaving:
            return
        self._written = states
        try:
            write_json(self._path, {"time": time.time(), "runs": states})
        except LtxError:  # a project that can't be written shows its runs all the same
            return


def _event(run: str, row: dict[str, Any]) -> str:
    said = row.get("message") or row.get("error") or ""
    at = f", step {row['step']}" if "step" in row else ""
    return f"Run {run}{at}: {row.get('kind')}. {said}".strip()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"time": float(found["time"]), "runs": dict(found["runs"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
