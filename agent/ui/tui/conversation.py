"""The conversation's own thread: it opens the session, runs one turn at a time and posts what it hears. No Textual.

The terminal's thread only ever puts words into a queue, so no model call, scan or file ever makes it wait.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer_core.errors import LtxError

if TYPE_CHECKING:
    from agent.context import AgentContext
    from agent.session.session import Session
    from tools.project import Project

Post = Callable[[object], None]
Turn = Callable[["Session"], Generator[Any]]


@dataclass(frozen=True)
class Opened:
    """The session is open; `history` are its events so far, `model` who answers."""

    history: list[Any]
    model: str


@dataclass(frozen=True)
class Began:
    """A turn has begun."""


@dataclass(frozen=True)
class Happened:
    """One event of `agent.session.session`."""

    event: Any


@dataclass(frozen=True)
class Ended:
    """A turn has ended; `error` says why when it was not by itself, `model` who answers from now on.

    `is_told` of an interrupted one: an event of the turn has said already how far its work came.
    """

    error: Exception | None = None
    interrupted: bool = False
    is_told: bool = False
    model: str = ""


@dataclass(frozen=True)
class Closed:
    """The session can't be used."""

    error: Exception


Told = Opened | Began | Happened | Ended | Closed
"""What the thread posts."""


def context_of_project(project: "Project", llm: str) -> "AgentContext":
    """Return the context of a project with the real tools; importing them takes a moment."""
    from agent.context import open_context

    return open_context(project, llm)


class ConversationThread:
    """A session in a thread of its own; `post` is called from that thread."""

    def __init__(self, open_context: Callable[[], "AgentContext"], post: Post) -> None:
        self._open_context, self._post = open_context, post
        self._turns: queue.Queue[Turn | None] = queue.Queue()
        self._interrupted = threading.Event()
        self._news_error = ""
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="conversation", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self, turn: Turn) -> None:
        """Run `turn` when the ones before it have ended."""
        self._turns.put(turn)

    def interrupt(self) -> None:
        """End the turn that is going on: what is at work stops at its next report; what was written stays."""
        self._interrupted.set()
        if self._session is not None:
            self._session.interrupt()

    def close(self, wait_s: float) -> bool:
        """Ask the thread to end; True when it has ended within `wait_s`."""
        self.interrupt()
        self._turns.put(None)
        if self._thread.ident is not None:
            self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            from agent.session.session import open_session

            with open_session(self._open_context()) as session:
                self._session = session
                self._post(Opened(_history(session), session.model_name))
                if session.is_unfinished:
                    self._post(Began())
                    self._post(self._hear(session, lambda opened: opened.resume()))
                while (turn := self._next(session)) is not None:
                    self._post(Began())
                    self._post(self._hear(session, turn))
        except Exception as error:
            self._post(Closed(error))

    def _next(self, session: "Session") -> Turn | None:
        """Wait for the next turn, posting what happens outside the conversation meanwhile."""
        from agent.session.alerts import pause_after

        pause_s = 0.0
        while True:
            with contextlib.suppress(queue.Empty):
                return self._turns.get(timeout=pause_s)
            pause_s = pause_after(lambda: self._tell_news(session))

    def _tell_news(self, session: "Session") -> None:
        from agent.session.alerts import cant_judge

        try:
            for alert in session.alerts():
                self._post(Happened(alert))
        except Exception as error:  # the talk goes on; what is wrong with a run's files is said once
            if repr(error) != self._news_error:
                self._news_error = repr(error)
                self._post(Happened(cant_judge(error)))

    def _hear(self, session: "Session", turn: Turn) -> Ended:
        from agent.session.events import Progressed, Returned, Streamed

        self._interrupted.clear()
        is_told = False
        try:
            with contextlib.closing(turn(session)) as events:
                for event in events:
                    is_told |= isinstance(event, Returned) and event.was_interrupted
                    if not self._interrupted.is_set() or not isinstance(event, Progressed | Streamed):
                        self._post(Happened(event))
        except LtxError as error:
            return Ended(error)
        except Exception as error:
            from agent.cli.crash import record_crash

            return Ended(RuntimeError(record_crash(error)))
        return Ended(None, self._interrupted.is_set(), is_told, session.model_name)


def _history(session: "Session") -> list[Any]:
    from agent.session.events import Asked

    events: list[Any] = list(session.transcript())
    question = session.pending()
    return [*events, Asked(question)] if question is not None else events
