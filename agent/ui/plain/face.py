"""One conversation in line mode: hearing turns, asking approvals, and what its commands need to know."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from agent.approvals.cards import cost_lines
from agent.approvals.consent import consent_of
from agent.session.events import Event, Question
from agent.session.projects import project_of
from agent.session.session import Session
from agent.text.sanitize import clean_lines
from agent.ui.plain.shown import EventLines, SpokenProgress, alert_text, say
from agent.ui.plain.terminal import Terminal
from tools.project import Project
from trainer_core.errors import LtxError

LEAVE = frozenset({"quit", "exit", "bye", "q", ":q"})


class Face:
    """What commands act on; `goes_to` is the project that the person wants to go on with.

    `asked` is the approval that waits for an answer, `drawn` the one whose card was shown last. `plan_seen` is
    config.yaml as the person saw it last, `plan_told` the version whose changes they were told of.
    """

    def __init__(self, session: Session, terminal: Terminal) -> None:
        self.session, self.terminal = session, terminal
        self.last_said = ""
        self.is_left = False
        self.goes_to: Project | None = None
        self.asked: Question | None = None
        self.drawn: Question | None = None
        self.plan_seen: str | None = None
        self.plan_told: str | None = None

    @property
    def project(self) -> Project:
        return self.session.project

    def agrees(self, question: str) -> bool:
        """Ask yes or no about something of the person's own; anything but a yes is a no."""
        self.terminal.forget()
        return consent_of(self.terminal.ask(f"{question} [y/n]") or "") == "yes"

    def settle(self) -> None:
        """Let what the person just did to the plan be known to the assistant; they need not be told themselves."""
        for event in self.session.alerts():
            if event.about != self.project.config_path.name:
                say(alert_text(event))

    def open(self, folder: Path | str) -> list[str]:
        """Go on with another project, or with the one made of the clips in `folder`."""
        self.goes_to = project_of(Path(folder), None)
        self.is_left = True
        return []

    def say(self, words: str) -> None:
        """Say something to the assistant: an answer while it waits for one."""
        if self.session.pending() is not None:
            self.asked = None
            self.hear(self.session.answer(False, words, until="monitor"))
        else:
            self.hear(self.session.say(words))

    def hear(self, events: Iterator[Event]) -> None:
        """Show a turn; an error or a Ctrl-C while tools work ends the turn and keeps the conversation."""
        shown = EventLines(SpokenProgress())
        try:
            with _interrupting(self.session):
                for event in events:
                    shown.show(event)
                self.last_said = shown.last_said or self.last_said
        except LtxError as error:
            say(clean_lines(str(error)))
        except KeyboardInterrupt:
            self.last_said = shown.last_said or self.last_said
            if not shown.told_interruption:
                say("Interrupted; what was written stays.")


def show_card(question: Question, terminal: Terminal) -> None:
    """Show what there is to judge by, and what a yes costs; only what is typed from now on can answer it."""
    terminal.forget()
    for line in [*question.details, *cost_lines(question.costs)]:
        say(f"  {line}")


def ask_approval(question: Question, terminal: Terminal, session: Session | None = None) -> bool | str | None:
    """Ask for a yes; True and False, other words as they are (empty ones too), None when the person left."""
    asked = f"{question.question} [y/n]"
    words = terminal.listen(asked, session) if session is not None else terminal.ask(asked)
    if words is None or words.lower() in LEAVE:
        return None
    consent = consent_of(words, question.approval)
    return consent == "yes" if consent is not None else words


@contextlib.contextmanager
def _interrupting(session: Session) -> Iterator[None]:
    """Let the first Ctrl-C ask the turn to end, which keeps what a tool did; the second one breaks it off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def ask(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        session.interrupt()
        say("\nInterrupting; Ctrl-C again breaks it off at once.")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt
