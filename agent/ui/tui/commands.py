"""What the slash commands and the palette do: a part of the application, apart so that each can grow."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work
from textual.app import App, SystemCommand
from textual.screen import Screen

from agent.session.slash import BY_NAME, COMMANDS, Parsed, parse, unknown
from agent.ui.tui.screens.workbench import PANES

if TYPE_CHECKING:
    from agent.ui.tui.app import LtxApp

PANE_NAMES = frozenset(name for name, _ in PANES)
ANYWHERE = frozenset({"help", "theme", "quit"})
"""Commands that need no project: the palette has no others where no conversation is in sight."""


class SlashCommands(App[None]):
    """Handlers of commands and of the panes' wishes."""

    def run_slash(self: "LtxApp", text: str) -> bool:  # type: ignore[misc]
        """Run `text` when it is a slash command; False when it is something to say."""
        parsed = parse(text)
        if parsed is None:
            return False
        command = parsed.command
        if command is None:
            self.talk.notice(unknown(parsed), "warn")
        elif parsed.name in PANE_NAMES:
            self.workbench.show(parsed.name)
            if parsed.argument:
                self.notify(f"What stands behind /{parsed.name} is for --plain. Here the pane's keys do it: F1.")
        elif command.calls:
            self.order(command)
        elif parsed.name == "goal" and parsed.argument:
            self.say(parsed.argument)
        elif hasattr(self, f"slash_{parsed.name}"):
            getattr(self, f"slash_{parsed.name}")(parsed)
        else:
            self.in_conversation(lambda session: _obey(session, parsed))
        return True

    def slash_help(self: "LtxApp", _: Parsed) -> None:  # type: ignore[misc]
        self.action_help()

    def slash_compare(self: "LtxApp", parsed: Parsed) -> None:  # type: ignore[misc]
        self.workbench.show("curves")
        if not parsed.argument:
            self.curves.action_compare()
        elif parsed.argument in self.runs:
            self.curves.compare(parsed.argument)
        else:
            self.talk.notice(
                f"There is no run {parsed.argument}. There are: {', '.join(self.runs) or 'none yet'}.", "warn"
            )

    def slash_open(self: "LtxApp", parsed: Parsed) -> None:  # type: ignore[misc]
        if parsed.argument:
            self.open_folder(Path(parsed.argument).expanduser())
        else:
            from agent.ui.tui.screens.welcome import Welcome

            self.push_screen(Welcome())

    def slash_copy(self: "LtxApp", _: Parsed) -> None:  # type: ignore[misc]
        if self.talk.last_said:
            self.copy_to_clipboard(self.talk.last_said)
            self.notify("The last answer is copied.")
        else:
            self.notify("There is no answer to copy yet.")

    def slash_theme(self, _: Parsed) -> None:
        self.action_toggle_theme()  # type: ignore[attr-defined]

    def slash_quit(self, _: Parsed) -> None:
        self.call_later(self.action_quit)

    def in_conversation(self: "LtxApp", turn: Any) -> None:  # type: ignore[misc]
        """Run something on the session in its own thread."""
        if self.conversation is None:
            self.notify("There is no conversation.", severity="warning")
        else:
            self._turns_waiting += 1
            self.conversation.take(turn)

    def open_folder(self: "LtxApp", folder: Path) -> None:  # type: ignore[misc]
        """Open a project, or make one of a folder of clips."""
        self._find_project(folder)

    def action_help(self: "LtxApp") -> None:  # type: ignore[misc]
        """Show the keys of the place that has the focus."""
        from agent.ui.tui.panes.pane import Pane
        from agent.ui.tui.screens.keys import Keys

        if isinstance(self.screen, Keys):
            self.pop_screen()
            return
        node: Any = self.focused or self.screen
        while node is not None and not isinstance(node, Pane | Screen):
            node = node.parent
        about = getattr(node, "HELP", "") or "Keys that work here."
        title = getattr(node, "TITLE", None) or "ltx-agent"
        self.push_screen(Keys(title, about, *self._keys()))

    def _keys(self) -> tuple[list[tuple[str, str]], ...]:
        here: dict[str, list[str]] = {}
        moving: dict[str, list[str]] = {}  # Textual's own keys, whose descriptions begin with a capital
        everywhere: dict[str, list[str]] = {}
        for key, active in self.screen.active_bindings.items():
            binding = active.binding
            if not binding.description or binding.key.startswith("super+"):
                continue
            into = everywhere if active.node is self else here if binding.description[:1].islower() else moving
            into.setdefault(binding.description, []).append(self.get_key_display(binding) if key else key)
        return _rows(here), _rows(everywhere), _rows(moving)

    def get_system_commands(self: "LtxApp", screen: Screen[Any]) -> Iterable[SystemCommand]:  # type: ignore[misc]
        """The palette knows every slash command that works on `screen` and the usual ones of an application."""
        for command in COMMANDS:
            if screen is not self.workbench and command.name not in ANYWHERE:
                continue
            if not command.argument or command.argument.startswith("["):
                yield SystemCommand(
                    f"/{command.name}",
                    command.description,
                    lambda name=command.name: self.run_slash(f"/{name}"),
                )
            else:
                yield SystemCommand(
                    f"/{command.name} …",
                    command.description,
                    lambda name=command.name: self._begin_command(name),
                )
        yield SystemCommand("Themes", "choose one of all themes", self.action_change_theme)
        yield SystemCommand(
            "Save a picture of the screen", "as SVG", lambda: self.set_timer(0.1, self.deliver_screenshot)
        )

    def _begin_command(self: "LtxApp", name: str) -> None:  # type: ignore[misc]
        assert name in BY_NAME
        self.workbench.show("talk")
        self.talk.prompt.write(f"/{name} ")

    @work(thread=True)
    def show_with_system(self, path: Path) -> None:
        """Open a file with the program that the system has for it, where there is a display."""
        from agent.ui.shared.viewer import open_with_system

        if not open_with_system(path):
            self.call_from_thread(self.copy_to_clipboard, str(path))
            self.call_from_thread(self.notify, f"No display here; its path is copied:\n{path}")


def _rows(found: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(" ".join(dict.fromkeys(keys)), description) for description, keys in found.items()]


def _obey(session: Any, parsed: Parsed) -> Iterable[Any]:
    from agent.session.commands import obey
    from agent.session.events import Alerted

    lines = obey(session, parsed.name, parsed.argument)
    yield Alerted(f"/{parsed.name}", "note", lines[0], lines[1:])
