"""Watching a project's files from a thread of its own: only what changed is read, and told as one `Seen`. No Textual.

A glance costs a few `stat` calls. While a run is live there are two glances a second, else one in two seconds.
"""

import contextlib
import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.ui.shared.curves.reader import MetricsReader
from agent.ui.shared.curves.series import Series
from agent.ui.shared.last_visit import LastVisit
from tools.media_types import MEDIA_SUFFIXES
from tools.monitor.status import verdict_of
from tools.project import Project
from trainer_core.errors import LtxError
from trainer_core.files import read_jsonl
from trainer_core.metrics import described_steps, heldout_rows
from trainer_core.run_folder import LIVE_STATES, RunFolder, RunStatus

LIVE_S = 0.5
IDLE_S = 2.0
JUDGED_S = 10.0
LOG_TAIL_BYTES = 8192

TROUBLE = re.compile(
    r"fail|diverg|non.?finite|out of memory|error|spike|explosion|adapter|damaged|abandoned|skipped|not saved",
    re.IGNORECASE,
)
"""Kinds of events that something went wrong in."""
ROUTINE = frozenset({"checkpoint", "samples", "heldout"})
"""Events of every run, too many to mark."""
MOST_MARKS = 200


@dataclass(frozen=True)
class Mark:
    """An event of a run at a step, to be marked on its curves."""

    step: float
    kind: str
    text: str

    @property
    def is_trouble(self) -> bool:
        return bool(TROUBLE.search(self.kind))


@dataclass(frozen=True)
class Missed:
    """What happened since the project was last on a screen, a line each."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class RunSeen:
    """A run as its folder shows it; the series are this message's own."""

    id: str
    path: Path
    status: RunStatus
    steps: Series
    heldout: Series
    marks: tuple[Mark, ...] = ()
    samples: tuple[Path, ...] = ()
    log_tail: str = ""
    read_bytes: int = 0
    total_bytes: int = 0
    unreadable_lines: int = 0

    @property
    def best_step(self) -> float | None:
        """The step of the best checkpoint, from its file's name."""
        found = re.search(r"(\d+)", (self.status.best_checkpoint or "").rsplit("/", 1)[-1])
        return float(found[1]) if found else None

    @property
    def notable_marks(self) -> list[Mark]:
        """The latest marks that are trouble or don't belong to every run; the others are too many."""
        return [mark for mark in self.marks[-MOST_MARKS:] if mark.is_trouble or mark.kind not in ROUTINE]


@dataclass(frozen=True)
class Detail:
    """Every row of a stretch of steps that the overview holds in buckets."""

    run: str
    steps: Series


@dataclass(frozen=True)
class FilesSeen:
    """The project's files that a pane shows, by name; each has changed (or is gone: None)."""

    texts: dict[str, str | None]


@dataclass(frozen=True)
class RunsSeen:
    """The ids of the project's runs, oldest first."""

    ids: tuple[str, ...]


@dataclass
class _Watched:
    run: RunFolder
    reader: MetricsReader
    seen: Any = None
    marks: tuple[Mark, ...] = ()
    events_stamp: Any = None
    verdict: dict[str, Any] | None = None
    judged: Any = None
    judged_s: float = 0.0

    def judge(self, status: RunStatus) -> RunStatus:
        """The status with the verdict that `ltx-agent status` and the conversation tell, at most `JUDGED_S` old."""
        seen = (status.state, self.reader.heldout.version, self.reader.steps.version)
        due = self.judged is None or seen[:2] != self.judged[:2] or time.monotonic() - self.judged_s > JUDGED_S
        if seen != self.judged and due:
            self.judged, self.judged_s = seen, time.monotonic()
            with contextlib.suppress(LtxError):  # a line that is no JSON: the reader counts those, the curve tells them
                rows, heldout = described_steps(self.run.metrics_path), heldout_rows(self.run.metrics_path)
                self.verdict = verdict_of(status, rows, heldout).model_dump()
        return replace(status, verdict=self.verdict)

    def as_seen(self, status: RunStatus) -> RunSeen:
        """What has been read so far."""
        done, total = self.reader.progress
        return RunSeen(
            self.run.id,
            self.run.path,
            status,
            self.reader.steps.copy(),
            self.reader.heldout.copy(),
            self.marks,
            _samples(self.run),
            _log_tail(self.run),
            done,
            total,
            self.reader.unreadable_lines,
        )


def see_run(run: RunFolder) -> RunSeen:
    """Return a run as its folder shows it now, its metrics read to their end. Raises LtxError when it is no run."""
    with contextlib.closing(MetricsReader(run.metrics_path)) as reader:
        watched = _Watched(run, reader, marks=_marks(run))
        while reader.read():
            pass
        return watched.as_seen(watched.judge(run.read_status()))


