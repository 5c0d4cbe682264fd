"""A progress bar on stderr, drawn on a terminal only."""

import contextlib
import sys
from collections.abc import Iterator

from agent.screen import clean
from tools.project import Progress


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a Progress callback that draws one bar, for what is done now; it draws nothing off a terminal."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        current = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal current
            if what != current:
                bars.reset(task, description=clean(what))
                current = what
            bars.update(task, completed=done, total=total)

        yield report
