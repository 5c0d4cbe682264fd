"""Base of every pane of the workbench: a bordered region with a title, which knows the keys it answers to."""

from typing import ClassVar

from textual.containers import Vertical
from textual.message import Message


class Pane(Vertical):
    """A region of the workbench; `TITLE` stands in its border, `HELP` on the key screen."""

    TITLE: ClassVar[str] = ""
    HELP: ClassVar[str] = ""

    class Left(Message):
        """The user is done here and goes back to the chat."""

    def on_mount(self) -> None:
        self.border_title = self.TITLE

    def take_focus(self) -> None:
        """Focus what a person works with in this pane."""
        for widget in self.query("*"):
            if widget.focusable:
                widget.focus()
                return
