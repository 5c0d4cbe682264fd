"""session.sqlite beside LangGraph's own tables: conversations, the ledger of calls, decisions to undo, tokens spent.

One process owns the file at a time. Everything here is small: texts and figures, never tensors or logs.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trainer_core.errors import ConfigError, ExternalError, LtxError
from trainer_core.files import storage_error

BUSY_TIMEOUT_S = 10.0
KEPT_DECISIONS = 20
"""How many decisions back `undo` can go; older checkpoints are pruned."""

_TABLES = """
CREATE TABLE IF NOT EXISTS conversations (name TEXT PRIMARY KEY, title TEXT, created_at REAL, used_at REAL,
    settings TEXT);
CREATE TABLE IF NOT EXISTS calls (conversation TEXT, key TEXT, tool TEXT, arguments TEXT, started_at REAL,
    status TEXT, answer TEXT, PRIMARY KEY (conversation, key));
CREATE TABLE IF NOT EXISTS decisions (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation TEXT, checkpoint_id TEXT,
    time REAL, what TEXT, files TEXT);
CREATE TABLE IF NOT EXISTS file_versions (sha256 TEXT PRIMARY KEY, content BLOB);
CREATE TABLE IF NOT EXISTS spent (conversation TEXT, time REAL, model TEXT, input_tokens INTEGER,
    output_tokens INTEGER, money REAL);
