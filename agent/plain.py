"""Line mode: a person talks to the graph line by line, on a dumb terminal, over SSH or through a pipe."""

import contextlib
import dataclasses
import select
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from agent.approve import DECLINED
from agent.cards import cost_lines
from agent.commands import is_command, obey
from agent.desk import open_desk
from agent.events import Alerted, Called, Event, Progressed, Question, Returned, Said, Streamed
from agent.llm import PLANNER, choose_model, name_of
from agent.progress import ProgressBar, progress_bar
from agent.projects import current_project, project_of
from agent.screen import clean, clean_lines
from agent.session import Session, open_session
from agent.words import understand
from tools.project import Project
from trainer_core.errors import LtxError

LEAVE = frozenset({"quit", "exit", "bye", "q", ":q"})
ALERTS_EVERY_S = 2.0


def talk(target: Path | None, llm: str, conversation: str | None = None) -> None:
    """Hold the conversation until the person leaves; a run that trains goes on."""
    choose_model(llm)  # what is wrong with it is said before anything is asked
    _say("ltx-agent: from a folder of clips to a trained LTX-2 adapter. At most five questions; then it is your turn.")
    project = project_of(target, None) if target is not None else current_project()
    goal = None
    if project is None:
        project = _project_by_questions()
        if project is None:
            return
    desk = open_desk(project, llm, conversation)
    _say(
        f'You talk to {_named(name_of(desk.model))}. "help" says what it understands, "/help" what else there is, '
        '"quit" leaves.'
    )
    if not project.report_path.exists():
        goal = _ask("What shall the adapter learn? (Enter: I look at the clips first)")
        if goal is None:
            return
        if goal:
            project = project_of(project.path, None, goal=goal)
    _say(f"Project: {clean(str(project.path))}")
    with open_session(dataclasses.replace(desk, project=project)) as session:
        if session.is_unfinished:
            _say("Going on where the last session was cut off.")
            _hear(session, session.resume())
        elif goal is not None:
            _hear(session, session.begin(goal, until="monitor"))
        while _listen(session):
            pass


def ask_approval(question: Question, session: Session | None = None) -> bool | str | None:
    """Show what there is to judge and ask; True and False, other words as they are, None when the person left."""
    for line in question.details:
        _say(f"  {line}")
    for line in cost_lines(question.costs):
        _say(f"  {line}")
    words = _ask(f"{question.question} [y/n]", session)
    if words is None or words.lower() in LEAVE:
        return None
    intent = understand(words).intent
    return True if intent == "yes" else False if intent in ("no", "empty") else words


def _listen(session: Session) -> bool:
    """Take one line of the person, or one answer; False when they left."""
    question = session.pending()
    if question is not None:
        answer = ask_approval(question, session)
        if answer is None:
            return False
        if isinstance(answer, str) and is_command(answer):
            _obey(session, answer)
        else:
            _hear(session, session.answer(answer is True, answer if isinstance(answer, str) else "", until="monitor"))
        return True
    words = _ask("", session)
    if words is None or words.lower() in LEAVE:
        return False
    if is_command(words):
        _obey(session, words)
    else:
        _hear(session, session.say(words))
    return True


def _obey(session: Session, words: str) -> None:
    try:
        lines = obey(session, words)
    except LtxError as error:
        lines = [str(error)]
    for line in lines:
        _say(clean_lines(line))


def _hear(session: Session, events: Iterator[Event]) -> None:
    """Show a turn; an error or a Ctrl-C while tools work ends the turn and keeps the conversation."""
    try:
        with progress_bar() as bar, _interrupting(session):
            shown = Shown(bar)
            for event in events:
                shown.show(event)
    except LtxError as error:
        _say(clean_lines(str(error)))
    except KeyboardInterrupt:
        _say('\nInterrupted; what was written stays. Say "go on" to take it up again.')


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
        _say("\nInterrupting; Ctrl-C again breaks it off at once.")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


class Shown:
    """Shows events as plain lines: progress as a bar, words while they come."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar
        self._streamed = False

    def show(self, event: Event) -> None:
        if isinstance(event, Progressed):
            self._bar(event.what, event.done, event.total)
            return
        self._bar.clear()
        if isinstance(event, Streamed):
            print(clean_lines(event.text), end="", flush=True)
            self._streamed = True
            return
        if self._streamed:
            print(flush=True)
        if isinstance(event, Said) and not self._streamed:
            _say(clean_lines(event.text))
        elif isinstance(event, Called) and event.tool != "go_to":
            arguments = ", ".join(f"{name}={value!r}" for name, value in event.arguments.items())
            _say(f"→ {clean(event.tool)}({clean(arguments)})")
        elif isinstance(event, Alerted):
            _alert(event)
        elif isinstance(event, Returned) and event.refusal and event.refusal != DECLINED:
            _say(f"× {clean(event.tool)} failed")
        self._streamed = False


def _alert(event: Alerted) -> None:
    _say("\n".join([f"! {clean(event.message)}", *(f"  – {clean(line)}" for line in event.evidence)]))


def _project_by_questions() -> Project | None:
    """Ask for the clips folder until it can be a project; None when the person left."""
    while True:
        folder = _ask("Which folder holds your clips?")
        if folder is None or folder.lower() in LEAVE:
            return None
        try:
            return project_of(Path(folder or "."), None)
        except LtxError as error:
            _say(clean_lines(str(error)))


def _ask(question: str, session: Session | None = None) -> str | None:
    """Return the person's next line, None at the end of input; what runs report meanwhile is shown as it comes."""
    prompt = f"{question} > " if question else "> "
    if session is not None and threading.current_thread() is threading.main_thread():
        if sys.stdin.isatty():
            print(prompt, end="", flush=True)
            while not select.select([sys.stdin], [], [], ALERTS_EVERY_S)[0]:
                _tell_news(session, prompt)
            prompt = ""
        else:
            _tell_news(session, "")
    try:
        return input(prompt).strip()
    except EOFError:
        print()
        return None


def _tell_news(session: Session, prompt: str) -> None:
    """Show what happened outside the conversation, then the prompt again."""
    news = session.alerts()
    if news:
        print(flush=True)
        for event in news:
            _alert(event)
        print(prompt, end="", flush=True)


def _named(model: str) -> str:
    return (
        "the built-in planner (rules, no language model)" if model == PLANNER else f"the language model {clean(model)}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
