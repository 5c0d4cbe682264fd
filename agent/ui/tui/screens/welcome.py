"""The first screen where there is no project yet: what was found, which clips, what for. It asks nothing else."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from agent.session.slash import completions, dropped_paths
from agent.text.sanitize import clean
from agent.ui.tui.discover import Found, look_around


class FolderInput(Input):
    """A path to type or to drop."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", "complete", show=False)]

    def action_complete(self) -> None:
        found = [text.removeprefix("/open ") for text, _ in completions(f"/open {self.value}")]
        if len(found) == 1 or (found and self.value not in found):
            self.value = found[0] if len(found) == 1 else _common(found)
            self.cursor_position = len(self.value)
        else:
            self.screen.focus_next()


def _common(texts: list[str]) -> str:
    same = itertools.takewhile(lambda characters: len(set(characters)) == 1, zip(*texts, strict=False))
    return "".join(characters[0] for characters in same)


class Welcome(Screen[None]):
    """Choose the clips, say what the adapter shall learn, begin."""

    TITLE = "Welcome"
    HELP = (
        "Choose a folder of clips with ↑ ↓ and Enter, or type or drop one. Clips are only read. Then say in your own "
        "words what the adapter shall learn, or leave it empty: the clips are looked at first."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "app.help", "help"),
        Binding("ctrl+t", "app.toggle_theme", "theme"),
        Binding("ctrl+q", "app.quit", "quit"),
    ]

    @dataclass
    class Chosen(Message):
        """Open this folder of clips, or this project."""

        folder: Path
        goal: str

    def __init__(self) -> None:
        super().__init__()
        self._found: Found | None = None
        self._targets: list[Path] = []

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="welcome", can_focus=False):
            yield Static(Content.from_markup("[b $primary]ltx-agent[/]"), id="welcome-title")
            yield Static("From a folder of clips to a trained LTX-2 adapter that you own.", id="welcome-line")
            yield Static("Looking around …", id="welcome-found")
            yield Static("Which clips?", classes="label")
            yield OptionList(id="welcome-folders")
            yield FolderInput(placeholder="another folder: type it, or drop it here", id="welcome-folder", compact=True)
            yield Static("What shall the adapter learn?  (may stay empty)", classes="label")
            yield Input(placeholder="for example: the look of my film", id="welcome-goal", compact=True)
            yield Static(id="welcome-error", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#welcome-folders").display = False
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#welcome-folder").focus()
        self._look()

    @work(thread=True, exclusive=True)
    def _look(self) -> None:
        self.app.call_from_thread(self._show, look_around(Path.cwd()))

    def _show(self, found: Found) -> None:
        self._found = found
        options = [(path, f"{_near(path, found.here)}  project, go on where it was") for path in found.projects]
        options += [(folder.path, f"{_near(folder.path, found.here)}  {folder.says}") for folder in found.folders]
        self._targets = [path for path, _ in options]
        folders = self.query_one("#welcome-folders", OptionList)
        folders.add_options([Option(Content(clean(text))) for _, text in options])
        folders.display = bool(options)
        lines = [("who answers", found.answers), ("GPU", found.gpu)]
        if found.models:
            lines.append(("models", ", ".join(_near(path, found.here) for path in found.models)))
        told = [Content.assemble((f"{name:<12}", "$muted"), clean(text)) for name, text in lines]
        self.query_one("#welcome-found", Static).update(Content("\n").join(told))
        if options:
            folders.highlighted = 0
            folders.focus()

    @on(OptionList.OptionSelected, "#welcome-folders")
    def _folder_chosen(self, event: OptionList.OptionSelected) -> None:
        target = self._targets[event.option_index]
        if (target / "project.json").exists():
            self.post_message(self.Chosen(target, ""))
            return
        field = self.query_one("#welcome-folder", Input)
        field.value = str(target)
        self.query_one("#welcome-goal").focus()

    @on(Input.Submitted, "#welcome-folder")
    def _folder_typed(self) -> None:
        self.query_one("#welcome-goal").focus()

    @on(Input.Submitted, "#welcome-goal")
    def _begin(self) -> None:
        typed = self.query_one("#welcome-folder", Input).value.strip()
        dropped = dropped_paths(typed)
        folder = dropped[0] if dropped else Path(typed).expanduser() if typed else None
        if folder is None:
            folders = self.query_one("#welcome-folders", OptionList)
            if folders.highlighted is None or not self._targets:
                self.refuse("Name the folder that holds your clips: type it above, or drop it on the terminal.")
                return
            folder = self._targets[folders.highlighted]
        self.post_message(self.Chosen(folder, self.query_one("#welcome-goal", Input).value.strip()))

    def refuse(self, message: str) -> None:
        """Say why the folder can't be opened."""
        self.query_one("#welcome-error", Static).update(message)
        self.query_one("#welcome-folder").focus()


def _near(path: Path, here: Path) -> str:
    return f"./{path.relative_to(here)}" if path.is_relative_to(here) and path != here else str(path)
