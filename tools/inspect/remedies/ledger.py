"""remedies.jsonl: which clips were replaced by copies made in the project, and by which; how inspection takes them in.

The originals stay where they are, untouched. A record is good as long as its original has the content it had.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tools.inspect.discover.media_file import COLUMNS, FoundFile
from tools.inspect.discover.names import displayed
from tools.inspect.report.report import Origin, Replaced, Report
from tools.project import Project
from trainer_core.errors import ConfigError
from trainer_core.files import file_digest, read_jsonl, write_jsonl
from trainer_core.strict import Strict


class Copy(Strict):
    """One copy: `path` and the further files in `columns` are relative to the project's clips folder."""

    path: str
    start_s: float
    duration_s: float
    columns: dict[str, str] = {}


class Remedied(Strict):
    """One clip that was replaced: what it was, what was done, what took its place, and how many seconds were left."""

    source: str
    path: str
    sha256: str
    size: int
    mtime_ns: int
    duration_s: float
    remedy: str
    settings: str
    copies: list[Copy]
    left_away_s: float


@dataclass(frozen=True)
class Taken:
    """Files that inspection takes, and the records whose copies stand among them."""

    found: list[FoundFile]
    replaced: list[Remedied]
    notes: list[str]


def read_remedied(project: Project) -> list[Remedied]:
    """Return the records, oldest first. Raises ConfigError naming the row that is wrong."""
    path = project.remedies_path
    if not path.exists():
        return []
    rows = read_jsonl(path)
    try:
        return [Remedied.model_validate(row) for row in rows]
    except ValidationError as error:
        raise ConfigError(f"{path} is not as it should be: {error.errors()[0]['msg']}.", "Restore it.") from error


def write_remedied(project: Project, records: Sequence[Remedied]) -> None:
    """Replace the records."""
    write_jsonl(project.remedies_path, [record.model_dump() for record in records])


def with_copies(project: Project, found: Sequence[FoundFile]) -> Taken:
    """Put the copies in the place of the clips they replace, copies of copies included.

    A clip that changed since is looked at itself again, and said so.
    """
    records = {(record.source, record.path): record for record in read_remedied(project)}
    taken: list[FoundFile] = []
    replaced: list[Remedied] = []
    notes: list[str] = []
    belonging: set[tuple[str, str]] = set()
    waiting = list(found)[::-1]
    while waiting:
        entry = waiting.pop()
        record = records.get((entry.source, entry.path))
        if record is None:
            taken.append(entry)
            continue
        there = [copy for copy in record.copies if (project.clips_path / copy.path).is_file()]
        if not _is_unchanged(entry.file, record):
            notes.append(
                f"{displayed(entry.path)} changed since it was remedied ({record.remedy}): it is used as it now is."
            )
            taken.append(entry)
        elif not there:
            notes.append(f"The copies of {displayed(entry.path)} ({record.remedy}) are gone: the clip itself is used.")
            taken.append(entry)
        else:
            if len(there) < len(record.copies):
                gone = len(record.copies) - len(there)
                notes.append(f"{gone} of {len(record.copies)} copies of {displayed(entry.path)} are gone.")
            replaced.append(record)
            belonging |= {(entry.source, path) for path in entry.columns.values()}
            source = str(project.clips_path)
            for copy in reversed(there):
                origin = Origin(
                    source=record.source,
                    path=record.path,
                    sha256=record.sha256,
                    remedy=record.remedy,
                    start_s=copy.start_s,
                )
                waiting.append(FoundFile(source, copy.path, dict(copy.columns), paired_by="remedy", origin=origin))
                made = [(column, path) for column, path in copy.columns.items() if not path.startswith("..")]
                taken += [
                    FoundFile(source, path, role=role, paired_by="remedy")
                    for column, path in made
                    for role in COLUMNS
                    if role == column
                ]
    # what belonged to a replaced clip was copied with it
    kept = [entry for entry in taken if entry.role == "clip" or (entry.source, entry.path) not in belonging]
    return Taken(kept, replaced, notes)


def with_replaced(report: Report, taken: Taken) -> Report:
    """Enter the replaced clips into the report."""
    replaced = [
        Replaced(
            source=record.source,
            path=record.path,
            sha256=record.sha256,
            remedy=record.remedy,
            settings=record.settings,
            duration_s=record.duration_s,
            left_away_s=record.left_away_s,
            copies=[copy.path for copy in record.copies],
        )
        for record in taken.replaced
    ]
    return report.model_copy(update={"replaced": replaced, "notes": [*report.notes, *taken.notes]})


def state_of(file: Path) -> tuple[int, int]:
    """Size and time of change, by which a changed file is found without reading it."""
    state = file.stat()
    return state.st_size, state.st_mtime_ns


def free_path(folder: Path, wanted: str) -> Path:
    """A path below `folder` that nothing stands at: `wanted`, or with a number before its ending."""
    path = folder / wanted
    number = 2
    while os.path.lexists(path):
        path = folder / f"{Path(wanted).with_suffix('')}-{number}{Path(wanted).suffix}"
        number += 1
    return path


def _is_unchanged(file: Path, record: Remedied) -> bool:
    try:
        return state_of(file) == (record.size, record.mtime_ns) or file_digest(file) == record.sha256
    except OSError:
        return False
