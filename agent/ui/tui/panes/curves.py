"""The live curves of a run: which figure, which stretch, where the cursor stands. Drawing is the chart's."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.widgets import Static

from agent.ui.shared.curves.columns import View
from agent.ui.shared.curves.figures import FIGURES, SMOOTHINGS, Data, Figure, Smoother, plot_of, readings
from agent.ui.shared.curves.plot import AXIS_WIDTH
from agent.ui.shared.curves.series import Series
from agent.ui.shared.watch import Mark, RunSeen
from agent.ui.tui.panes.pane import Pane
from agent.ui.tui.widgets.chart import COLOURS, Chart

ZOOM = 1.5
PAN_SHARE = 0.2
WIDE_LEGEND = 130


class Panel(Vertical):
    """One figure with the line that says what is drawn."""

    DEFAULT_CSS = "Panel { height: 1fr; } Panel > Static { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        self.figure = figure
        self.legend = Static()
        self.chart = Chart()

    def compose(self) -> ComposeResult:
        yield self.legend
        yield self.chart


class CurvesPane(Pane, can_focus=True):
    """Curves of the run that is watched, and of another to compare it with."""

    TITLE = "Curves"
    HELP = (
        "The bright line is the running median, the shade behind it every single step (from the least to the greatest "
        "where a column holds many). ◆ are held-out losses. ★ is the best checkpoint, ▲ an event, ✗ trouble."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1,2,3,4,5,6", "figure", "figure", key_display="1-6"),
        Binding("g", "grid", "all figures"),
        Binding("plus,equals_sign", "zoom(1)", "zoom", key_display="+ -"),
        Binding("minus", "zoom(-1)", "zoom out", show=False),
        Binding("left", "cursor(-1)", "cursor", key_display="← →"),
        Binding("right", "cursor(1)", "cursor right", show=False),
        Binding("ctrl+left", "cursor(-10)", "cursor by ten", show=False),
        Binding("ctrl+right", "cursor(10)", "cursor by ten", show=False),
        Binding("shift+left,comma", "pan(-1)", "pan", key_display=", ."),
        Binding("shift+right,full_stop", "pan(1)", "pan right", show=False),
        Binding("home", "edge(0)", "cursor to the first step", show=False),
        Binding("end", "edge(1)", "cursor to the last step", show=False),
        Binding("0", "whole", "whole run", show=False),
        Binding("f", "follow", "follow"),
        Binding("l", "log", "log"),
        Binding("s", "smoothing", "smoothing", show=False),
        Binding("r", "raw", "raw", show=False),
        Binding("c", "compare", "compare"),
        Binding("C", "compare_none", "compare with no run", show=False),
        Binding("e", "marks", "marks", show=False),
        Binding("n", "next_mark(1)", "next mark", show=False),
        Binding("p", "next_mark(-1)", "previous mark", show=False),
        Binding("b", "best", "best", show=False),
        Binding("left_square_bracket", "run(-1)", "earlier run", show=False),
        Binding("right_square_bracket", "run(1)", "later run", show=False),
    ]

    @dataclass
    class LookCloser(Message):
        """The view holds fewer buckets than columns: the rows themselves are wanted."""

        run: str
        first: float
        last: float

    @dataclass
    class Chosen(Message):
        """Another run is to be shown or compared with."""

        run: str | None
        compared: str | None

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._seen: RunSeen | None = None
        self._compared: RunSeen | None = None
        self._detail: Series | None = None
        self._runs: tuple[str, ...] = ()
        self._figure = 0
        self._grid = False
        self._view: View | None = None
        self._follow: float | None = None
        self._cursor: float | None = None
        self._log = self._asked = False
        self._raw = self._marks = True
        self._smoother = Smoother()
        self._wanted: tuple[float, float] | None = None
        self._titles = ("", "")

    def compose(self) -> ComposeResult:
        with Container(id="figures"):
            for figure in FIGURES:
                yield Panel(figure)

    def on_mount(self) -> None:
        super().on_mount()
        self._show()

    def take_focus(self) -> None:
        self.focus()

    def show_run(self, seen: RunSeen) -> None:
        """Take what was seen of the run that is watched, or of the one it is compared with."""
        if self._compared_id == seen.id:
            self._compared = seen
        else:
            if self._seen is not None and self._seen.id != seen.id:
                self._view = self._cursor = self._detail = None
            self._seen = seen
        self._show()

    def show_runs(self, ids: tuple[str, ...]) -> None:
        self._runs = ids
        self._show()

    def show_detail(self, run: str, steps: Series) -> None:
        if self._seen is not None and self._seen.id == run:
            self._detail = steps
            self._show()

    _compared_id: str | None = None

    @property
    def data(self) -> Data | None:
        if self._seen is None:
            return None
        compared = self._compared
        return Data(
            self._seen.steps,
            self._seen.heldout,
            self._detail,
            compared.steps if compared else None,
        )

    @property
    def view(self) -> View:
        """What is shown: a stretch, the latest steps, or the whole run."""
        first, last = self.data.range if self.data else (0.0, 1.0)
        if self._follow is not None:
            return View(max(first, last - self._follow), last)
        return self._view or View(first, max(last, first + 1))

    def _show(self) -> None:
        if not self.is_mounted:
            return
        data, view = self.data, self.view
        panels = list(self.query(Panel))
        self.set_class(self._grid, "-grid")
        for number, panel in enumerate(panels):
            panel.display = self._grid or number == self._figure
            if panel.display:
                self._show_panel(panel, data, view)
        self._show_title()
        if data is not None:
            self._ask_for_detail(data, view)

    def _show_panel(self, panel: Panel, data: Data | None, view: View) -> None:
        if data is None:
            panel.legend.update(Text("No run yet. Training starts from the talk: say “start”.", "dim"))
            return
        marks = self._visible_marks() if self._marks else []
        panel.chart.plot = plot_of(
            panel.figure,
            data,
            view,
            self._smoother,
            raw=self._raw,
            log=self._log,
            cursor=self._cursor,
            marks=marks,
        )
        panel.legend.update(self._legend(panel.figure, data, view), layout=False)

    def _legend(self, figure: Figure, data: Data, view: View) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        if not self._grid and self.size.width >= WIDE_LEGEND:
            for number, each in enumerate(FIGURES, start=1):
                style = "bold reverse" if each is figure else "dim"
                text.append(f" {number} {each.name} ", style)
            text.append("  ")
        else:
            text.append(f"{FIGURES.index(figure) + 1} {figure.name}  ", "bold")
        if self._cursor is not None:
            text.append(f"step {self._cursor:,.0f}  ", "bold")
        step = self._cursor if self._cursor is not None else data.range[1]
        for label, value, colour in readings(figure, data, view, step, self._smoother):
            text.append("━ ", self._colour(colour))
            text.append(f"{label} {value}  ")
        return text

    def _colour(self, name: str) -> str:
        from textual.color import Color

        return Color.parse(self.app.theme_variables[COLOURS[name]]).rich_color.name

    def _show_title(self) -> None:
        seen = self._seen
        parts = [self.TITLE]
        if seen is not None:
            parts.append(seen.id)
            if seen.total_bytes and seen.read_bytes < 0.99 * seen.total_bytes:
                parts.append(f"reading {seen.read_bytes / seen.total_bytes:.0%}")
            if seen.unreadable_lines:
                parts.append(f"{seen.unreadable_lines} unreadable lines")
        if self._compared is not None:
            parts.append(f"against {self._compared.id}")
        chosen = [name for on, name in ((self._log, "log"), (self._follow is not None, "following")) if on]
        if self._smoother.amount != "auto":
            chosen.append(f"smoothing {self._smoother.amount}")
        titles = " · ".join(parts), " · ".join(chosen)
        if titles != self._titles:  # setting them paints the whole pane
            self._titles = titles
            self.border_title, self.border_subtitle = titles

    def _visible_marks(self) -> list[tuple[float, str, str]]:
        seen = self._seen
        if seen is None:
            return []
        marks = [
            (mark.step, "trouble" if mark.is_trouble else "event", "✗" if mark.is_trouble else "▲")
            for mark in seen.notable_marks
        ]
        best = seen.best_step
        return marks if best is None else [*marks, (best, "best", "★")]

    def _ask_for_detail(self, data: Data, view: View) -> None:
        if self._seen is None or data.steps.rows_a_bucket == 1 or data.within(view) is not data.steps:
            return
        first = int(np.searchsorted(data.steps.last_step, view.first))
        inside = int(np.searchsorted(data.steps.first_step, view.last, side="right")) - first
        wanted = (view.first, view.last)
        if inside < 2 * max(self.size.width - AXIS_WIDTH, 8) and wanted != self._wanted:
            self._wanted = wanted
            margin = view.span / 4
            self.post_message(self.LookCloser(self._seen.id, view.first - margin, view.last + margin))

    def _set_view(self, first: float, last: float) -> None:
        low, high = self.data.range if self.data else (0.0, 1.0)
        span = min(max(last - first, 4.0), max(high - low, 4.0))
        first = min(max(first, low), max(high - span, low))
        self._follow = None
        whole = span >= high - low
        self._view = None if whole else View(first, first + span)
        self._show()

    def action_figure(self) -> None:
        """Handled by `on_key`, which knows the digit."""

    def on_key(self, event: events.Key) -> None:
        if event.key in "123456" and int(event.key) <= len(FIGURES):
            self._figure, self._grid = int(event.key) - 1, False
            self._show()
            event.stop()
            event.prevent_default()

    def action_grid(self) -> None:
        self._grid = not self._grid
        self._show()

    def action_zoom(self, direction: int) -> None:
        view = self.view
        at = self._cursor if self._cursor is not None and view.first <= self._cursor <= view.last else None
        centre = at if at is not None else (view.last if self._follow is not None else (view.first + view.last) / 2)
        factor = ZOOM**-direction
        if self._follow is not None:
            self._follow = max(self._follow * factor, 4.0)
            self._show()
            return
        share = (centre - view.first) / view.span
        span = view.span * factor
        self._set_view(centre - share * span, centre + (1 - share) * span)

    def action_pan(self, direction: int) -> None:
        view = self.view
        shift = direction * PAN_SHARE * view.span
        self._set_view(view.first + shift, view.last + shift)

    def action_cursor(self, columns: int) -> None:
        view = self.view
        inner = max(self.size.width - AXIS_WIDTH - 4, 2)
        start = self._cursor if self._cursor is not None else (view.last if columns < 0 else view.first)
        low, high = self.data.range if self.data else (0.0, 1.0)
        moved = start + columns * max(view.span / inner, 1.0)
        self._cursor = float(round(min(max(moved, low), high)))
        if not view.first <= self._cursor <= view.last:
            shift = self._cursor - (view.first if columns < 0 else view.last)
            self._set_view(view.first + shift, view.last + shift)
        else:
            self._show()

    def action_edge(self, end: int) -> None:
        view = self.view
        self._cursor = view.last if end else view.first
        self._show()

    def action_whole(self) -> None:
        self._view = self._follow = self._cursor = None
        self._show()

    def action_follow(self) -> None:
        first, last = self.data.range if self.data else (0.0, 1.0)
        self._follow = None if self._follow is not None else max(min(self.view.span, (last - first) / 4), 20.0)
        self._view = None
        self._show()

    def action_log(self) -> None:
        self._log = not self._log
        self._show()

    def action_raw(self) -> None:
        self._raw = not self._raw
        self._show()

    def action_marks(self) -> None:
        self._marks = not self._marks
        self._show()

    def action_smoothing(self) -> None:
        self._smoother.amount = SMOOTHINGS[(SMOOTHINGS.index(self._smoother.amount) + 1) % len(SMOOTHINGS)]
        self._show()

    def action_best(self) -> None:
        best = self._seen.best_step if self._seen else None
        if best is None:
            self.notify("No checkpoint is marked as the best one yet: that needs held-out losses.")
            return
        self._go_to(best)

    def action_next_mark(self, direction: int) -> None:
        steps = sorted({step for step, _, _ in self._visible_marks()})
        here = self._cursor if self._cursor is not None else (-np.inf if direction > 0 else np.inf)
        ahead = [step for step in steps if (step - here) * direction > 0]
        if not ahead:
            self.notify("There is no further mark.")
            return
        self._go_to(ahead[0] if direction > 0 else ahead[-1])
        said = self._said_at(self._cursor or 0.0)
        if said:
            self.notify(said, title=f"step {self._cursor:,.0f}")

    def _go_to(self, step: float) -> None:
        self._cursor = step
        view = self.view
        if not view.first <= step <= view.last:
            self._set_view(step - view.span / 2, step + view.span / 2)
        self._show()

    def _said_at(self, step: float) -> str:
        marks = self._seen.marks if self._seen else ()
        said: list[Mark] = [mark for mark in marks if mark.step == step]
        return "\n".join(f"{mark.kind}: {mark.text}" for mark in said)

    def action_run(self, direction: int) -> None:
        if self._seen is None or len(self._runs) < 2:
            self.notify("The project has no other run.")
            return
        here = self._runs.index(self._seen.id) if self._seen.id in self._runs else len(self._runs) - 1
        wanted = self._runs[min(max(here + direction, 0), len(self._runs) - 1)]
        self.compare(None)
        self.post_message(self.Chosen(wanted, None))

    def action_compare(self) -> None:
        """Compare with the next other run."""
        shown = self._seen.id if self._seen else None
        others = [name for name in reversed(self._runs) if name != shown]
        if not others:
            self.notify("There is no other run to compare with.")
            return
        here = others.index(self._compared_id) + 1 if self._compared_id in others else 0
        self.compare(others[here] if here < len(others) else None)

    def action_compare_none(self) -> None:
        self.compare(None)

    def compare(self, run: str | None) -> None:
        """Lay the curves of `run` behind these; None: of no run."""
        self._compared_id, self._compared = run, None
        self.post_message(self.Chosen(self._seen.id if self._seen else None, run))
        self._show()
