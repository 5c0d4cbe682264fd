"""A progress bar on stderr, drawn on a terminal only, and only while something reports progress."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.text.sanitize import clean

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class ProgressBar:
    """A `tools.project.Progress` callback: one bar, for what is done now."""

    def __init__(self) -> None:
        self._drawn: tuple[Bars, TaskID] | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if what.split(" · ")[0] != self._what.split(" · ")[0]:
            self.clear()
        bars, task = self._drawn or self._draw(what)
        bars.update(task, completed=done, total=total, description=clean(what))

    def clear(self) -> None:
        """Take the bar off the screen: whoever prints or asks next has the terminal to itself."""
        if self._drawn is not None:
            self._drawn[0].stop()
            self._drawn = None

    def _draw(self, what: str) -> "tuple[Bars, TaskID]":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        bars = Bars(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        bars.start()
        self._what = what
        self._drawn = bars, bars.add_task(clean(what))
        return self._drawn


@contextlib.contextmanager
def progress_bar() -> Iterator[ProgressBar]:
    """Yield a bar, and clear it however the work ends."""
    bar = ProgressBar()
    try:
        yield bar
    finally:
        bar.clear()
