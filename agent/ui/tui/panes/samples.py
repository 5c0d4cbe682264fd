"""Pane of a run's generated samples: a list of files with a preview of the one under the cursor."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from agent.text.sanitize import clean
from agent.ui.shared.watch import RunSeen
from agent.ui.tui.panes.pane import Pane
from agent.ui.tui.thumbnails import Thumbnails
from agent.ui.tui.widgets.picture import Picture
from tools.media_types import SUFFIXES


class SamplesPane(Pane):
    """Samples of the run that is watched."""

    TITLE = "Samples"
    HELP = (
        "What the run rendered after a save, the newest last. Enter or o opens one with the system's program; over SSH "
        "y copies its path, to be fetched from where you are. The preview is the picture from its middle."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o,enter", "open", "open", priority=False),
        Binding("y", "copy", "copy path"),
    ]

    @dataclass
    class OpenWanted(Message):
        """A file is to be shown by the system's own program."""

        path: Path

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._paths: tuple[Path, ...] = ()
        self._root = Path()
        self._list = OptionList(id="sample-list")
        self._picture = Picture(id="sample-picture")
        self._about = Static(id="sample-about")
        self._thumbnails = Thumbnails()

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self._list
            with Vertical():
                yield self._picture
                yield self._about

    def on_mount(self) -> None:
        super().on_mount()
        self._show_current()

    def take_focus(self) -> None:
        self._list.focus()

    def show_run(self, seen: RunSeen) -> None:
        root = seen.path / "samples"
        if seen.samples == self._paths and root == self._root:
            return
        was_last = self._list.highlighted in (None, len(self._paths) - 1)
        self._root, self._paths = root, seen.samples
        here = self._list.highlighted
        self._list.clear_options()
        self._list.add_options([Option(_named(path, root)) for path in self._paths])
        if self._paths:
            self._list.highlighted = (
                len(self._paths) - 1 if was_last or here is None else min(here, len(self._paths) - 1)
            )
        self.border_title = f"{self.TITLE} · {seen.id} · {len(self._paths)}"
        self._show_current()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_current)

    @property
    def current(self) -> Path | None:
        at = self._list.highlighted
        return self._paths[at] if at is not None and at < len(self._paths) else None

    @on(OptionList.OptionHighlighted, "#sample-list")
    def _show_current(self) -> None:
        path = self.current
        if path is None:
            said = "No samples yet. They are rendered after a save when the plan's validation names prompts."
            self._about.update(Content.styled(said, "$muted"))
            self._picture.show(None)
            return
        step = re.search(r"step[_-]?0*(\d+)", str(path.relative_to(self._root)))
        at = f"step {int(step[1]):,}  " if step else ""
        size = path.stat().st_size if path.exists() else 0
        self._about.update(Content.assemble((at, "bold"), clean(path.name), (f"  {size / 1e6:.2f} MB", "$muted")))
        if path.suffix.lower() in SUFFIXES["audio"]:
            self._picture.show(None)
        else:
            self._load(path)

    @work(thread=True, exclusive=True, group="sample")
    def _load(self, path: Path) -> None:
        self.app.call_from_thread(self._show_picture, path, self._thumbnails.get(path))

    def _show_picture(self, path: Path, image: np.ndarray | None) -> None:
        if self.current == path:
            self._picture.show(image)

    @on(OptionList.OptionSelected, "#sample-list")
    def action_open(self) -> None:
        if self.current is not None:
            self.post_message(self.OpenWanted(self.current))

    def action_copy(self) -> None:
        if self.current is not None:
            self.app.copy_to_clipboard(str(self.current))
            self.notify("Path copied.")


def _named(path: Path, root: Path) -> Content:
    """The file's name before its folder, whose end a narrow list cuts."""
    folder = path.relative_to(root).parent
    return Content.assemble(clean(path.name), (f"  {clean(str(folder))}" if folder.parts else "", "$muted"))
