"""Slash commands on the full screen, typed or chosen from the palette."""

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from textual.app import SystemCommand

from agent.session.slash import BY_NAME, COMMANDS, Parsed, parse, unknown
from agent.ui.tui.screens.workbench import PANES

if TYPE_CHECKING:
    from agent.session.session import Session
    from agent.ui.tui.chat import Chat
    from agent.ui.tui.screens.workbench import Workbench

PANE_NAMES = frozenset(name for name, _ in PANES)
ANYWHERE = frozenset({"help", "theme", "quit"})
"""Commands that need no project: the palette has no others where no conversation is in sight."""


class CommandHost(Protocol):
    """What commands ask of the application."""

    @property
    def workbench(self) -> "Workbench": ...

    @property
    def chat(self) -> "Chat": ...

    @property
    def runs(self) -> tuple[str, ...]: ...

    def notify(self, message: str) -> None: ...

    def copy_answer(self) -> None: ...

    def open_folder(self, folder: Path) -> None: ...

    def welcome(self) -> None: ...

    def leave(self) -> None: ...

    def action_help(self) -> None: ...

    def action_toggle_theme(self) -> None: ...


class SlashCommands:
    """Runs commands: a pane's name shows it, a tool's is ordered, `_own` are the screen's, the rest the session's."""

    def __init__(self, host: CommandHost) -> None:
        self._host = host
        self._own: dict[str, Callable[[str], None]] = {
            "help": lambda _: host.action_help(),
            "compare": self._compare,
            "open": self._open,
            "copy": lambda _: host.copy_answer(),
            "theme": lambda _: host.action_toggle_theme(),
            "quit": lambda _: host.leave(),
        }

    def run(self, text: str) -> bool:
        """Run `text` when it is a slash command; False when it is something to say."""
        parsed = parse(text)
        if parsed is None:
            return False
        host, command = self._host, parsed.command
        if command is None:
            host.chat.pane.notice(unknown(parsed), "warn")
        elif parsed.name in PANE_NAMES:
            host.workbench.show(parsed.name)
            if parsed.argument:
                host.notify(f"What stands behind /{parsed.name} is for --plain. Here the pane's keys do it: F1.")
        elif command.calls:
            host.chat.order(command)
        elif parsed.name == "goal" and parsed.argument:
            host.chat.say(parsed.argument)
        elif parsed.name in self._own:
            self._own[parsed.name](parsed.argument)
        else:
            host.chat.take(lambda session: _obey(session, parsed))
        return True

    def _compare(self, run: str) -> None:
        curves, runs = self._host.workbench.curves, self._host.runs
        self._host.workbench.show("curves")
        if not run:
            curves.action_compare()
        elif run in runs:
            curves.compare(run)
        else:
            self._host.chat.pane.notice(f"There is no run {run}. There are: {', '.join(runs) or 'none yet'}.", "warn")

    def _open(self, folder: str) -> None:
        if folder:
            self._host.open_folder(Path(folder).expanduser())
        else:
            self._host.welcome()

    def palette(self, *, has_project: bool) -> Iterable[SystemCommand]:
        """Every command that works here, for the palette."""
        for command in COMMANDS:
            if not has_project and command.name not in ANYWHERE:
                continue
            if not command.argument or command.argument.startswith("["):
                yield SystemCommand(
                    f"/{command.name}", command.description, lambda name=command.name: self.run(f"/{name}")
                )
            else:
                yield SystemCommand(
                    f"/{command.name} …", command.description, lambda name=command.name: self._begin(name)
                )

    def _begin(self, name: str) -> None:
        """Write a command that needs more words into the prompt."""
        assert name in BY_NAME
        self._host.workbench.show("talk")
        self._host.chat.pane.prompt.write(f"/{name} ")


def _obey(session: "Session", parsed: Parsed) -> Generator[Any]:
    from agent.session.commands import obey
    from agent.session.events import Alerted

    lines = obey(session, parsed.name, parsed.argument)
    yield Alerted(f"/{parsed.name}", "note", lines[0], lines[1:])
