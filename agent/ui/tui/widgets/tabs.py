"""The line that names the panes and their keys; a click shows one, for those who have a mouse."""

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static


class Tabs(Static):
    """Shows which pane is in front and which others are in sight."""

    @dataclass
    class Clicked(Message):
        """This pane is wanted."""

        name: str

    def __init__(self, panes: tuple[tuple[str, str], ...], *, id: str) -> None:
        super().__init__(id=id)
        self._panes = panes
        self._ends: list[tuple[int, str]] = []

    def show(self, front: str, in_sight: set[str], *, zoomed: bool) -> None:
        """Mark the pane in front and those in sight."""
        parts = [Content.styled(" F1 Keys ", "$muted")]
        end = parts[0].cell_length
        self._ends = [(end, "")]
        for number, (name, title) in enumerate(self._panes, start=2):
            colour = "bold $primary" if name == front else "$foreground" if name in in_sight else "$muted"
            part = Content.assemble((f" F{number} ", "$muted"), (f"{title} ", colour))
            end += part.cell_length
            self._ends.append((end, name))
            parts.append(part)
        zoom = ("bold $primary", " F8 zoom") if zoomed else ("$muted", " F8 zoom")
        self.update(Content("").join([*parts, Content.styled(zoom[1], zoom[0])]))

    async def on_click(self, event: events.Click) -> None:
        name = next((name for end, name in self._ends if event.x < end), None)
        if name == "":
            await self.run_action("app.help")
        elif name is not None:
            self.post_message(self.Clicked(name))
