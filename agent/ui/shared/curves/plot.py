"""A plot as lines of coloured text: axes, envelope, smoothed curve, points, marks and cursor. No Textual.

Colours are names (`raw`, `smooth`, `grid`, …) that the widget turns into the theme's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from agent.ui.shared.curves.canvas import Canvas
from agent.ui.shared.curves.columns import View, curve, envelope
from agent.ui.shared.curves.series import Series

AXIS_WIDTH = 9
Run = tuple[str, str]
"""A piece of a line: text and the name of its colour."""


@dataclass(frozen=True)
class Trace:
    """One curve: a measure of a series, as its envelope, as a smoothed line (`smoothed` [B]), as points, or all."""

    label: str
    series: Series
    measure: str
    colour: str
    raw_colour: str = ""
    smoothed: np.ndarray | None = None
    points: bool = False


@dataclass(frozen=True)
class Plot:
    """What is drawn: traces over `view`; `marks` are (step, colour) of vertical lines; `cursor` is a step."""

    title: str
    traces: Sequence[Trace]
    view: View
    log: bool = False
    cursor: float | None = None
    marks: Sequence[tuple[float, str, str]] = ()
    format: Callable[[float], str] = field(default=lambda value: f"{value:.4g}")


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    log: bool
    height: int

    def dots(self, values: np.ndarray) -> np.ndarray:
        """Return the dot row of each value, kept within the plot; NaN stays."""
        with np.errstate(invalid="ignore", divide="ignore"):
            at = np.log10(values) if self.log else values
            at = np.where(np.isfinite(at), at, np.where(np.isnan(values), np.nan, self.low))
            return np.clip((self.high - at) / (self.high - self.low) * (self.height - 1), 0, self.height - 1)

    def value(self, share: float) -> float:
        """The value at `share` of the height, from the top."""
        at = self.high - share * (self.high - self.low)
        return float(10**at) if self.log else at


def draw(plot: Plot, columns: int, rows: int) -> list[list[Run]]:
    """Return `rows` lines of `columns` cells: the value axis at the left, the step axis in the last line."""
    inner, height = max(columns - AXIS_WIDTH, 2), max(rows - 1, 1)
    canvas = Canvas(inner, height)
    envelopes = [
        envelope(trace.series, trace.measure, plot.view, canvas.width)
        if trace.raw_colour or trace.points
        else np.full((2, canvas.width), np.nan)
        for trace in plot.traces
    ]
    curves = [
        curve(trace.series, trace.smoothed, plot.view, canvas.width)
        if trace.smoothed is not None
        else np.full(canvas.width, np.nan)
        for trace in plot.traces
    ]
    scale = _scale(plot, envelopes, curves, canvas.height)
    if scale is None:
        return _empty(plot.title, columns, rows)
    for trace, (low, high) in zip(plot.traces, envelopes, strict=True):
        if trace.raw_colour and not trace.points:
            canvas.fill(trace.raw_colour, scale.dots(high), scale.dots(low))
    for trace, line in zip(plot.traces, curves, strict=True):
        if trace.smoothed is not None:
            canvas.line(trace.colour, scale.dots(line))
    points: dict[tuple[int, int], Run] = {}
    for trace in plot.traces:
        if trace.points:
            points |= _point_cells(trace, plot.view, scale, inner)
    drawn = []
    for row, cells in enumerate(canvas.runs()):
        over = {column: run for (at, column), run in points.items() if at == row}
        drawn.append(_with_overlays(cells, _overlays(plot, inner, row, height), over))
    axis = _value_axis(plot, scale, height)
    return [[(axis[row], "label"), *drawn[row]] for row in range(height)] + [_step_axis(plot, columns, inner)]


def _scale(plot: Plot, envelopes: list[np.ndarray], curves: list[np.ndarray], height: int) -> _Scale | None:
    """The value range: all of the smoothed curves and points, and of the raw values all but the outermost."""
    firm = [curve[np.isfinite(curve)] for curve in curves]
    for trace, bounds in zip(plot.traces, envelopes, strict=True):
        finite = bounds[np.isfinite(bounds)]
        if trace.points or trace.smoothed is None:
            firm.append(finite)
        elif len(finite):
            firm.append(np.quantile(finite, [0.02, 0.98]))
    values = np.concatenate(firm) if firm else np.array([])
    log = plot.log and bool((values > 0).any())
    if log:
        values = np.log10(values[values > 0])
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    flat = high - low <= 1e-6 * max(abs(high), abs(low))  # a constant, but for rounding
    margin = (abs(high) * 0.05 or 0.5) if flat else 0.04 * (high - low)
    bottom = low - margin if log or low < 0 else max(low - margin, 0.0)  # what can't be negative shows no such label
    return _Scale(bottom, high + margin, log, height)


def _point_cells(trace: Trace, view: View, scale: _Scale, inner: int) -> dict[tuple[int, int], Run]:
    """The cells in which a point lies."""
    steps, values = trace.series.first_step, trace.series.mean(trace.measure)
    sound = np.isfinite(values) & (steps >= view.first) & (steps <= view.last)
    rows = scale.dots(values[sound]).astype(int) // 4
    return {
        (int(row), view.column(step, inner)): ("◆", trace.colour) for row, step in zip(rows, steps[sound], strict=True)
    }


def _overlays(plot: Plot, inner: int, row: int, height: int) -> dict[int, Run]:
    """What stands over empty cells of a line, by column: marks and the cursor."""
    found: dict[int, Run] = {}
    for step, colour, sign in plot.marks:
        column = plot.view.column(step, inner)
        if 0 <= column < inner:
            found[column] = (sign if row == height - 1 else "┊", colour)
    if plot.cursor is not None and 0 <= (column := plot.view.column(plot.cursor, inner)) < inner:
        found[column] = ("│", "cursor")
    return found


def _with_overlays(line: list[Run], overlays: dict[int, Run], points: dict[int, Run]) -> list[Run]:
    if not overlays and not points:
        return line
    cells = [(character, colour) for text, colour in line for character in text]
    for column, (sign, colour) in overlays.items():
        if colour == "cursor" or not cells[column][1]:
            cells[column] = (sign, colour)
    for column, point in points.items():
        cells[column] = point
    merged: list[Run] = []
    for character, colour in cells:
        if merged and merged[-1][1] == colour:
            merged[-1] = (merged[-1][0] + character, colour)
        else:
            merged.append((character, colour))
    return merged


def _value_axis(plot: Plot, scale: _Scale, height: int) -> list[str]:
    labels = [""] * height
    count = max(2, min(height, height // 3 + 1))
    for index in range(count):
        row = round(index * (height - 1) / (count - 1)) if count > 1 else 0
        labels[row] = plot.format(scale.value(row / max(height - 1, 1)))
    return [f"{label[: AXIS_WIDTH - 2]:>{AXIS_WIDTH - 2}} {'┤' if label else '│'}" for label in labels]


def _step_axis(plot: Plot, columns: int, inner: int) -> list[Run]:
    count = max(2, inner // 16)
    line = [" "] * columns
    for index in range(count):
        column = round(index * (inner - 1) / (count - 1))
        label = step_label(plot.view.step(column, inner))
        start = min(max(AXIS_WIDTH + column - len(label) // 2, 0), columns - len(label))
        line[start : start + len(label)] = label
    return [("".join(line), "label")]


def step_label(step: float) -> str:
    """Return a step as short as it stays clear: 950, 12.5k, 1.25M."""
    if abs(step) < 10_000:
        return f"{step:.0f}"
    scaled, unit = (step / 1e6, "M") if abs(step) >= 1e6 else (step / 1e3, "k")
    return f"{scaled:.{max(0, 2 - int(math.log10(abs(scaled))))}f}".rstrip("0").rstrip(".") + unit


def _empty(title: str, columns: int, rows: int) -> list[list[Run]]:
    message = f"No {title} yet"
    lines: list[list[Run]] = [[(" " * columns, "")] for _ in range(rows)]
    lines[rows // 2] = [(message.center(columns)[:columns], "label")]
    return lines


def sparkline(values: np.ndarray, width: int) -> str:
    """Return the last values as `width` bars of eighths, for one line of text."""
    values = values[np.isfinite(values)]
    if not len(values) or width <= 0:
        return ""
    parts = np.array([part.mean() for part in np.array_split(values, min(width, len(values)))])
    low, high = parts.min(), parts.max()
    levels = np.zeros(len(parts), int) if high == low else ((parts - low) / (high - low) * 7).round().astype(int)
    return "".join("▁▂▃▄▅▆▇█"[level] for level in levels)