class ProjectWatcher:
    """A project in a thread of its own; `post` is called from that thread."""

    def __init__(self, project: Project, post: Callable[[object], None]) -> None:
        self._project, self._post = project, post
        self._wishes: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._ids: tuple[str, ...] | None = None
        self._chosen: str | None = None
        self._compared: str | None = None
        self._watched: dict[str, _Watched] = {}
        self._stamps: dict[str, Any] = {}
        self._visit = LastVisit(project)
        self._states: dict[str, str] = {}

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._wishes.put(None)

    def choose(self, run: str | None, compared: str | None) -> None:
        """Watch these runs; None: the newest, and no other."""

        def change() -> None:
            self._chosen, self._compared = run, compared

        self._wishes.put(change)

    def look_closer(self, run: str, first: float, last: float) -> None:
        """Ask for every row of `run` between two steps; answered by a `Detail` when that is not too many."""

        def look() -> None:
            watched = self._watched.get(run)
            found = watched.reader.rows(first, last) if watched else None
            if found is not None and len(found):
                self._post(Detail(run, found))

        self._wishes.put(look)

    def glance(self) -> None:
        """Look now rather than at the next beat."""
        self._wishes.put(lambda: None)

    def _run(self) -> None:
        while True:
            more = self._look()
            try:
                wish = self._wishes.get(timeout=0 if more else LIVE_S if self._is_live() else IDLE_S)
            except queue.Empty:
                continue
            if wish is None:
                break
            wish()
        self._visit.note(self._states, leaving=True)
        for watched in self._watched.values():
            watched.reader.close()

    def _look(self) -> bool:
        """Post what changed; True while a long file has still more to read."""
        self._look_at_files()
        runs = {run.id: run for run in self._project.runs()}
        ids = tuple(runs)
        if self._ids is None and (missed := self._visit.missed(list(runs.values()), TROUBLE.search)):
            self._post(Missed(tuple(missed)))
        if ids != self._ids:
            self._ids = ids
            self._post(RunsSeen(ids))
        chosen = self._chosen if self._chosen in runs else ids[-1] if ids else None
        wanted = {name for name in (chosen, self._compared) if name in runs}
        for name in list(self._watched):
            if name not in wanted:
                self._watched.pop(name).reader.close()
        more = False
        for name in sorted(wanted, key=lambda name: name != chosen):
            if name not in self._watched:
                self._watched[name] = _Watched(runs[name], MetricsReader(runs[name].metrics_path))
            more = self._look_at_run(self._watched[name]) or more
        self._visit.note(self._states)
        return more

    def _look_at_files(self) -> None:
        changed: dict[str, str | None] = {}
        project = self._project
        for path in (project.config_path, project.captions_path, project.report_path, project.dataset_path):
            stamp = _stamp(path)
            if stamp != self._stamps.get(path.name, ()):
                self._stamps[path.name] = stamp
                changed[path.name] = _text(path)
        if changed:
            self._post(FilesSeen(changed))

    def _look_at_run(self, watched: _Watched) -> bool:
        run, reader = watched.run, watched.reader
        try:
            status = run.read_status()
        except LtxError:  # being written, or not a run any more; the next glance tells
            return False
        self._states[run.id] = status.state
        begun = reader.progress[0]
        more = False
        while reader.progress[0] - begun < READ_BYTES_A_GLANCE:
            more = reader.read()
            if not more:
                break
        events = _stamp(run.events_path)
        if events != watched.events_stamp:
            watched.events_stamp, watched.marks = events, _marks(run)
        if not more:
            status = watched.judge(status)
        samples = _samples(run)
        log = _stamp(run.log_path)
        seen = (
            replace(status, lease_expires_at=None),
            reader.steps.version,
            reader.heldout.version,
            events,
            samples,
            log,
        )
        if seen != watched.seen:
            watched.seen = seen
            self._post(watched.as_seen(status))
        return more

    def _is_live(self) -> bool:
        return any(watched.seen and watched.seen[0].state in LIVE_STATES for watched in self._watched.values())


READ_BYTES_A_GLANCE = 1 << 25
"""A long metrics file is read in pieces of this size, so that its curve grows on the screen meanwhile."""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _marks(run: RunFolder) -> tuple[Mark, ...]:
    try:
        rows = read_jsonl(run.events_path)
    except (LtxError, OSError):
        return ()
    return tuple(_mark(row) for row in rows if isinstance(row.get("step"), int | float))


def _mark(row: dict[str, Any]) -> Mark:
    rest = {name: value for name, value in row.items() if name not in ("time", "kind", "step") and value is not None}
    text = str(rest.get("message") or "").rstrip(".") or ", ".join(f"{name} {value}" for name, value in rest.items())
    return Mark(float(row["step"]), str(row.get("kind", "event")), text)


def _samples(run: RunFolder) -> tuple[Path, ...]:
    folder = run.path / "samples"
    if not folder.is_dir():
        return ()
    return tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES))


def _log_tail(run: RunFolder) -> str:
    try:
        with run.log_path.open("rb") as log:
            log.seek(max(0, run.log_path.stat().st_size - LOG_TAIL_BYTES))
            return log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
