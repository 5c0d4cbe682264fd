"""A plot on the screen: asks `curves.plot` for its lines and gives them the theme's colours. It decides nothing."""

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip
from textual.widget import Widget

from agent.ui.shared.curves.plot import Plot, draw

COLOURS = {
    "total": "chart-total",
    "raw": "chart-raw",
    "raw-audio": "chart-raw-audio",
    "video": "primary",
    "audio": "secondary",
    "heldout": "accent",
    "compared": "chart-compared",
    "grid": "chart-grid",
    "label": "chart-label",
    "cursor": "foreground",
    "best": "success",
    "event": "warning",
    "trouble": "error",
}
"""Which of the theme's variables each colour of a plot is."""


class Chart(Widget):
    """Shows one plot; setting `plot` draws it anew."""

    DEFAULT_CSS = "Chart { height: 1fr; min-height: 4; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._plot: Plot | None = None
        self._lines: list[Strip] | None = None

    @property
    def plot(self) -> Plot | None:
        return self._plot

    @plot.setter
    def plot(self, plot: Plot) -> None:
        self._plot = plot
        self._lines = None
        self.refresh()

    def notify_style_update(self) -> None:
        self._lines = None
        super().notify_style_update()

    def on_resize(self) -> None:
        self._lines = None

    def render_line(self, y: int) -> Strip:
        if self._lines is None:
            self._lines = self._draw()
        return self._lines[y] if y < len(self._lines) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self) -> list[Strip]:
        width, height = self.size
        if self._plot is None or width < 4 or height < 2:
            return []
        ground = self.rich_style
        styles = {"": ground} | {name: ground + self._style(variable) for name, variable in COLOURS.items()}
        return [
            Strip([Segment(text, styles[colour]) for text, colour in line]).adjust_cell_length(width, ground)
            for line in draw(self._plot, width, height)
        ]

    def _style(self, variable: str) -> Style:
        return Style(color=Color.parse(self.app.theme_variables[variable]).rich_color)
