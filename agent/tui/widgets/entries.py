"""What stands in the conversation: words, tool calls with their results, approval cards, alerts."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalGroup, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Collapsible, Markdown, Static

from agent.screen import clean, clean_lines

LONGEST_SHOWN = 6000


class Words(VerticalGroup):
    """Words of one side, under its name."""

    def __init__(self, who: str, text: str, *, classes: str) -> None:
        super().__init__(classes=classes)
        self._who, self.text = who, text

    def compose(self) -> ComposeResult:
        yield Static(self._who, classes="who", markup=False)
        yield Static(clean_lines(self.text), markup=False)


class Said(VerticalGroup):
    """Words of the assistant, as Markdown; they may come in pieces."""

    def __init__(self, text: str = "", who: str = "ltx-agent") -> None:
        super().__init__(classes="said")
        self.text = text
        self._who = who
        self._body = Markdown(_safe_markdown(text), open_links=False)
        self._stream = None

    def compose(self) -> ComposeResult:
        yield Static(self._who, classes="who", markup=False)
        yield self._body

    async def add(self, piece: str) -> None:
        """Append a piece of a text that is still coming."""
        before = self.text
        self.text += piece
        if self._stream is None:
            self._stream = Markdown.get_stream(self._body)  # type: ignore[assignment]
        await self._stream.write(_safe_markdown(piece, before))  # type: ignore[attr-defined]

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


class ApprovalCard(VerticalGroup, can_focus=True):
    """A question with what to judge it by; answered by a key, or in words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n", "answer(False)", "no"),
        Binding("up", "scroll(-1)", "scroll", show=False),
        Binding("down", "scroll(1)", "scroll", show=False),
        Binding("pageup", "scroll(-8)", "scroll", show=False),
        Binding("pagedown", "scroll(8)", "scroll", show=False),
    ]

    @dataclass
    class Answered(Message):
        """The person has decided."""

        approved: bool

    @dataclass
    class WordsBegun(Message):
        """The person answers in words: a character of them, or a line's end, that still came here."""

        character: str

    def __init__(self, approval: str, question: str, details: list[str], costs: list[str]) -> None:
        super().__init__(classes="card")
        self.approval, self.question = approval, question
        self._details, self._costs = details, costs
        self._in_words = False
        self.border_title = f"needs your word: {clean(approval)}"

    def compose(self) -> ComposeResult:
        yield Static(clean(self.question), classes="question", markup=False)
        text = "\n".join(self._details)
        with VerticalScroll(classes="details", can_focus=False) as details:
            details.display = bool(text.strip())
            if self.approval == "plan":
                yield Markdown(clean_lines(text), open_links=False)
            else:
                yield Static(clean_lines(text.replace("\n", "\n\n")), markup=False)
        if self._costs:
            yield Static(clean_lines("\n".join(self._costs)), classes="costs", markup=False)
        keys = "[b $primary]y[/] yes   [b $primary]n[/] no   [$muted]or answer in your own words[/]"
        yield Static(Content.from_markup(keys), classes="keys")

    def action_answer(self, approved: bool) -> None:
        if not self.has_class("-answered"):
            self.post_message(self.Answered(approved))

    def on_focus(self) -> None:
        self._in_words = False

    def on_key(self, event: events.Key) -> None:
        """Hand words on. Keys that came before the prompt had the focus belong to them: no y says yes then."""
        if self._in_words and event.key == "enter":
            event.stop()
            self.post_message(self.WordsBegun("\n"))
        elif event.character is not None and event.is_printable and (self._in_words or event.key not in ("y", "n")):
            event.stop()
            self._in_words = True
            self.post_message(self.WordsBegun(event.character))

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def answered(self, how: str) -> None:
        """Keep the card as a record: it takes no more answers."""
        self.add_class("-answered")
        self.can_focus = False
        self.border_title = f"{clean(self.approval)}: {how}"
