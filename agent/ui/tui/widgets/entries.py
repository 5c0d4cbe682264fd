"""Entries of the conversation: words, tool calls with their results, approval cards, alerts."""

import json
import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalGroup, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Collapsible, Markdown, Static
from textual.widgets.markdown import MarkdownStream

from agent.text.sanitize import clean, clean_lines

LONGEST_SHOWN = 6000
_ANSWERS = {"y": "yes", "n": "no"}
ALONE_S = 0.5
"""How long a y or an n stays alone to be an answer: letters of a word come faster."""
LEAST_DETAILS = 3
"""Lines of a card's details that stay in sight on a low screen."""


class Words(VerticalGroup):
    """Words of one side, under its name."""

    def __init__(self, who: str, text: str, *, classes: str) -> None:
        super().__init__(classes=classes)
        self._who, self.text = who, text

    def compose(self) -> ComposeResult:
        yield Static(self._who, classes="who", markup=False)
        yield Static(clean_lines(self.text), markup=False)


class SaidEntry(VerticalGroup):
    """Words of the assistant, as Markdown; they may come in pieces."""

    def __init__(self, text: str = "", who: str = "ltx-agent") -> None:
        super().__init__(classes="said")
        self.text = text
        self._who = who
        self._body = Markdown(_safe_markdown(text), open_links=False)
        self._stream: MarkdownStream | None = None

    def compose(self) -> ComposeResult:
        yield Static(self._who, classes="who", markup=False)
        yield self._body

    async def add(self, piece: str) -> None:
        """Append a piece of a text that is still coming."""
        before = self.text
        self.text += piece
        if self._stream is None:
            self._stream = Markdown.get_stream(self._body)
        await self._stream.write(_safe_markdown(piece, before))

    async def finish(self, text: str) -> None:
        """Show the whole text in place of the pieces."""
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None
        if text != self.text:
            self.text = text
            await self._body.update(_safe_markdown(text))


def _safe_markdown(text: str, before: str = "") -> str:
    """Return Markdown that keeps its line breaks, as people write in a talk; code stays as it is."""
    lines = clean_lines(text).split("\n")
    in_code = before.count("```") % 2 == 1
    kept = []
    for line in lines:
        fence = line.lstrip().startswith("```")
        in_code ^= fence
        kept.append(line if in_code or fence or not line.strip() else f"{line}  ")
    return "\n".join(kept)


class ToolCall(Collapsible):
    """A tool at work, then what came of it: a line, and behind it arguments and result."""

    def __init__(self, tool: str, arguments: dict[str, Any]) -> None:
        self._tool, self._arguments = tool, arguments
        self._detail = Static(self._body("at work …"), markup=False)
        super().__init__(self._detail, title=self._line("◌", "at work"), collapsed=True, classes="call -working")

    def returned(self, result: dict[str, Any] | None, refusal: str, summary: list[str]) -> None:
        """Say what came of it; `summary` are its result in plain lines."""
        failed = bool(refusal)
        first = refusal.strip().splitlines()[0] if failed else (summary[0] if summary else "done")
        self.title = self._line("✗" if failed else "✓", first)
        self.remove_class("-working")
        self.set_class(failed, "-failed")
        lines = [refusal] if failed else summary
        raw = json.dumps(result, indent=2, ensure_ascii=False, default=str) if result is not None else ""
        if len(raw) > LONGEST_SHOWN:
            raw = f"{raw[:LONGEST_SHOWN]}\n… {len(raw) - LONGEST_SHOWN} characters more"
        self._detail.update(self._body("\n".join([*lines, "", raw] if raw else lines)))

    def waits(self) -> None:
        self.title = self._line("◌", "waits for your word")

    def progressed(self, what: str, done: int, total: int) -> None:
        share = f"{what} {done} of {total}" if total else what
        self.title = self._line("◌", share)

    def _line(self, sign: str, text: str) -> str:
        return str(Content(f"{sign} {clean(self._tool)}  {clean(text)}").markup)

    def _body(self, text: str) -> Content:
        given = ", ".join(f"{name} = {value}" for name, value in self._arguments.items()) or "no arguments"
        return Content(clean_lines(f"{given}\n{text}"))


class Notice(Static):
    """An alert or a remark of the program: level `note`, `warn` or `stop`."""

    def __init__(self, message: str, level: str = "note", evidence: list[str] | None = None) -> None:
        sign = {"note": "·", "warn": "▲", "stop": "✗"}.get(level, "·")
        lines = [f"{sign} {message}", *(f"  – {line}" for line in evidence or [])]
        super().__init__(Content(clean_lines("\n".join(lines))), classes=f"notice -{level}")


class CardPart(VerticalScroll, can_focus=False):
    """A part of a card that scrolls where the screen is low."""


