"""The line a person writes in: several lines, history, completion of slash commands, dropped files."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static, TextArea

from agent.session.slash import completions, dropped_paths
from agent.text.sanitize import clean, shell_quote
from agent.ui.shared.history import PromptHistory

SHOWN_COMPLETIONS = 6


class Completions(Static):
    """The list of what the text could become, above the prompt."""

    def show(self, found: list[tuple[str, str]], chosen: int) -> None:
        self.display = bool(found)
        first = max(0, min(chosen - SHOWN_COMPLETIONS + 1, len(found) - SHOWN_COMPLETIONS))
        lines = []
        for number, (text, description) in enumerate(found[first : first + SHOWN_COMPLETIONS], start=first):
            style = "bold $primary" if number == chosen else "$foreground"
            lines.append(
                Content.assemble(
                    ("› " if number == chosen else "  ", style),
                    (clean(text), style),
                    (f"  {description}", "$muted"),
                )
            )
        if len(found) > SHOWN_COMPLETIONS:
            lines.append(Content.styled(f"  {chosen + 1} of {len(found)}", "$muted"))
        self.update(Content("\n").join(lines))


class Prompt(TextArea):
    """Enter sends, Ctrl+J (or Shift+Enter, Alt+Enter) breaks the line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "send"),
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "new line", key_display="^j"),
        Binding("tab", "complete", "complete", show=False),
        Binding("up", "earlier", "history", show=False),
        Binding("down", "later", "history", show=False),
        Binding("escape", "escape", "interrupt", show=False),
    ]

    @dataclass
    class Sent(Message):
        """The person has said something; `early`: it was begun before the card was drawn that waits now."""

        text: str
        early: bool = False

    @dataclass
    class Dropped(Message):
        """Files or folders were dropped on the terminal."""

        paths: list[Path]

    class Escaped(Message):
        """Escape was pressed in an empty prompt."""

    @dataclass
    class Completing(Message):
        """What the text could become has changed."""

        found: list[tuple[str, str]]
        chosen: int

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", compact=True)
        self.cursor_blink = False  # a steady cursor costs nothing while nobody types
        self.past = PromptHistory(None)
        self.runs: tuple[str, ...] = ()
        self.is_early = False
        self._found: list[tuple[str, str]] = []
        self._chosen = 0

    async def _on_key(self, event: events.Key) -> None:
        """Act on our own keys in their turn: a priority binding would overtake letters that are still waiting."""
        for binding in self.BINDINGS:
            if isinstance(binding, Binding) and event.key in binding.key.split(","):
                event.stop()
                event.prevent_default()
                await self.run_action(binding.action)

    def on_text_area_changed(self) -> None:
        self.is_early = self.is_early and bool(self.text)
        found = completions(self.text, runs=self.runs)
        if [text for text, _ in found] == [self.text]:
            found = []
        self._show_completions(found, 0)

    def _show_completions(self, found: list[tuple[str, str]], chosen: int) -> None:
        if (found, chosen) != (self._found, self._chosen):
            self._found, self._chosen = found, chosen
            self.post_message(self.Completing(found, chosen))

    def write(self, text: str) -> None:
        """Replace the text, the cursor at its end."""
        self.load_text(text)
        self.move_cursor(self.document.end)

    def action_send(self) -> None:
        if self._found and self.text.strip() != self._found[self._chosen][0].strip() and " " not in self.text:
            self.write(self._found[self._chosen][0])  # Enter on a half-typed command first completes it
            if self.text.endswith(" "):
                return
        text = self.text.strip()
        if not text:
            return
        self.past.add(text)
        early, self.is_early = self.is_early, False
        self.write("")
        self.post_message(self.Sent(text, early))

    def action_newline(self) -> None:
        self.insert("\n")

    def action_complete(self) -> None:
        if self._found:
            self.write(self._found[self._chosen][0])
        else:
            self.screen.focus_next()

    def action_cursor_page_up(self) -> None:
        """Leave the page keys to what is around the prompt: it is a few lines, and the talk above it is long."""
        raise SkipAction

    def action_cursor_page_down(self) -> None:
        raise SkipAction

    def action_earlier(self) -> None:
        if self._found:
            self._show_completions(self._found, (self._chosen - 1) % len(self._found))
        elif self.cursor_at_first_line and (text := self.past.earlier(self.text)) is not None:
            self.write(text)
        else:
            self.action_cursor_up()

    def action_later(self) -> None:
        if self._found:
            self._show_completions(self._found, (self._chosen + 1) % len(self._found))
        elif self.cursor_at_last_line and (text := self.past.later()) is not None:
            self.write(text)
        else:
            self.action_cursor_down()

    def action_escape(self) -> None:
        if self._found:
            self._show_completions([], 0)
        elif self.text:
            self.write("")
        else:
            self.post_message(self.Escaped())

    async def _on_paste(self, event: events.Paste) -> None:
        paths = dropped_paths(event.text)
        if not paths:
            return
        event.stop()
        event.prevent_default()
        if self.text.strip():
            self.insert(" ".join(shell_quote(path) for path in paths))
        else:
            self.post_message(self.Dropped(paths))
