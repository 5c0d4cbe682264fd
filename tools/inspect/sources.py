"""Finding the files to look at: folders, walked whole, and metadata files in upstream's columns. Only reads."""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tools.inspect.names import displayed
from trainer_core.errors import ConfigError, DataError

METADATA_SUFFIXES = (".csv", ".json", ".jsonl")
COLUMN_ALIASES = {"media_path": "video", "ref_media_path": "reference_video"}
PATH_COLUMNS = ("video", "audio", "reference_video", "reference_audio", "video_mask", "audio_mask")


@dataclass(frozen=True)
class FoundFile:
    """A file to look at: `path` is relative to the folder `source`, in POSIX spelling, its name kept exactly.

    `problem` says why it can't even be opened.
    """

    source: str
    path: str
    columns: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    @property
    def file(self) -> Path:
        return Path(self.source) / self.path

    @property
    def key(self) -> bytes:
        """The file's path as the file system spells it."""
        return os.fsencode(os.path.join(self.source, self.path))  # noqa: PTH118 (a Path costs ten times as much)


def find_files(sources: list[str]) -> list[FoundFile]:
    """Return the files of all sources, in a stable order.

    Raises ConfigError for a source that doesn't exist, DataError for an empty folder or a metadata file that is wrong.
    """
    found: list[FoundFile] = []
    for source in sources:
        path = Path(os.path.abspath(Path(source).expanduser()))  # noqa: PTH100 (symbolic links stay as they are)
        if path.is_dir():
            found.extend(_in_folder(path))
        elif path.is_file() and path.suffix.lower() in METADATA_SUFFIXES:
            found.extend(_in_metadata(path))
        elif path.exists():
            raise ConfigError(
                f"{displayed(str(path))} is neither a folder nor a metadata file ({' '.join(METADATA_SUFFIXES)}).",
                "Give the folder that holds the clips.",
            )
        else:
            raise ConfigError(f"There is no folder {displayed(str(path))}.", "Check the spelling of the path.")
    return list({entry.file: entry for entry in reversed(found)}.values())[::-1]


def _in_folder(folder: Path) -> list[FoundFile]:
    found = sorted(_walk(folder, folder, frozenset()), key=lambda entry: entry.path)
    if not found:
        raise DataError(f"The folder {displayed(str(folder))} is empty.", "Put video clips into it, or give another.")
    return found


def _walk(root: Path, folder: Path, inside: frozenset[tuple[int, int]]) -> Iterator[FoundFile]:
    """Yield every visible file below `folder`; `inside` are the folders on the way down, so that a loop ends."""
    relative = folder.relative_to(root)
    try:
        identity = folder.stat()
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        yield FoundFile(str(root), relative.as_posix(), problem=f"the folder can't be read: {error.strerror}")
        return
    here = (identity.st_dev, identity.st_ino)
    if here in inside:
        return
    for name in names:
        if name.startswith("."):
            continue
        if os.path.isdir(folder / name):  # noqa: PTH112 (a link to itself is no folder; Path.is_dir may raise)
            yield from _walk(root, folder / name, inside | {here})
        else:
            yield FoundFile(str(root), (relative / name).as_posix())


def _in_metadata(path: Path) -> list[FoundFile]:
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
    return list(found.values())


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
    return FoundFile(str(metadata.parent), main, further)


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
