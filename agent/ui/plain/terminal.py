"""The person's line: with readline on a terminal (Tab, history, pasted lines, news as it waits), or from a pipe."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

from agent.session.alerts import cant_judge, pause_after
from agent.session.events import Alerted
from agent.session.session import Session
from agent.ui.plain.shown import alert_text, say
from agent.ui.plain.waiting_input import forget_typed, pipe_of_stdin
from agent.ui.shared.history import PromptHistory

Complete = Callable[[str], list[str]]
GOES_ON = "\\"
"""A line that ends with it goes on in the next one."""


class Terminal:
    """Asks for one thing at a time. `past` and `complete` belong to what is typed to the conversation."""

    def __init__(self) -> None:
        self.past = PromptHistory(None)
        self.complete: Complete = lambda _: []
        self.pipe = pipe_of_stdin()
        self._readline = _readline()
        self._news = _News()

    def remember(self, past: PromptHistory) -> None:
        """Take the inputs of a project for what the arrow keys bring back."""
        self.past = past
        if self._readline is not None:
            self._readline.clear_history()
            for text in past.entries:
                self._readline.add_history(text)

    def forget(self) -> None:
        """Throw away what was typed or written up to now: a question that is shown next reads only what follows it."""
        if self.pipe.forget() if self.pipe is not None else forget_typed():
            say("What you typed before this was asked is no answer to it, and was left out.")

    def ask(self, question: str, session: Session | None = None, complete: Complete | None = None) -> str | None:
        """Return what the person says next, lines joined as they meant them; None at the end of input.

        What runs report meanwhile is shown as it comes.
        """
        prompt = f"{question} > " if question else "> "
        try:
            with self._completing(complete or (lambda _: [])), self._news.told(session, prompt, self._readline):
                text = self._line(prompt)
                while text.endswith(GOES_ON):
                    text = text.removesuffix(GOES_ON) + "\n" + self._line("… " if self._readline else "")
        except EOFError:
            print()
            return None
        return text.strip()

    def _line(self, prompt: str) -> str:
        if self.pipe is None:
            return input(prompt)
        print(prompt, end="", flush=True)
        return self.pipe.line()

    def listen(self, question: str, session: Session) -> str | None:
        """The same for what is said to the conversation: Tab completes commands, and it is remembered."""
        text = self.ask(question, session, self.complete)
        if text:
            self.past.add(text)
            if self._readline is not None:
                self._readline.add_history(text)
        return text

    @contextlib.contextmanager
    def _completing(self, complete: Complete) -> Iterator[None]:
        if self._readline is None:
            yield
            return
        found: list[str] = []

        def nth(text: str, number: int) -> str | None:
            if number == 0:
                found[:] = complete(text)
            return found[number] if number < len(found) else None

        self._readline.set_completer(nth)
        try:
            yield
        finally:
            self._readline.set_completer(None)


class _News:
    """Looks for news of runs while the person's line waits: in a thread on a terminal, once in a pipe."""

    def __init__(self) -> None:
        self._error = ""

    @contextlib.contextmanager
    def told(self, session: Session | None, prompt: str, readline: ModuleType | None) -> Iterator[None]:
        if session is None:
            yield
            return
        if readline is None:
            self._tell(session, "")
            yield
            return
        answered = threading.Event()

        def watch() -> None:
            pause_s = 0.0
            while not answered.wait(pause_s):
                pause_s = pause_after(lambda: self._tell(session, prompt + readline.get_line_buffer()))

        thread = threading.Thread(target=watch, name="news", daemon=True)
        thread.start()
        try:
            yield
        finally:
            answered.set()
            thread.join()

    def _tell(self, session: Session, line: str) -> None:
        """Show what happened outside the conversation, then the line again that it interrupted."""
        news = self._look(session)
        if news:
            if line:
                print(flush=True)
            for event in news:
                say(alert_text(event))
            print(line, end="", flush=True)

    def _look(self, session: Session) -> list[Alerted]:
        try:
            return session.alerts()
        except Exception as error:  # the talk goes on; what is wrong with a run's files is said once
            if repr(error) == self._error:
                return []
            self._error = repr(error)
            return [cant_judge(error)]


def _readline() -> ModuleType | None:
    """The module where a person types on a terminal and it is there; on a pipe it would write escapes."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or threading.current_thread() is not threading.main_thread():
        return None
    try:
        import readline
    except ImportError:  # a Python built without it
        return None
    readline.set_auto_history(False)
    readline.set_completer_delims("\n")  # what completes is the whole line
    readline.parse_and_bind("tab: complete")
    readline.parse_and_bind("set enable-bracketed-paste on")  # pasted lines are one thing to say; Python turns it off
    return readline
