"""inputs.jsonl: the references and masks that were made or named for clips, and how inspection takes them in."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tools.inspect.discover.names import displayed
from tools.inspect.remedies.ledger import Taken, state_of
from tools.project import Project
from trainer_core.errors import ConfigError
from trainer_core.files import file_digest, read_jsonl, write_jsonl
from trainer_core.strict import Strict

Column = Literal["reference_video", "reference_audio", "video_mask", "audio_mask"]


class Input(Strict):
    """One file in one column of one clip: `choice` is what the user chose, in words.

    `file` is relative to the project's inputs folder, or absolute where it is the user's own.
    """

    source: str
    path: str
    sha256: str
    size: int
    mtime_ns: int
    column: Column
    file: str
    choice: str


def inputs_record(project: Project) -> Path:
    return project.inputs_path / "inputs.jsonl"


def read_inputs(project: Project) -> list[Input]:
    """Return the records. Raises ConfigError when one is wrong."""
    path = inputs_record(project)
    if not path.exists():
        return []
    try:
        return [Input.model_validate(row) for row in read_jsonl(path)]
    except ValidationError as error:
        raise ConfigError(f"{path} is not as it should be: {error.errors()[0]['msg']}.", "Restore it.") from error


def write_inputs(project: Project, inputs: list[Input]) -> None:
    write_jsonl(inputs_record(project), [one.model_dump() for one in inputs])


def with_inputs(project: Project, taken: Taken) -> Taken:
    """Give each file the columns that were made for it; those made of an older version of it are left out, and said."""
    by_clip: dict[tuple[str, str], list[Input]] = {}
    for one in read_inputs(project):
        by_clip.setdefault((one.source, one.path), []).append(one)
    notes = list(taken.notes)
    found = []
    for entry in taken.found:
        columns = dict(entry.columns)
        for one in by_clip.get((entry.source, entry.path), []):
            if not _is_of(entry.file, one):
                notes.append(
                    f"{displayed(entry.path)} changed since its {one.column} was made ({one.choice}): make it again."
                )
            elif not (project.inputs_path / one.file).is_file():
                notes.append(f"The {one.column} of {displayed(entry.path)} is gone: {displayed(one.file)}.")
            else:
                columns[one.column] = os.path.relpath(project.inputs_path / one.file, entry.source)
        found.append(replace(entry, columns=columns))
    return Taken(found, taken.replaced, notes)


def _is_of(file: Path, one: Input) -> bool:
    try:
        return state_of(file) == (one.size, one.mtime_ns) or file_digest(file) == one.sha256
    except OSError:
        return False
