"""Watching a project from a conversation: a run that ended, goes wrong or stands still, a config edited by hand."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.session.events import Alerted, AlertLevel
from tools.draft.annotated import is_as_drafted
from tools.draft.edit import check_text
from tools.draft.experiments import unified_diff
from tools.monitor.status import StatusResult, describe_run
from tools.project import Project
from trainer_core.errors import LtxError
from trainer_core.run_folder import LIVE_STATES, RunFolder

LOOK_EVERY_S = 2.0
LOOKING_SHARE = 20
STALLED_STEPS = 20
"""A run that took this many of its usual steps' time without making one stands still."""
STALLED_S = 120.0
GROWN = 1.02
"""A run is judged again when its metrics have grown by this factor: judging reads them, and a long run's are large."""
_ENDED = {"done": "is done", "failed": "failed", "diverged": "diverged and was stopped"}
_VERDICTS = {
    "diverging": "The loss is rising: stopping loses nothing that was saved.",
    "dead": "Nothing is being learned: the gradient is 0.",
    "overfitting": "The held-out loss rises while the training loss falls: later checkpoints are likely worse.",
    "plateau": "The loss has stopped falling: more steps may bring little.",
}


class Watch:
    """Remembers of each run what was told; what was so before the watch began is no news."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._config = _content(project.config_path)
        self._told: dict[str, set[str]] = {}
        self._steps: dict[str, tuple[int, float]] = {}
        self._judged: dict[str, tuple[int, Any, StatusResult | None]] = {}
        """The size of a run's metrics and the trainer's own verdict when it was last judged, and what was seen then."""
        for run in project.runs():
            self._told[run.id] = set()
            if run.read_status().state not in LIVE_STATES:
                self._told[run.id] = {"ended"}

    def look(self) -> list[Alerted]:
        """Return the news since the last look."""
        news = self._news_of_config()
        for run in self._project.runs():
            told = self._told.setdefault(run.id, set())
            if "ended" in told:
                continue
            try:
                news.extend(self._news_of(run, told))
            except LtxError:  # a status file in the moment of its making; the next look sees it
                continue
        return news

    def settle(self) -> None:
        """Take config.yaml as it now is for known: a turn of the conversation wrote it."""
        self._config = _content(self._project.config_path)

    def _news_of_config(self) -> list[Alerted]:
        """What a person's edit of config.yaml comes to, checked at once, with its lines."""
        path, before = self._project.config_path, self._config
        self.settle()
        if self._config is None or before is None or self._config == before or is_as_drafted(path):
            return []
        texts = [content.decode("utf-8", errors="replace") for content in (before, self._config)]
        faults = [fault.message for fault in check_text(texts[1], path.name)]
        if faults:
            return [Alerted(path.name, "warn", f"{path.name} was edited and can't be used like this.", faults)]
        return [Alerted(path.name, "note", f"{path.name} was edited and is valid.", unified_diff(*texts))]

    def _news_of(self, run: RunFolder, told: set[str]) -> list[Alerted]:
        status = self._described(run)
        about = f"run {run.id}"
        if status.state in _ENDED:
            told.add("ended")
            level: AlertLevel = "note" if status.state == "done" else "stop"
            message = f"Run {run.id} {_ENDED[status.state]} at step {status.step} of {status.steps}."
            return [Alerted(about, level, f"{message} {status.error or ''}".strip(), status.verdict.evidence)]
        news = []
        kind = status.verdict.kind
        if kind in _VERDICTS and kind not in told:
            told.add(kind)
            grave: AlertLevel = "stop" if kind in ("diverging", "dead") else "warn"
            message = f"Run {run.id}, step {status.step}: {_VERDICTS[kind]}"
            news.append(Alerted(about, grave, message, status.verdict.evidence))
        stalled_s = self._stands_still(run.id, status)
        if stalled_s and "stalled" not in told:
            told.add("stalled")
            usual = status.step_s.get("whole", 0.0)
            evidence = [f"no step for {stalled_s:.0f} s; a step took {usual:.1f} s before"]
            news.append(Alerted(about, "warn", f"Run {run.id} stands still at step {status.step}.", evidence))
        return news

    def _described(self, run: RunFolder) -> StatusResult:
        """What the run's folder says: judged again when it ended, was evaluated or has grown, else only its step."""
        now = run.read_status()
        size = run.metrics_path.stat().st_size if run.metrics_path.exists() else 0
        judged, verdict, status = self._judged.get(run.id, (0, None, None))
        grown = not judged <= size < judged * GROWN
        if status is None or grown or now.state not in LIVE_STATES or now.verdict != verdict:
            status = describe_run(run)
            self._judged[run.id] = (size, now.verdict, status)
        return status.model_copy(update={"state": now.state, "step": now.step, "steps": now.steps})

    def _stands_still(self, name: str, status: StatusResult) -> float:
        """Seconds since the last step when that is suspiciously long, else 0."""
        now = time.monotonic()
        step, since = self._steps.get(name, (-1, now))
        if status.step != step:
            self._steps[name] = (status.step, now)
            return 0.0
        usual = status.step_s.get("whole")
        waited = now - since
        return waited if usual and waited > max(STALLED_S, STALLED_STEPS * usual) else 0.0


def pause_after(look: Callable[[], None]) -> float:
    """Look, and return how many seconds to wait before the next look.

    Judging a long run takes a while: it gets a small share of the process's time, however long it is.
    """
    began = time.monotonic()
    look()
    return max(LOOK_EVERY_S, LOOKING_SHARE * (time.monotonic() - began))


def cant_judge(error: Exception) -> Alerted:
    """Return the alert for a run whose files can't be read."""
    return Alerted("runs", "warn", f"The runs can't be judged: {type(error).__name__}: {error}.")


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
