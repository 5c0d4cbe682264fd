"""Metadata files in upstream's columns: CSV, JSON and JSONL, one row a clip. Only reads."""

import codecs
import csv
import difflib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tools.inspect.discover.media_file import COLUMNS, FoundFile
from tools.inspect.discover.names import displayed
from trainer_core.errors import DataError

METADATA_SUFFIXES = (".csv", ".json", ".jsonl")
METADATA_NAMES = tuple(f"{stem}{suffix}" for stem in ("metadata", "dataset") for suffix in METADATA_SUFFIXES)
"""Files of these names inside a folder of clips are read; any other must be given as the source itself."""
COLUMN_ALIASES = {"media_path": "video", "ref_media_path": "reference_video"}
PATH_COLUMNS = ("video", *COLUMNS)
CAPTION_COLUMNS = ("caption", "text", "prompt", "description")
_READ = (*PATH_COLUMNS, *COLUMN_ALIASES, *CAPTION_COLUMNS)
_ALIKE = 0.8
"""A column's name as near to a known one as this (difflib's ratio) may be meant to be it."""


def found_in_metadata(path: Path) -> list[FoundFile]:
    """Return the clips that the rows name, then the further files that belong to them.

    Raises DataError, naming the row, for what can't be read as rows of media.
    """
    rows = read_rows(path)
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


def remark_on_columns(found: Iterable[FoundFile]) -> list[str]:
    """One sentence, or none, on the columns of metadata that nothing reads: one may be a slip of the pen."""
    names = dict.fromkeys(name for entry in found for name in entry.unread_columns)
    if not names:
        return []
    meant = {name: difflib.get_close_matches(name.casefold(), _READ, 1, _ALIKE) for name in names}
    listed = [f"`{displayed(name)}`" + (f" (meant to be {near[0]}?)" if near else "") for name, near in meant.items()]
    return [f"The metadata has columns that nothing reads: {', '.join(listed)}. Those read are {', '.join(_READ)}."]


def _from_row(metadata: Path, number: int, row: dict[str, Any]) -> FoundFile:
    where = f"{displayed(metadata.name)}, row {number}"
    columns = {COLUMN_ALIASES.get(name, name): value for name, value in row.items() if value not in (None, "")}
    paths: dict[str, str] = {}
    for name in PATH_COLUMNS:
        value = columns.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or "\0" in value:
            raise DataError(f"{where}: the column {name} holds {value!r}, not a path.", "Correct the row.")
        paths[name] = _confined(metadata.parent, where, name, value)
    main = paths.get("video") or paths.get("audio")
    if main is None:
        raise DataError(
            f"{where} names neither video nor audio; its columns are {', '.join(map(displayed, map(str, row)))}.",
            "Name the clip's column `video` (or `media_path`), or `audio`.",
        )
    further = {name: value for name, value in paths.items() if value != main}
    unread = tuple(name for name in columns if name not in _READ)
    return FoundFile(
        str(metadata.parent), main, further, paired_by="metadata" if further else None, unread_columns=unread
    )


def _confined(folder: Path, where: str, column: str, value: str) -> str:
    """The path, relative to the metadata file's folder, in POSIX spelling. Raises DataError when it leads out of it."""
    parts = PurePosixPath(
        os.path.relpath(value, folder) if PurePosixPath(value).is_absolute() else os.path.normpath(value)
    )
    if parts.is_absolute() or parts.parts[:1] == ("..",):
        raise DataError(
            f"{where}: {column} `{displayed(value)}` lies outside the folder of the metadata file.",
            "Use paths inside that folder, best relative to the metadata file.",
        )
    return parts.as_posix()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metadata file by the names of their columns, in UTF-8 or, with a mark at its beginning, UTF-16.

    Bytes that aren't UTF-8 stay as surrogates, for paths are bytes. Raises DataError that names the row or line.
    """
    try:
        raw = path.read_bytes()
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = raw.decode("utf-16") if wide else raw.decode("utf-8-sig", errors="surrogateescape")
        rows = _rows_of(path.suffix.lower(), text)
    except OSError as error:
        raise DataError(f"{displayed(str(path))} can't be read: {error.strerror}.", "Check its permissions.") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{displayed(str(path))} is damaged: {error}.", "Correct it and try again.") from error
    if not isinstance(rows, list):
        raise DataError(f"{displayed(str(path))} is no list of rows.", "Write a JSON list with one object a clip.")
    for number, row in enumerate(rows, start=1):
        where = f"{displayed(path.name)}, row {number}"
        if not isinstance(row, dict):
            raise DataError(f"{where} is no object with named columns.", "Write one object a clip.")
        beyond: Sequence[str] = row.pop(None, ())
        if any(beyond):
            raise DataError(
                f"{where} has more fields than the file has columns: `{displayed(','.join(beyond))[:80]}` is too much.",
                "Put text that holds the separator into double quotes.",
            )
    return rows


def _rows_of(suffix: str, text: str) -> Any:
    """What the text says, read as CSV (separated by commas, semicolons or tabs), JSONL or JSON. Raises ValueError."""
    if suffix == ".csv":
        header = text.split("\n", 1)[0]
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        return list(reader)
    return list(_lines(text)) if suffix == ".jsonl" else json.loads(text)


def _lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            if line.strip():
                yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}, character {error.colno}: {error.msg}") from error