class ApprovalCard(VerticalGroup, can_focus=True):
    """A question with what to judge it by; answered by a key, or in words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n", "answer(False)", "no"),
        Binding("down", "scroll(1)", "read on", key_display="↑ ↓"),
        Binding("up", "scroll(-1)", "back", show=False),
        Binding("pagedown", "page(1)", "read on", show=False),
        Binding("pageup", "page(-1)", "back", show=False),
    ]

    @dataclass
    class Answered(Message):
        """The person has decided."""

        approved: bool

    @dataclass
    class WordsBegun(Message):
        """The person answers in words: characters of them, or a line's end, that still came here.

        `early`: they were typed before the card could be seen.
        """

        characters: str
        early: bool = False

    def __init__(self, approval: str, question: str, details: list[str], costs: list[str]) -> None:
        super().__init__(classes="card")
        self.approval, self.question = approval, question
        self._in_words = False
        self._drawn_s = math.inf
        self._letter: str | None = None
        self._deciding: Timer | None = None
        self._height = 0
        self.border_title = f"needs your word: {clean(approval)}"
        text = "\n".join(details)
        self._details = CardPart(
            Markdown(clean_lines(text), open_links=False)
            if approval == "plan"
            else Static(clean_lines(text if approval == "change" else text.replace("\n", "\n\n")), markup=False),
            classes="details",
        )
        self._costs = CardPart(Static(clean_lines("\n".join(costs)), markup=False), classes="costs")
        self._parts = [part for part, lines in ((self._details, text.split()), (self._costs, costs)) if lines]

    def compose(self) -> ComposeResult:
        yield Static(clean(self.question), classes="question", markup=False)
        yield from self._parts
        words = (
            "[b $primary]F5[/] opens them   [$muted]or say it" if self.approval == "captions" else "[$muted]or answer"
        )
        keys = f"[b $primary]y[/] yes   [b $primary]n[/] no   {words} in your own words[/]"
        yield Static(Content.from_markup(keys), classes="keys")

    def on_mount(self) -> None:
        assert isinstance(self.parent, Widget)
        self.call_after_refresh(self._drawn)
        self._height = self.parent.size.height
        for part in self._parts:
            self.watch(part, "virtual_size", self._fit_later, init=False)
            self.watch(part, "scroll_y", self._count, init=False)

    def fit(self, height: int) -> None:
        """Stand within `height` lines, question and keys in sight: the details yield to the costs, to a few lines."""
        if height != self._height:
            self._height = height
            self._fit_later()

    def _fit_later(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        around = self.outer_size.height - sum(part.outer_size.height for part in self._parts)
        room = self._height - around
        costs = self._costs.virtual_size.height
        details = max(min(room - costs, self.screen.size.height // 3), LEAST_DETAILS)
        self._details.styles.max_height = details
        self._costs.styles.max_height = max(room - min(details, self._details.virtual_size.height), 1)
        self.call_after_refresh(self._count)

    def _count(self) -> None:
        """Say how many lines are out of sight."""
        hidden = sum(part.max_scroll_y - round(part.scroll_y) for part in self._parts)
        self.border_subtitle = f"↓ {hidden} more lines" if hidden and not self.has_class("-answered") else ""

    def _drawn(self) -> None:
        self._drawn_s = time.monotonic()

    def was_seen_at(self, moment_s: float) -> bool:
        """Whether the card was on the screen at `moment_s` of the monotonic clock, as messages carry it."""
        return moment_s >= self._drawn_s

    @property
    def is_deciding(self) -> bool:
        """Whether a letter was pressed that answers unless it turns out to be the first of some words."""
        return self._letter is not None

    def action_answer(self, approved: bool) -> None:
        self._let_go()
        if not self.has_class("-answered"):
            self.post_message(self.Answered(approved))

    def on_focus(self) -> None:
        self._in_words = False

    def on_blur(self) -> None:
        self._let_go()

    def on_key(self, event: events.Key) -> None:
        """Hand words on. Keys that came before the prompt had the focus belong to them: no y says yes then.

        A y or an n alone answers, a moment later; one that more letters follow begins words ("yes, but …").
        """
        typed = event.character if event.character is not None and event.is_printable else None
        if not self.was_seen_at(event.time):
            if typed is not None or event.key == "enter":
                event.stop()
                self.post_message(self.WordsBegun(typed or "\n", early=True))
        elif self._letter is not None and event.key in ("enter", self._letter):
            event.stop()
            if event.key == "enter":
                self.action_answer(self._letter == "y")
        elif self._letter is not None and event.key in ("escape", "backspace"):
            event.stop()
            self._let_go()
        elif self._in_words and event.key == "enter":
            event.stop()
            self.post_message(self.WordsBegun("\n"))
        elif typed in _ANSWERS and not self._in_words and self._letter is None:
            event.stop()
            self._take(typed)
        elif typed is not None:
            event.stop()
            begun = (self._letter or "") + typed
            self._let_go()
            self._in_words = True
            self.post_message(self.WordsBegun(begun))

    def _take(self, letter: str) -> None:
        self._letter = letter
        self._deciding = self.set_timer(ALONE_S, lambda: self.action_answer(letter == "y"))
        self.border_title = f"{clean(self.approval)}: {_ANSWERS[letter]} …"

    def _let_go(self) -> None:
        """Take the letter back that was about to answer."""
        if self._deciding is not None:
            self._deciding.stop()
            self._letter = self._deciding = None
            self.border_title = f"needs your word: {clean(self.approval)}"

    def action_scroll(self, lines: int) -> None:
        if (part := self._part_to_scroll(lines)) is not None:
            part.scroll_relative(y=lines, animate=False)

    def action_page(self, direction: int) -> None:
        if (part := self._part_to_scroll(direction)) is not None:
            part.scroll_relative(y=direction * max(part.size.height - 1, 1), animate=False)

    def _part_to_scroll(self, direction: int) -> CardPart | None:
        """The details, and past their end the costs; back the same way."""
        if direction > 0:
            return next((part for part in self._parts if part.scroll_y < part.max_scroll_y), None)
        return next((part for part in reversed(self._parts) if part.scroll_y > 0), None)

    def answered(self, how: str) -> None:
        """Keep the card as a record: it takes no more answers."""
        self.add_class("-answered")
        self.can_focus = False
        self.border_title = f"{clean(self.approval)}: {how}"
        self._count()
