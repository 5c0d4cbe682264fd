"""Figures of a run: the traces of each, and their values at a step. No Textual."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from agent.ui.shared.curves.columns import View, smooth
from agent.ui.shared.curves.plot import AXIS_WIDTH, Plot, Trace
from agent.ui.shared.curves.series import Series
from trainer_core.verdict.trend import smoothing_width

SMOOTHINGS = ("auto", "strong", "off")


@dataclass(frozen=True)
class Line:
    """A measure of a figure, with its colours; `heldout` names the held-out measure that belongs to it."""

    measure: str
    label: str
    colour: str
    raw_colour: str = ""
    heldout: str = ""


@dataclass(frozen=True)
class Figure:
    """One plot of a run; `unit` says what its values are."""

    name: str
    unit: str
    lines: tuple[Line, ...]
    smoothed: bool = True


FIGURES: tuple[Figure, ...] = (
    Figure("loss", "loss", (Line("loss", "train", "total", "raw", "heldout"),)),
    Figure(
        "by modality",
        "loss",
        (
            Line("loss_video", "video", "video", "raw", "heldout_video"),
            Line("loss_audio", "audio", "audio", "raw-audio", "heldout_audio"),
        ),
    ),
    Figure("learning rate", "learning rate", (Line("lr", "learning rate", "video"),), smoothed=False),
    Figure("gradient norm", "gradient norm", (Line("grad_norm", "norm", "total", "raw"),)),
    Figure(
        "step time",
        "seconds",
        (
            Line("data_s", "data", "event"),
            Line("forward_s", "forward", "video"),
            Line("backward_s", "backward", "audio"),
            Line("optimizer_s", "optimizer", "heldout"),
        ),
    ),
    Figure("memory", "GB", (Line("memory_bytes", "memory", "video"),), smoothed=False),
)


@dataclass
class Smoother:
    """Running medians of a series, kept until it changes."""

    amount: str = "auto"
    _kept: dict[tuple[int, int, str, int], np.ndarray] = field(default_factory=dict)

    def width(self, series: Series) -> int:
        """The width of the running median, in buckets."""
        if self.amount == "off":
            return 1
        width = smoothing_width(len(series))
        return width if self.amount == "auto" else min(4 * width, 401) | 1

    def __call__(self, series: Series, measure: str) -> np.ndarray:
        key = (id(series), series.version, measure, self.width(series))
        if key not in self._kept:
            if len(self._kept) > 32:
                self._kept.clear()
            self._kept[key] = smooth(series.mean(measure), key[3])
        return self._kept[key]


@dataclass(frozen=True)
class Data:
    """The series that are drawn: of the run, of its stretch in detail, held out, and of the run compared with."""

    steps: Series
    heldout: Series
    detail: Series | None = None
    compared: Series | None = None

    def within(self, view: View) -> Series:
        """The finest series that holds all of `view`."""
        detail = self.detail
        if detail is None or not len(detail) or self.steps.rows_a_bucket == 1:
            return self.steps
        first, last = self.range
        covers = detail.first_step[0] <= max(view.first, first) and detail.last_step[-1] >= min(view.last, last)
        return detail if covers else self.steps

    @property
    def range(self) -> tuple[float, float]:
        """The first and the last step of all runs drawn."""
        known = [series for series in (self.steps, self.compared) if series is not None and len(series)]
        if not known:
            return 0.0, 1.0
        return min(series.first_step[0] for series in known), max(series.last_step[-1] for series in known)


def plot_of(
    figure: Figure,
    data: Data,
    view: View,
    smoother: Smoother,
    *,
    raw: bool,
    log: bool,
    cursor: float | None,
    marks: Sequence[tuple[float, str, str]],
) -> Plot:
    """Return what there is to draw of one figure."""
    traces: list[Trace] = []
    drawn = data.within(view)
    if data.compared is not None:
        for line in figure.lines:
            if data.compared.has(line.measure):
                other = smoother(data.compared, line.measure)
                traces.append(Trace(f"{line.label} of the other", data.compared, line.measure, "compared", "", other))
    for line in figure.lines:
        if drawn.has(line.measure):
            # The smoothed curve comes from the whole run, so that zooming never changes it.
            raw_colour = line.raw_colour if raw else ""
            if figure.smoothed:
                traces.append(Trace(line.label, drawn, line.measure, line.colour, raw_colour))
                curve = smoother(data.steps, line.measure)
                traces.append(Trace(line.label, data.steps, line.measure, line.colour, "", curve))
            else:
                traces.append(Trace(line.label, drawn, line.measure, line.colour, "", drawn.mean(line.measure)))
        if line.heldout and data.heldout.has(line.heldout):
            points = Trace(f"{line.label} held out", data.heldout, line.heldout, "heldout", points=True)
            traces.append(points)
    return Plot(figure.name, traces, view, log, cursor, marks, value_format(figure))


def value_format(figure: Figure) -> Callable[[float], str]:
    """How the figure's values are written on its axis."""
    if figure.name == "memory":
        return lambda value: f"{value / 1e9:.3g}G"
    digits, kind = (1, "e") if figure.name == "learning rate" else (3, "g")
    return lambda value: _short(value, digits, kind) if value else "0"


def _short(value: float, digits: int, kind: str) -> str:
    """Write `value` with so many digits, or fewer, within the columns of an axis: an exponent cut short is another."""
    for fewer in range(digits, -1, -1):
        text = re.sub(r"e([+-])0+", r"e\1", f"{value:.{fewer}{kind}}")
        if len(text) <= AXIS_WIDTH - 2:
            break
    return text


def nearest(series: Series, step: float) -> int | None:
    """The index of the bucket that lies nearest to `step`."""
    if not len(series):
        return None
    index = int(np.clip(np.searchsorted(series.last_step, step), 0, len(series) - 1))
    if index and abs(series.last_step[index - 1] - step) < abs(series.first_step[index] - step):
        return index - 1
    return index


def readings(figure: Figure, data: Data, view: View, step: float, smoother: Smoother) -> list[tuple[str, str, str]]:
    """Return (label, value, colour) of everything that stands at `step`."""
    found: list[tuple[str, str, str]] = []
    write = value_format(figure)
    series = data.within(view)
    index = nearest(series, step)
    whole = nearest(data.steps, step)
    for line in figure.lines:
        if index is not None and series.has(line.measure):
            low, high = series.low(line.measure)[index], series.high(line.measure)[index]
            raw = write(float(low)) if low == high else f"{write(float(low))}–{write(float(high))}"
            if figure.smoothed and whole is not None and smoother.amount != "off":
                raw = f"{write(float(smoother(data.steps, line.measure)[whole]))} (raw {raw})"
            found.append((line.label, raw, line.colour))
        if line.heldout and data.heldout.has(line.heldout):
            held = nearest(data.heldout, step)
            assert held is not None
            value = data.heldout.mean(line.heldout)[held]
            at = int(data.heldout.first_step[held])
            found.append((f"{line.label} held out", f"{write(float(value))} at {at:,}", "heldout"))
        if data.compared is not None and data.compared.has(line.measure):
            other = nearest(data.compared, step)
            assert other is not None
            found.append(("other run", write(float(smoother(data.compared, line.measure)[other])), "compared"))
    return found
