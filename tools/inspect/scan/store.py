"""Store of scan results by content: unchanged files aren't scanned again, an interrupted scan continues.

A cache: when it can't be read it is made again. Rows are committed as they come, so that a kill loses the last second.
"""

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

import tools.inspect.checks
import trainer_core.data.media.probe
from tools.inspect.checks.check import Numbers
from tools.inspect.scan.scan_file import Look, read_look
from trainer_core.files import storage_error

COMMIT_EVERY_S = 1.0
SETTLED_NS = 2_000_000_000
"""A file changed less than this before it was hashed may have been changed again within the clock's grain."""
_TABLES = """
CREATE TABLE IF NOT EXISTS looks (sha256 TEXT, name BLOB, version TEXT, look TEXT, sheet TEXT,
                                  PRIMARY KEY (sha256, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, stamp TEXT, sha256 TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""


@functools.cache
def measures_version() -> str:
    """A digest of the code that looks and of the libraries it looks with: another version looks again."""
    digest = hashlib.sha256(f"{av.__version__} {cv2.__version__} {np.__version__}".encode())
    package = Path(tools.inspect.checks.__file__).parent
    core = Path(trainer_core.data.media.probe.__file__).parent
    modules = [*package.glob("*.py"), *(Path(__file__).with_name(f"{name}.py") for name in _LOOKING), core / "probe.py"]
    for module in sorted([*modules, core / "decode.py"]):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


_LOOKING = ("audio", "exposure", "frame", "scan_file", "scenes", "summary", "thumbnails")


@dataclass(frozen=True)
class Stamp:
    """A file system's facts about a file; another content has another stamp, if `settled`."""

    text: str
    settled: bool


def stamp_of(file: Path) -> Stamp | None:
    """The file's stamp, None when it is no regular file that can be reached."""
    try:
        found = file.stat()
    except OSError:
        return None
    text = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {found.st_dev}"
    return Stamp(text, time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS)


class LookStore:
    """The looks of one project, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            self._database = self._opened()
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._database = self._opened()
        self._committed_s = time.monotonic()

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=10.0)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_TABLES)
        version = database.execute("SELECT value FROM facts WHERE name = 'version'").fetchone()
        if version != (measures_version(),):  # else all looks needn't be gone through
            database.execute("DELETE FROM looks WHERE version != ?", (measures_version(),))
            database.execute("INSERT OR REPLACE INTO facts VALUES ('version', ?)", (measures_version(),))
        return database

    def fact(self, name: str) -> str | None:
        """A text kept under that name."""
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row is not None and row[0] is not None else None

    def keep_fact(self, name: str, value: str | None) -> None:
        """Keep a text under a name; None forgets it."""
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def digests(self) -> dict[bytes, tuple[str, str]]:
        """The stamp and sha256 of every file that was hashed, by its path."""
        return {path: (stamp, sha256) for path, stamp, sha256 in self._database.execute("SELECT * FROM files")}

    def holds_looks(self) -> bool:
        """True if any look is stored."""
        return self._database.execute("SELECT 1 FROM looks LIMIT 1").fetchone() is not None

    def look(self, sha256: str, file: Path) -> Look | None:
        """The look at this content, without its contact sheet; None when it wasn't looked at."""
        query = "SELECT look FROM looks WHERE sha256 = ? AND name IN (?, ?)"
        row = self._database.execute(query, (sha256, _key(file.suffix), _key(file.name))).fetchone()
        return read_look({**json.loads(row[0]), "sheet": None}) if row is not None else None

    def numbers(self, look: Look, file: Path) -> dict[str, Numbers]:
        """Return the checks' measures in a file, whose look says of which content it is."""
        if look.numbers or look.probe is None or look.sha256 is None:
            return look.numbers
        stored = self.look(look.sha256, file)
        return stored.numbers if stored is not None else {}

    def sheet(self, sha256: str) -> str | None:
        """The contact sheet of this content, a JPEG in base64."""
        row = self._database.execute("SELECT sheet FROM looks WHERE sha256 = ?", (sha256,)).fetchone()
        return str(row[0]) if row is not None and row[0] is not None else None

    def keep(self, file: Path, stamp: Stamp | None, sha256: str, look: Look | None) -> None:
        """Store a look, and which content the file has if it was settled when it was hashed."""
        if look is not None:
            document: dict[str, Any] = look.document()
            sheet = document.pop("sheet")
            # what is said of an undecodable file names it; of any other only its suffix matters
            name = _key(file.suffix if look.error is None else file.name)
            row = sha256, name, measures_version(), json.dumps(document), sheet
            self._database.execute("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?)", row)
        if stamp is not None and stamp.settled:
            self._database.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (os.fsencode(file), stamp.text, sha256)
            )
        if time.monotonic() - self._committed_s > COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        self._database.commit()
        self._committed_s = time.monotonic()

    def close(self) -> None:
        self.commit()
        self._database.close()


def _key(name: str) -> bytes:
    return os.fsencode(name)


@contextlib.contextmanager
def look_store(path: Path) -> Iterator[LookStore]:
    """Open the store and close it, committed, however the work ends. Raises ExternalError when the disk is full."""
    store = LookStore(path)
    try:
        yield store
    except sqlite3.OperationalError as error:
        raise storage_error(path, OSError(str(error))) from error
    finally:
        with contextlib.suppress(sqlite3.Error):
            store.close()
