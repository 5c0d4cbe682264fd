"""The one screen of a project: talk, plan, curves, clips, run and samples, as many as fit at a time."""

from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from agent.text.sanitize import clean
from agent.ui.tui.panes.chat import ChatPane
from agent.ui.tui.panes.pane import Pane
from agent.ui.tui.widgets.tabs import Tabs

if TYPE_CHECKING:
    from agent.ui.tui.panes.clips import ClipsPane
    from agent.ui.tui.panes.curves import CurvesPane
    from agent.ui.tui.panes.plan import PlanPane
    from agent.ui.tui.panes.run import RunPane
    from agent.ui.tui.panes.samples import SamplesPane

PANES: tuple[tuple[str, str], ...] = (
    ("talk", "Talk"),
    ("plan", "Plan"),
    ("curves", "Curves"),
    ("clips", "Clips"),
    ("run", "Run"),
    ("samples", "Samples"),
)
"""Names and titles, in the order of their keys F2 to F7."""
ALWAYS_WIDE = frozenset({"talk", "curves"})
ALWAYS_HUGE = frozenset({"talk", "curves", "run"})


class Workbench(Screen[None]):
    """Shows one pane where there is little room, three or five where there is more.

    `talk` is there from the first sight on, the other panes once `fill` has run.
    """

    talk: ChatPane
    plan: "PlanPane"
    curves: "CurvesPane"
    clips: "ClipsPane"
    run: "RunPane"
    samples: "SamplesPane"

    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [
        (0, "-narrow"),
        (116, "-wide"),
        (190, "-huge"),
    ]
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-low"), (30, "-tall")]
    AUTO_FOCUS = "#prompt"

    def __init__(self) -> None:
        super().__init__()
        self.shown = "talk"
        self._side = "plan"
        self._zoomed = False
        self._about, self._run = "", Content("")

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        yield Tabs(PANES, id="tabs")
        with Container(id="body"):
            self.talk = ChatPane(id="talk")
            yield self.talk
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._arrange()

    async def fill(self) -> None:
        """Add the panes that the first sight of the screen can do without."""
        from agent.ui.tui.panes.clips import ClipsPane
        from agent.ui.tui.panes.curves import CurvesPane
        from agent.ui.tui.panes.plan import PlanPane
        from agent.ui.tui.panes.run import RunPane
        from agent.ui.tui.panes.samples import SamplesPane

        self.plan, self.clips, self.samples = PlanPane(id="plan"), ClipsPane(id="clips"), SamplesPane(id="samples")
        self.run, self.curves = RunPane(id="run"), CurvesPane(id="curves")
        await self.query_one("#body").mount_all([self.plan, self.clips, self.samples, self.run, self.curves])
        self._arrange()

    def on_resize(self) -> None:
        self.call_after_refresh(self._arrange)

    def show(self, name: str, *, focus: bool = True) -> None:
        """Bring a pane to the front."""
        self.shown = name
        if name not in ALWAYS_WIDE:
            self._side = name
        self._arrange()
        if focus and (found := self.query(Pane).filter(f"#{name}")):
            found.first().take_focus()

    @on(Pane.Left)
    def _pane_left(self) -> None:
        self.show("talk")

    def zoom(self) -> None:
        """Give the pane in front the whole screen, or its place again."""
        self._zoomed = not self._zoomed
        self._arrange()

    def show_beside(self, name: str) -> None:
        """Bring a pane beside the talk to the front, where both are in sight; it takes no focus."""
        if name not in ALWAYS_WIDE:
            self._side = name
            self._arrange()

    def follow_focus(self, name: str) -> None:
        """The person moved the focus into a pane: it is the one in front."""
        if name != self.shown:
            self.shown = name
            self._arrange()

    def in_view(self) -> set[str]:
        """The panes that the present size and choice show."""
        if self._zoomed or self.has_class("-narrow") or not (self.has_class("-wide") or self.has_class("-huge")):
            return {self.shown}
        if self.has_class("-low"):
            other = "talk" if self.shown != "talk" else self._side
            return {self.shown, other}
        side = self._side
        if self.has_class("-huge"):
            return {*ALWAYS_HUGE, side if side != "run" else "plan"}
        return {*ALWAYS_WIDE, side}

    def _arrange(self) -> None:
        visible = self.in_view()
        body = self.query_one("#body")
        for pane in body.children:
            pane.display = pane.id in visible
        for count in range(1, 5):
            body.set_class(len(visible) == count, f"-panes-{count}")
        self.query_one(Tabs).show(self.shown, visible, zoomed=self._zoomed)

    @on(Tabs.Clicked)
    def _tab_clicked(self, message: Tabs.Clicked) -> None:
        self.show(message.name)

    def show_head(self, about: str, run: Content) -> None:
        """Say which project this is, and how its run goes."""
        self._about, self._run = about, run
        width = self.size.width or 80
        room = max(width - run.cell_length - 4, 0)
        left = Content.assemble((" ltx-agent ", "bold $primary"), (clean(about), "$muted")).truncate(
            room, ellipsis=True
        )
        gap = max(width - left.cell_length - run.cell_length - 1, 1)
        self.query_one("#head", Static).update(Content.assemble(left, " " * gap, run))
