"""A text area for the training YAML: syntax colours of the app's theme, wrong lines underlined, completion from the
schema. What is wrong and what may stand somewhere it is told; it decides nothing."""

from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import TextAreaTheme

SYNTAX = {
    "yaml.field": "primary",
    "string": "accent",
    "number": "secondary",
    "boolean": "secondary",
    "constant.builtin": "secondary",
    "comment": "chart-label",
    "punctuation.delimiter": "chart-label",
    "punctuation.special": "chart-label",
}
"""Which theme variable each token of tree-sitter's YAML query gets."""


class YamlEditor(TextArea):
    """Read-only until editing begins."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "complete", show=False, priority=True),
        Binding("ctrl+s", "save", "save"),
    ]

    @dataclass
    class CompletionWanted(Message):
        """Tab was pressed while editing."""

        line: int
        column: int

    class SaveWanted(Message):
        """The person wants the text written to disk."""

    def __init__(self, *, id: str) -> None:
        super().__init__(
            id=id, language=None, show_line_numbers=True, read_only=True, soft_wrap=False, tab_behavior="indent"
        )
        self.cursor_blink = False
        self.wrong_lines: frozenset[int] = frozenset()

    def on_mount(self) -> None:
        self.follow_theme()
        self.app.theme_changed_signal.subscribe(self, lambda _: self.follow_theme())
        if "yaml" in self.available_languages:
            self.language = "yaml"

    def follow_theme(self) -> None:
        variables = self.app.theme_variables

        def colour(name: str) -> Style:
            return Style(color=Color.parse(variables[name]).rich_color)

        name = f"{self.app.theme}-yaml"
        self.register_theme(TextAreaTheme(name, syntax_styles={token: colour(var) for token, var in SYNTAX.items()}))
        self.theme = name

    def mark_wrong(self, lines: frozenset[int]) -> None:
        """Underline these lines."""
        if lines != self.wrong_lines:
            self.wrong_lines = lines
            self._line_cache.clear()
            self.refresh()

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        if line_index in self.wrong_lines:
            line.stylize(Style(underline=True, color=Color.parse(self.app.theme_variables["error"]).rich_color))
        return line

    async def _on_key(self, event: events.Key) -> None:
        """A new line keeps the indent, and goes one deeper behind a section's name."""
        if event.key == "enter" and not self.read_only:
            event.stop()
            event.prevent_default()
            line, column = self.cursor_location
            before = self.document.get_line(line)[:column]
            deeper = "  " if before.split("#")[0].rstrip().endswith(":") else ""
            self.insert("\n" + before[: len(before) - len(before.lstrip())] + deeper)

    def action_complete(self) -> None:
        if self.read_only:
            self.screen.focus_next()
        else:
            self.post_message(self.CompletionWanted(*self.cursor_location))

    def action_save(self) -> None:
        self.post_message(self.SaveWanted())

    def insert_completion(self, text: str, replaced: int) -> None:
        """Write `text` in place of the `replaced` characters before the cursor."""
        line, column = self.cursor_location
        self.replace(text, (line, column - replaced), (line, column))
