"""The conversation on the screen. It shows what it is told and passes on what the person says; it decides nothing."""

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, ProgressBar, Static, TextArea

from agent.text.sanitize import clean
from agent.ui.tui.panes.pane import Pane
from agent.ui.tui.widgets.prompt import Completions, Prompt

if TYPE_CHECKING:
    from agent.ui.tui.widgets.entries import ApprovalCard, SaidEntry, ToolCall

MOUNTED = 300
"""How many entries stay on the screen; /export writes all of them."""


class TranscriptView(VerticalScroll, can_focus=True):
    """The entries, the newest at the bottom."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_entry", "copy last answer", show=False),
        Binding("end", "scroll_end", "newest", show=False),
    ]

    class CopyWanted(Message):
        """The last answer is to be copied."""

    def on_resize(self) -> None:
        if cards := self.query(".card"):  # importing their class earlier would delay the first sight of the screen
            from agent.ui.tui.widgets.entries import ApprovalCard

            for card in cards.results(ApprovalCard):
                card.fit(self.size.height)

    def action_copy_entry(self) -> None:
        self.post_message(self.CopyWanted())


class ChatPane(Pane):
    """TranscriptView, work line, completions and prompt."""

    TITLE = "Talk"
    HELP = (
        "Say what you want in your own words, or type / for commands. Enter sends, Ctrl+J breaks the line, ↑ brings "
        "back what you said. Drop a folder of clips on the terminal to open it. Esc interrupts what is at work."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page(-1)", "scroll", show=False),
        Binding("pagedown", "page(1)", "scroll", show=False),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.transcript = TranscriptView(id="transcript")
        self.prompt = Prompt(id="prompt")
        self._completions = Completions(id="completions")
        self._work = Static(id="work", markup=False)
        self._bar = ProgressBar(id="work-bar", show_eta=False)
        self._saying: SaidEntry | None = None
        self._call: ToolCall | None = None
        self.card: ApprovalCard | None = None
        self.last_said = ""

    def compose(self) -> ComposeResult:
        yield self.transcript
        yield self._work
        yield self._bar
        yield self._completions
        yield self.prompt

    def on_mount(self) -> None:
        super().on_mount()
        self._completions.display = self._bar.display = self._work.display = False
        self.transcript.anchor()

    def take_focus(self) -> None:
        if self.card is not None:
            self.card.focus()
        else:
            self.prompt.focus()

    async def clear(self) -> None:
        """Empty the transcript, as for another project."""
        await self.transcript.remove_children()
        self._saying = self._call = self.card = None

    def heard(self, text: str) -> None:
        """The person said this."""
        self._add(lambda: entries().Words("you", text, classes="heard"))

    async def streamed(self, piece: str) -> None:
        """A piece of an answer has come."""
        if self._saying is None:
            self._saying = entries().SaidEntry()
            await self.transcript.mount(self._saying)
        await self._saying.add(piece)

    async def said(self, text: str) -> None:
        """An answer is complete."""
        self.last_said = text
        if self._saying is not None:
            saying, self._saying = self._saying, None
            await saying.finish(text)
        else:
            self._add(lambda: entries().SaidEntry(text))

    def called(self, tool: str, arguments: dict[str, object]) -> None:
        self._call = entries().ToolCall(tool, arguments)
        self._mount(self._call)

    def returned(self, result: dict[str, object] | None, refusal: str, summary: list[str]) -> None:
        if self._call is not None:
            self._call.returned(result, refusal, summary)
            self._call = None
        self.working("")

    def notice(self, message: str, level: str = "note", evidence: list[str] | None = None) -> None:
        self._add(lambda: entries().Notice(message, level, evidence))

    def ask(self, approval: str, question: str, details: list[str], costs: list[str]) -> None:
        """Show an approval; it takes the focus unless the person is writing, which is then no answer to it."""
        if self.card is not None:
            self.card.answered("asked again")
        if self._call is not None:
            self._call.waits()
        self.working("")
        self.card = entries().ApprovalCard(approval, question, details, costs)
        self._mount(self.card)
        self.prompt.is_early = bool(self.prompt.text)
        focused = self.screen.focused
        is_writing = bool(self.prompt.text) or (isinstance(focused, TextArea | Input) and focused is not self.prompt)
        if not is_writing and self.display:
            self.card.focus()

    def answered(self, how: str) -> None:
        if self.card is not None:
            self.card.answered(how)
            had_focus = self.card.has_focus or self.screen.focused is None
            self.card = None
            if had_focus:
                self.prompt.focus()

    def working(self, what: str, done: int = 0, total: int = 0) -> None:
        """Say in the line above the prompt what is at work; nothing: nothing is."""
        self._work.display = bool(what)
        self._bar.display = bool(what and total)
        if what:
            share = f"  {done} of {total}" if total else ""
            self._work.update(f"{clean(what)}{share}   esc interrupts")
            self._bar.update(total=total or None, progress=done)
            if self._call is not None and total:
                self._call.progressed(what, done, total)

    def _add(self, make: Callable[[], Widget]) -> None:
        self._mount(make())

    def _mount(self, widget: Widget) -> None:
        self.transcript.mount(widget)
        surplus = len(self.transcript.children) - MOUNTED
        if surplus > 8:
            for old in list(self.transcript.children)[:surplus]:
                if old is not self.card and old is not self._call:
                    old.remove()

    def action_page(self, direction: int) -> None:
        if direction < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    @on(Prompt.Completing)
    def _show_completions(self, message: Prompt.Completing) -> None:
        self._completions.show(message.found, message.chosen)


def entries() -> ModuleType:
    """The widgets of the transcript; the first sight of the screen does without their Markdown."""
    from agent.ui.tui.widgets import entries as found

    return found