"""


@dataclass(frozen=True)
class Conversation:
    """One conversation of a project; `title` is its goal or its first words. Times are Unix seconds."""

    name: str
    title: str
    created_at: float
    used_at: float


@dataclass(frozen=True)
class Decision:
    """Something the user said or allowed. `time` is in Unix seconds."""

    id: int
    time: float
    what: str
    checkpoint_id: str
    files: dict[str, str]
    """The deciding files as they were before it: name to the digest of its content, "" when there was none."""


@dataclass(frozen=True)
class CallRecord:
    """One tool call in the ledger; `answer` is None while it runs, and after a crash cut it off."""

    started_at: float
    status: str
    answer: str | None


@dataclass(frozen=True)
class Spent:
    """Tokens and money used by the chat model. `money` counts what the settings have prices for."""

    input_tokens: int
    output_tokens: int
    money: float

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Store:
    """The tables of one project; made by `open_store`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def conversations(self) -> list[Conversation]:
        """All conversations, the one used last first."""
        rows = self._db.execute("SELECT name, title, created_at, used_at FROM conversations ORDER BY used_at DESC")
        return [Conversation(*row) for row in rows]

    def use(self, name: str, title: str = "") -> None:
        """Note that the conversation is used now; its first title stays."""
        now = time.time()
        self._db.execute(
            "INSERT INTO conversations VALUES (?, ?, ?, ?, '{}') ON CONFLICT (name) DO UPDATE SET used_at = ?, "
            "title = CASE WHEN title = '' THEN ? ELSE title END",
            (name, title, now, now, now, title),
        )

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings of this conversation alone, such as its model and its budget."""
        row = self._db.execute("SELECT settings FROM conversations WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else {}

    def write_settings(self, name: str, settings: dict[str, Any]) -> None:
        self.use(name)
        self._db.execute("UPDATE conversations SET settings = ? WHERE name = ?", (json.dumps(settings), name))

    def call(self, name: str, key: str) -> CallRecord | None:
        """Return the ledger's record of a call, None when it never began."""
        found = self._db.execute(
            "SELECT started_at, status, answer FROM calls WHERE conversation = ? AND key = ?", (name, key)
        ).fetchone()
        return CallRecord(*found) if found else None

    def begin_call(self, name: str, key: str, tool: str, arguments: Any) -> None:
        """Write down that a call starts, before it has any effect."""
        row = (name, key, tool, json.dumps(arguments, default=str), time.time())
        self._db.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, 'started', NULL)", row)

    def end_call(self, name: str, key: str, status: str, answer: str) -> None:
        self._db.execute(
            "UPDATE calls SET status = ?, answer = ? WHERE conversation = ? AND key = ?", (status, answer, name, key)
        )

    def decide(self, name: str, checkpoint_id: str, what: str, files: dict[str, bytes | None]) -> None:
        """Remember a decision with the files as they are before it; forget those that are too old to undo."""
        digests = {file: self._keep(content) for file, content in files.items()}
        self._db.execute(
            "INSERT INTO decisions (conversation, checkpoint_id, time, what, files) VALUES (?, ?, ?, ?, ?)",
            (name, checkpoint_id, time.time(), what, json.dumps(digests)),
        )
        self._db.execute(
            "DELETE FROM decisions WHERE conversation = ? AND id NOT IN "
            "(SELECT id FROM decisions WHERE conversation = ? ORDER BY id DESC LIMIT ?)",
            (name, name, KEPT_DECISIONS),
        )
        used = {digest for (text,) in self._db.execute("SELECT files FROM decisions") for digest in _digests(text)}
        for (digest,) in self._db.execute("SELECT sha256 FROM file_versions").fetchall():
            if digest not in used:
                self._db.execute("DELETE FROM file_versions WHERE sha256 = ?", (digest,))

    def decisions(self, name: str) -> list[Decision]:
        """The decisions of a conversation that can be undone, oldest first."""
        rows = self._db.execute(
            "SELECT id, time, what, checkpoint_id, files FROM decisions WHERE conversation = ? ORDER BY id", (name,)
        )
        return [Decision(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in rows]

    def file_version(self, digest: str) -> bytes | None:
        """A deciding file's content by its digest; None for a file that did not exist."""
        row = self._db.execute("SELECT content FROM file_versions WHERE sha256 = ?", (digest,)).fetchone()
        return bytes(row[0]) if row else None

    def undo(self, name: str, decision: Decision) -> None:
        """Take the conversation back to before `decision`: its checkpoint is the last one again, unanswered."""
        for table in ("checkpoints", "writes"):
            self._db.execute(
                f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id > ?", (name, decision.checkpoint_id)
            )
        self._db.execute(
            "DELETE FROM writes WHERE thread_id = ? AND checkpoint_id = ? AND channel <> '__interrupt__'",
            (name, decision.checkpoint_id),
        )
        self._db.execute("DELETE FROM decisions WHERE conversation = ? AND id >= ?", (name, decision.id))

    def prune(self, name: str, last_checkpoint_id: str) -> None:
        """Keep the last checkpoint and those a decision goes back to: each holds every message of its time."""
        kept = {last_checkpoint_id, *(decision.checkpoint_id for decision in self.decisions(name))}
        marks = ", ".join("?" for _ in kept)
        # checkpoints within a stage name the one of the whole graph that they belong to
        self._db.execute(
            "DELETE FROM checkpoints WHERE thread_id = ? AND (CASE checkpoint_ns WHEN '' THEN checkpoint_id "
            f"ELSE json_extract(CAST(metadata AS TEXT), '$.parents.\"\"') END) NOT IN ({marks})",
            (name, *kept),
        )
        self._db.execute(
            "DELETE FROM writes WHERE thread_id = ? AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE "
            "checkpoints.thread_id = writes.thread_id AND checkpoints.checkpoint_ns = writes.checkpoint_ns "
            "AND checkpoints.checkpoint_id = writes.checkpoint_id)",
            (name,),
        )

    def spend(self, name: str, model: str, input_tokens: int, output_tokens: int, money: float) -> None:
        row = (name, time.time(), model, input_tokens, output_tokens, money)
        self._db.execute("INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?)", row)

    def spent(self, name: str) -> Spent:
        """The sum of what this conversation has used."""
        row = self._db.execute(
            "SELECT COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0), COALESCE(SUM(money), 0.0) "
            "FROM spent WHERE conversation = ?",
            (name,),
        ).fetchone()
        return Spent(*row)

    def _keep(self, content: bytes | None) -> str:
        if content is None:
            return ""
        digest = hashlib.sha256(content).hexdigest()
        self._db.execute("INSERT OR IGNORE INTO file_versions VALUES (?, ?)", (digest, content))
        return digest


@contextlib.contextmanager
def open_store(path: Path) -> Iterator[tuple[sqlite3.Connection, Store]]:
    """Open session.sqlite for one process at a time; yields LangGraph's connection and our store.

    Raises ConfigError when another process is in it or when it can't be read or written.
    """
    with (
        _only_process(path),
        database_errors(path),
        contextlib.closing(_connect(path)) as langgraphs,
        contextlib.closing(_connect(path)) as ours,
    ):
        ours.isolation_level = None  # every statement of ours is a transaction of its own
        ours.executescript(_TABLES)
        yield langgraphs, Store(ours)


def stored_settings(path: Path, name: str) -> dict[str, Any]:
    """Return a conversation's own settings without entering it; empty when there are none."""
    settings = _glance(path, "SELECT settings FROM conversations WHERE name = ?", name)
    return dict(json.loads(settings)) if settings else {}


def last_conversation(path: Path) -> str | None:
    """The name of the conversation used last, read without entering it."""
    return _glance(path, "SELECT name FROM conversations ORDER BY used_at DESC LIMIT 1")


def _glance(path: Path, query: str, *values: str) -> str | None:
    if not path.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            row = connection.execute(query, values).fetchone()
    except sqlite3.DatabaseError:  # opening the session says what is wrong with the file
        return None
    return str(row[0]) if row and row[0] else None


def use_conversation(path: Path, name: str) -> None:
    """Make `name` the conversation used last, so that whoever opens the project next is in it."""
    with open_store(path) as (_, store):
        store.use(name)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
    path.chmod(0o600)
    return connection


def _digests(files: str) -> list[str]:
    return list(json.loads(files).values())


@contextlib.contextmanager
def _only_process(path: Path) -> Iterator[None]:
    lock = path.with_suffix(".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise storage_error(lock, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another ltx-agent is in the conversation of {path.parent}.",
                "Quit it first; `ltx-agent status` works meanwhile.",
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Say what SQLite refuses in a person's words."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: sqlite3.DatabaseError) -> LtxError:
    code = error.sqlite_errorcode if hasattr(error, "sqlite_errorcode") else None
    if code == sqlite3.SQLITE_FULL:
        return ExternalError(f"The disk is full: {path} could not be written.", "Free some space and say it again.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return ConfigError(f"{path} can't be written: {error}.", "Choose a folder you may write with --project.")
    if code == sqlite3.SQLITE_BUSY:
        return ConfigError(f"{path} is in use by another process.", "Quit that one and try again.")
    return ConfigError(
        f"{path} can't be used: {error}.",
        "Move it away to start a new conversation; only the conversation is in it.",
    )
