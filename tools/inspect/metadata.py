"""Metadata files in upstream's columns: CSV, JSON and JSONL, one row a clip. Only reads."""

import csv
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from tools.inspect.found import COLUMNS, FoundFile
from tools.inspect.names import displayed
from trainer_core.errors import DataError

METADATA_SUFFIXES = (".csv", ".json", ".jsonl")
METADATA_NAMES = frozenset(f"{stem}{suffix}" for stem in ("metadata", "dataset") for suffix in METADATA_SUFFIXES)
"""Files of these names inside a folder of clips are read; any other must be given as the source itself."""
COLUMN_ALIASES = {"media_path": "video", "ref_media_path": "reference_video"}
PATH_COLUMNS = ("video", *COLUMNS)


def found_in_metadata(path: Path) -> list[FoundFile]:
    """Return the clips that the rows name, then the further files that belong to them.

    Raises DataError, naming the row, for what can't be read as rows of media.
    """
    rows = _read_rows(path)
    if not rows:
        raise DataError(
            f"{displayed(str(path))} has no rows.", "Write one row a clip with the columns video and caption."
        )
    found: dict[str, FoundFile] = {}
    for number, row in enumerate(rows, start=1):
        entry = _from_row(path, number, row)
        if entry.path in found:
            raise DataError(
                f"{displayed(path.name)}, row {number} names `{displayed(entry.path)}` a second time.",
                "Keep one row a clip.",
            )
        found[entry.path] = entry
    further = {
        named: FoundFile(entry.source, named, role=column, paired_by="metadata")
        for entry in found.values()
        for column in COLUMNS
        if (named := entry.columns.get(column)) is not None and named not in found
    }
    return [*found.values(), *further.values()]


def _from_row(metadata: Path, number: int, row: Any) -> FoundFile:
    where = f"{displayed(metadata.name)}, row {number}"
    if not isinstance(row, dict):
        raise DataError(f"{where} is no object with named columns.", "Write one object a clip.")
    columns = {COLUMN_ALIASES.get(name, name): value for name, value in row.items() if value not in (None, "")}
    paths: dict[str, str] = {}
    for name in PATH_COLUMNS:
        value = columns.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or "\0" in value:
            raise DataError(f"{where}: the column {name} holds {value!r}, not a path.", "Correct the row.")
        paths[name] = _confined(where, name, value)
    main = paths.get("video") or paths.get("audio")
    if main is None:
        raise DataError(
            f"{where} names neither video nor audio; its columns are {', '.join(map(displayed, map(str, row)))}.",
            "Name the clip's column `video` (or `media_path`), or `audio`.",
        )
    further = {name: value for name, value in paths.items() if value != main}
    return FoundFile(str(metadata.parent), main, further, paired_by="metadata" if further else None)


def _confined(where: str, column: str, value: str) -> str:
    """The path in POSIX spelling. Raises DataError when it leads out of the metadata file's folder."""
    parts = PurePosixPath(os.path.normpath(value))
    if parts.is_absolute() or parts.parts[:1] == ("..",):
        raise DataError(
            f"{where}: {column} `{displayed(value)}` lies outside the folder of the metadata file.",
            "Use paths relative to the metadata file, inside its folder.",
        )
    return parts.as_posix()


def _read_rows(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        if path.suffix.lower() == ".csv":
            return list(csv.DictReader(text.splitlines(keepends=True)))
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        document = json.loads(text)
    except OSError as error:
        raise DataError(f"{displayed(str(path))} can't be read: {error.strerror}.", "Check its permissions.") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{displayed(str(path))} is damaged: {error}.", "Correct it and try again.") from error
    if not isinstance(document, list):
        raise DataError(f"{displayed(str(path))} is no list of rows.", "Write a JSON list with one object a clip.")
    return document
