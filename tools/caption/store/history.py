"""The captions' way to disk: every change is kept with what stood there before, so that any of them can be undone.

captions-history.jsonl has one change a line, written before captions.jsonl is replaced. captions-journal.jsonl holds
what a captioner gave since captions.jsonl was last written: an interruption loses nothing.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tools.caption.store.captions import CaptionEntry, read_captions, write_captions
from tools.project import Progress, Project
from trainer_core.errors import ConfigError
from trainer_core.files import append_jsonl, read_jsonl
from trainer_core.strict import Strict

Action = Literal["caption", "retune", "fix", "edit", "import", "undo"]


class CaptionChange(BaseModel):
    """One row before and after; None where there was none, or is none any more."""

    model_config = ConfigDict(extra="ignore")

    before: CaptionEntry | None
    after: CaptionEntry | None

    @property
    def key(self) -> tuple[str, str]:
        entry = self.after or self.before
        assert entry is not None
        return entry.key


class HistoryRecord(BaseModel):
    """One change of captions.jsonl; `undoes` is the number of the record that an undo took back."""

    model_config = ConfigDict(extra="ignore")

    number: int
    time: float
    action: Action
    changes: list[CaptionChange]
    undoes: int | None = None


def save_captions(
    project: Project, before: list[CaptionEntry], after: list[CaptionEntry], action: Action, undoes: int | None = None
) -> int:
    """Replace captions.jsonl by `after` and remember what changed; return how many rows did."""
    old, new = {entry.key: entry for entry in before}, {entry.key: entry for entry in after}
    changes = [
        CaptionChange(before=old.get(key), after=new.get(key))
        for key in dict.fromkeys([*old, *new])
        if _caption(old.get(key)) != _caption(new.get(key))
    ]
    if changes or undoes is not None:
        number = len(read_history(project)) + 1
        record = HistoryRecord(number=number, time=time.time(), action=action, changes=changes, undoes=undoes)
        append_jsonl(_history_path(project), record.model_dump(exclude_none=True))
    if before != after or not project.captions_path.exists():
        write_captions(project.captions_path, after)
    return len(changes)


def read_history(project: Project) -> list[HistoryRecord]:
    """Return every change, oldest first. Raises ConfigError for a file that isn't ours."""
    path = _history_path(project)
    if not path.exists():
        return []
    try:
        return [HistoryRecord.model_validate(_with_nulls(row)) for row in read_jsonl(path)]
    except ValidationError as error:
        raise ConfigError(f"{path} is no history of captions: {error.errors()[0]['msg']}.", "Move it away.") from error


def undo_last(project: Project) -> tuple[HistoryRecord, int, int]:
    """Take back the newest change that still stands; rows edited since then stay as they are.

    Returns the record, how many rows went back and how many were left alone. Raises ConfigError with nothing to undo.
    """
    history = read_history(project)
    taken_back = {record.undoes for record in history if record.undoes is not None}
    standing = [record for record in history if record.action != "undo" and record.number not in taken_back]
    if not standing:
        raise ConfigError("No change of the captions is left to undo.", "captions-history.jsonl has every change.")
    record = standing[-1]
    before = read_captions(project.captions_path)
    rows = {entry.key: entry for entry in before}
    back = 0
    for change in record.changes:
        if _caption(rows.get(change.key)) != _caption(change.after):
            continue
        back += 1
        if change.before is None:
            rows.pop(change.key, None)
        else:
            rows[change.key] = change.before
    save_captions(project, before, list(rows.values()), "undo", undoes=record.number)
    return record, back, len(record.changes) - back


def journal_path(project: Project) -> Path:
    return project.captions_path.with_name("captions-journal.jsonl")


def read_journal(project: Project) -> list[CaptionEntry]:
    """Return what was captioned since captions.jsonl was last written; a row that can't be read is made again."""
    path = journal_path(project)
    rows: list[CaptionEntry] = []
    for row in read_jsonl(path) if path.exists() else []:
        try:
            rows.append(CaptionEntry.model_validate(row))
        except ValidationError:
            continue
    return rows


def add_to_journal(project: Project, entry: CaptionEntry) -> None:
    """Keep one caption that was just made."""
    append_jsonl(journal_path(project), entry.model_dump())


def close_journal(project: Project) -> None:
    """Forget the journal: all of it is in captions.jsonl."""
    journal_path(project).unlink(missing_ok=True)


@contextmanager
def captions_locked(project: Project) -> Iterator[None]:
    """Let one process at a time change the captions. Raises ConfigError while another does."""
    project.path.mkdir(parents=True, exist_ok=True)
    with (project.path / ".captions.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"Another ltx-agent is working on the captions of {project.path}.", "Wait for it, or stop it."
            ) from error
        yield


def _history_path(project: Project) -> Path:
    return project.captions_path.with_name("captions-history.jsonl")


def _caption(entry: CaptionEntry | None) -> tuple[str, str] | None:
    return None if entry is None else (entry.caption, entry.source)


def _with_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """A stored record with the nulls that were left out to keep the file small."""
    changes = [{"before": None, "after": None, **change} for change in row.get("changes", [])]
    return {**row, "changes": changes}


class UndoCaptionsArguments(Strict):
    """Nothing to choose: the newest change that still stands is taken back."""


class UndoCaptionsResult(Strict):
    """Result of an undo: the kind of change, captions that went back, and captions left as edited since."""

    action: str
    changed_at: float
    back: int
    left_alone: int
    path: str


def undo_captions(
    project: Project, _arguments: UndoCaptionsArguments, _progress: Progress | None = None
) -> UndoCaptionsResult:
    """Take back the last change of the captions: a captioning, a retune, a fix, an edit or an import."""
    with captions_locked(project):
        record, back, left = undo_last(project)
    return UndoCaptionsResult(
        action=record.action,
        changed_at=record.time,
        back=back,
        left_alone=left,
        path=str(project.captions_path),
    )
