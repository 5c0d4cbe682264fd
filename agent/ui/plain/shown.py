"""Events as plain lines that are good to hear: no signs, no bars, nothing drawn over; words while they come."""

import sys
import time
from typing import Protocol

from agent.session.events import Alerted, Called, Event, Listener, Progressed, Returned, Said, Streamed
from agent.state import DECLINED
from agent.text.sanitize import clean, clean_lines

TOLD_EVERY_S = 5.0
"""How often a line tells how far long work is."""


class Progress(Protocol):
    """Shows how far long work is; `clear` makes room for other lines."""

    def __call__(self, what: str, done: int, total: int) -> None: ...

    def clear(self) -> None: ...


class SpokenProgress:
    """Tells how far work is in a line of its own, when other work begins and now and then; on a terminal alone."""

    def __init__(self) -> None:
        self._what = ""
        self._told_s = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        kind = what.split(" · ")[0]
        if sys.stderr.isatty() and (kind != self._what or time.monotonic() - self._told_s >= TOLD_EVERY_S):
            self._what, self._told_s = kind, time.monotonic()
            print(f"{clean(what)}, {done} of {total}", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Nothing is drawn, so nothing stands in the way."""


class EventLines(Listener[None]):
    """Shows the events of one turn; `last_said` is the answer as a whole.

    `told_interruption`: an event said how far the work came that the person interrupted.
    """

    def __init__(self, progress: Progress) -> None:
        self.last_said = ""
        self.told_interruption = False
        self._progress = progress
        self._is_streaming = False

    def show(self, event: Event) -> None:
        event.tell(self)

    def progressed(self, event: Progressed) -> None:
        self._progress(event.what, event.done, event.total)

    def streamed(self, event: Streamed) -> None:
        self._progress.clear()
        print(clean_lines(event.text), end="", flush=True)
        self._is_streaming = True

    def said(self, event: Said) -> None:
        was_streamed = self._is_streaming
        self._begin_line()
        self.last_said = event.text
        if not was_streamed:
            say(clean_lines(event.text))

    def called(self, event: Called) -> None:
        self._begin_line()
        if event.tool != "go_to":
            arguments = ", ".join(f"{name}={value!r}" for name, value in event.arguments.items())
            say(f"Tool: {clean(event.tool)}({clean(arguments)})")

    def alerted(self, event: Alerted) -> None:
        self._begin_line()
        say(alert_text(event))

    def returned(self, event: Returned) -> None:
        self._begin_line()
        self.told_interruption |= event.was_interrupted
        if _has_failed(event):
            say(f"Failed: {clean(event.tool)}")

    def other(self, _event: Event) -> None:
        self._begin_line()

    def _begin_line(self) -> None:
        """Make room for a line of its own."""
        self._progress.clear()
        if self._is_streaming:
            print(flush=True)
        self._is_streaming = False


def _has_failed(event: Returned) -> bool:
    """Whether it ended by itself without a result; a person who declined or interrupted it knows why."""
    return bool(event.refusal) and event.refusal != DECLINED and not event.was_interrupted


def alert_text(event: Alerted) -> str:
    return "\n".join(
        [f"{_LEVELS[event.level]}: {clean(event.message)}", *(f"  {clean(line)}" for line in event.evidence)]
    )


def say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)


_LEVELS = {"note": "News", "warn": "Warning", "stop": "Alarm"}
