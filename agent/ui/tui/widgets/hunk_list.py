"""The hunks of a proposal, each to be taken or left; it reports the choice and changes nothing itself."""

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from agent.text.sanitize import clean
from agent.ui.shared.hunks import Hunk, context


class HunkView(Static):
    """One hunk with its neighbouring lines."""

    def __init__(self, hunk: Hunk, around: tuple[list[str], list[str]]) -> None:
        super().__init__()
        self._hunk, self._around = hunk, around

    def show(self, *, taken: bool, current: bool) -> None:
        self.set_class(current, "-current")
        self.set_class(not taken, "-left")
        before, after = self._around
        sign = ("✓ taken", "$success") if taken else ("✗ left as it was", "$error")
        lines = [Content.assemble((f"{self._hunk.title}  ", "bold"), sign)]
        lines += [Content.styled(f"  {clean(line)}", "$muted") for line in before]
        lines += [Content.styled(f"- {clean(line)}", "$error") for line in self._hunk.before]
        lines += [Content.styled(f"+ {clean(line)}", "$success") for line in self._hunk.after]
        lines += [Content.styled(f"  {clean(line)}", "$muted") for line in after]
        self.update(Content("\n").join(lines))


class HunkList(VerticalScroll, can_focus=True):
    """Walks through the hunks with the keyboard."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "take(True)", "take"),
        Binding("r", "take(False)", "leave"),
        Binding("A", "take_all(True)", "take all", show=False),
        Binding("R", "take_all(False)", "leave all", show=False),
        Binding("down,j,n", "walk(1)", "next", key_display="↓"),
        Binding("up,k,p", "walk(-1)", "previous", show=False),
        Binding("enter", "decide", "done"),
        Binding("escape", "cancel", "later"),
    ]

    @dataclass
    class Decided(Message):
        """These hunks, by number, are taken."""

        taken: frozenset[int]

    class Cancelled(Message):
        """Nothing is decided now."""

    current = reactive(0, init=False)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._views: list[HunkView] = []
        self._taken: set[int] = set()

    def compose(self) -> ComposeResult:
        yield from ()

    async def show(self, hunks: list[Hunk], new: str) -> None:
        """Show these hunks, all taken."""
        await self.remove_children()
        self._views = [HunkView(hunk, context(new, hunk)) for hunk in hunks]
        self._taken = set(range(len(hunks)))
        self.set_reactive(HunkList.current, 0)
        await self.mount_all(self._views)
        self._refresh_views()

    def _refresh_views(self) -> None:
        for number, view in enumerate(self._views):
            view.show(taken=number in self._taken, current=number == self.current)
        if self._views:
            self.scroll_to_widget(self._views[self.current], animate=False)

    def watch_current(self) -> None:
        self._refresh_views()

    def action_walk(self, by: int) -> None:
        self.current = min(max(self.current + by, 0), max(len(self._views) - 1, 0))

    def action_take(self, taken: bool) -> None:
        (self._taken.add if taken else self._taken.discard)(self.current)
        self._refresh_views()
        self.action_walk(1)

    def action_take_all(self, taken: bool) -> None:
        self._taken = set(range(len(self._views))) if taken else set()
        self._refresh_views()

    def action_decide(self) -> None:
        self.post_message(self.Decided(frozenset(self._taken)))

    def action_cancel(self) -> None:
        self.post_message(self.Cancelled())
