"""One conversation with one project: the compiled graph over session.sqlite, spoken to in turns and heard as events.

It draws nothing; the line mode and the headless verbs show its events each in their way.
"""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command

from agent.approve import Question, answer_of
from agent.desk import Desk
from agent.graph import Graph, build_graph
from agent.state import AgentState, Stage, artifacts_of, note_from_graph
from agent.turn import answer_to, calls_of, printable
from prompts.fence import unfence
from trainer_core.errors import ConfigError, ExternalError, LtxError
from trainer_core.files import storage_error

THREAD = "conversation"
BUSY_TIMEOUT_S = 10.0
MOST_STEPS_A_TURN = 60


@dataclass(frozen=True)
class Said:
    """Words of the chat model."""

    text: str


@dataclass(frozen=True)
class Called:
    """A tool is about to run."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Returned:
    """A tool call has ended."""

    tool: str
    result: dict[str, Any] | None
    """What the tool returned, shortened; None when it failed or only moved the conversation."""
    refusal: str = ""
    """Why it did not run to its end."""


@dataclass(frozen=True)
class Progressed:
    """A tool is at work."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Asked:
    """The conversation waits for an approval."""

    question: Question


Event = Said | Called | Returned | Progressed | Asked


class Session:
    """A conversation that outlives the process; made by `open_session`."""

    def __init__(self, desk: Desk, graph: Graph) -> None:
        self._desk = desk
        self._graph = graph
        self._config: RunnableConfig = {"configurable": {"thread_id": THREAD}, "recursion_limit": MOST_STEPS_A_TURN}

    @property
    def state(self) -> AgentState:
        return self._graph.get_state(self._config).values  # type: ignore[return-value]

    def pending(self) -> Question | None:
        """The approval that the conversation waits for, if any."""
        interrupts = self._graph.get_state(self._config).interrupts
        return Question.from_json(interrupts[0].value) if interrupts else None

    def begin(self, goal: str, until: Stage, fixed: Mapping[str, Any] | None = None) -> Iterator[Event]:
        """Start the work at its first stage, with a goal in the person's words."""
        goal = printable(goal)
        about = f"The person's goal: {goal}" if goal else "The person named no goal."
        start = {"stage": "inspect", "until": until, "goal": goal, "fixed": dict(fixed or {})}
        return self._turn(
            {**start, "messages": [*self._unanswered(), note_from_graph(f"{about}\nNext stage: inspect.")]}
        )

    def say(self, words: str) -> Iterator[Event]:
        """Say something, as the person."""
        return self._turn({"until": "monitor", "messages": [*self._unanswered(), HumanMessage(printable(words))]})

    def answer(self, approved: bool, words: str = "", until: Stage | None = None) -> Iterator[Event]:
        """Answer the pending approval; `until` lets the work go on further than what asked for it."""
        update = {"until": until} if until is not None else {}
        return self._stream(Command(resume=answer_of(approved, printable(words)), update=update))

    def _turn(self, update: dict[str, Any]) -> Iterator[Event]:
        project = self._desk.project
        before = self.state
        facts = {
            "project": printable(str(project.path)),
            "artifacts": artifacts_of(project),
            "finished": None,
            "error": None,
            "goal": before.get("goal", printable(project.facts.goal)),
            "stage": before.get("stage", "inspect"),
            "approvals": before.get("approvals", {}),
            "fixed": {},
        }
        return self._stream({**facts, **update})

    def _unanswered(self) -> list[ToolMessage]:
        """Answers to calls that a question left open or a crash cut off: endpoints refuse a call without one."""
        messages = self.state.get("messages", [])
        if not messages or not isinstance(messages[-1], AIMessage):
            return []
        return [answer_to(call, "Not run: the conversation went on.", failed=True) for call in calls_of(messages[-1])]

    def _stream(self, step: Any) -> Iterator[Event]:
        with _database_errors(self._desk.project.session_path):
            try:
                for mode, chunk in self._graph.stream(
                    step,
                    self._config,
                    context=self._desk,
                    stream_mode=["updates", "custom"],
                    durability="sync",
                ):
                    yield from _events(mode, chunk)
            except GraphRecursionError as error:
                raise ExternalError(
                    f"The model made {MOST_STEPS_A_TURN} moves without coming to an end.",
                    "Say it in other words, or use --llm builtin.",
                ) from error
            self._forget_old_checkpoints()
        question = self.pending()
        if question is not None:
            yield Asked(question)

    def _forget_old_checkpoints(self) -> None:
        """Keep the last checkpoint alone: each holds every message, so the file would grow with their square."""
        last = self._graph.get_state(self._config).config["configurable"]["checkpoint_id"]
        saver = self._graph.checkpointer
        assert isinstance(saver, SqliteSaver)
        with saver.cursor() as cursor:
            for table in ("checkpoints", "writes"):
                cursor.execute(f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id <> ?", (THREAD, last))


@contextlib.contextmanager
def open_session(desk: Desk) -> Iterator[Session]:
    """Open the project's conversation, for one process at a time.

    Raises ConfigError when another process is in it or when session.sqlite can't be read or written.
    """
    path = desk.project.session_path
    with _only_process(path), _database_errors(path):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        with contextlib.closing(connection):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
            # None allows LangGraph's list of safe types alone: a foreign session file can't make us import anything
            saver = SqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
            saver.setup()
            yield Session(desk, build_graph(saver))


def _events(mode: str, chunk: Any) -> Iterator[Event]:
    if mode == "custom":
        yield Progressed(**chunk)
        return
    for node, update in chunk.items():
        if node == "__interrupt__" or not update:
            continue
        for message in update.get("messages", []):
            if isinstance(message, AIMessage):
                text = message.text.strip()
                if text:
                    yield Said(text)
                for call in calls_of(message):
                    yield Called(call["name"] or "", call["args"] if isinstance(call["args"], dict) else {})
            elif isinstance(message, ToolMessage):
                yield _returned(message)


def _returned(message: ToolMessage) -> Returned:
    text = unfence("data", message.text)
    if message.status == "error":
        return Returned(message.name or "", None, text or message.text)
    return Returned(message.name or "", json.loads(text) if text is not None else None)


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
def _database_errors(path: Path) -> Iterator[None]:
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
