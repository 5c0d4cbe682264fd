"""Runs in line mode: how one goes, its curves in words, two compared, what it has generated."""

from collections.abc import Callable

import numpy as np

from agent.text.run import run_lines, speed_lines
from agent.ui.plain.face import Face
from agent.ui.shared.curves.figures import FIGURES, Figure, Line, Smoother, nearest, value_format
from agent.ui.shared.curves.series import Series
from agent.ui.shared.viewer import open_with_system
from agent.ui.shared.watch import RunSeen, see_run
from tools.monitor.status import describe_run
from trainer_core.errors import ConfigError
from trainer_core.run_folder import RunFolder
from trainer_core.units import size_text
from trainer_core.verdict.trend import measure_trend

NO_RUN = 'No run yet. When the plan is right, say "/start".'
SURE = 0.05
"""Below this chance of such an order by chance, a curve is said to fall or rise."""
LATEST_SHARE = 4
"""The latest quarter of a run is what it is doing now."""
MOST_EVENTS = 12


def run(face: Face, name: str) -> list[str]:
    """`/run`, `/run NAME`: state, time left, verdict, speed, memory, events."""
    found = _chosen(face, name)
    if found is None:
        return [NO_RUN]
    status = describe_run(found).model_dump()
    seen = see_run(found)
    lines = run_lines(status, verbose=True)
    if len(seen.steps):
        memory = seen.steps.mean("memory_bytes")[-1]
        lines += speed_lines(status)
        lines += [f"Memory: {size_text(memory)}, at most {size_text(np.nanmax(seen.steps.high('memory_bytes')))}."]
    lines += _events(seen)
    others = [other.id for other in face.project.runs() if other.id != found.id]
    return [*lines, *([f"Other runs: {', '.join(others)}. /run NAME shows one."] if others else [])]


def curves(face: Face, name: str) -> list[str]:
    """`/curves`, `/curves RUN`: each curve by its first, last and best value, and what it does now."""
    found = _chosen(face, name)
    if found is None:
        return [NO_RUN]
    seen = see_run(found)
    if not len(seen.steps):
        return [f"Run {seen.id} has made no step yet."]
    lines = [f"Run {seen.id}, {seen.steps.last_step[-1]:,.0f} steps. Smoothed values are running medians."]
    if seen.unreadable_lines:
        lines.append(f"{seen.unreadable_lines} lines of its metrics can't be read.")
    smoother = Smoother()
    for figure in FIGURES:
        unit = f", in {figure.unit}" if figure.unit == "seconds" else ""
        lines += [f"{figure.name.capitalize()}{unit}:", *_figure_lines(figure, seen, smoother)]
    return [*lines, *_events(seen)]


def compare(face: Face, name: str) -> list[str]:
    """`/compare`, `/compare RUN`: the newest run against another one."""
    runs = face.project.runs()
    if len(runs) < 2:
        return ["There is no other run to compare with."]
    this = see_run(runs[-1])
    other = see_run(_run_of(runs[:-1], name) if name else runs[-2])
    if not len(this.steps) or not len(other.steps):
        return [f"Run {(other if len(this.steps) else this).id} has made no step yet."]
    shared = min(this.steps.last_step[-1], other.steps.last_step[-1])
    lines = [f"Run {this.id} against run {other.id}, at step {shared:,.0f}, the last that both have:"]
    smoother = Smoother()
    for figure in FIGURES:
        for line in figure.lines:
            if this.steps.has(line.measure) and other.steps.has(line.measure):
                lines.append(_against(figure, line, this.steps, other.steps, shared, smoother))
            if line.heldout and this.heldout.has(line.heldout) and other.heldout.has(line.heldout):
                lines.append(_heldout_against(figure, line, this.heldout, other.heldout))
    return lines


def samples(face: Face, argument: str) -> list[str]:
    """`/samples`, `/samples NUMBER`: what the newest run has generated; one of them is opened."""
    found = _chosen(face, "")
    if found is None:
        return [NO_RUN]
    files = see_run(found).samples
    if not files:
        return ["No samples yet. They are rendered after a save when the plan's validation names prompts."]
    if argument:
        if not argument.isdigit() or not 1 <= int(argument) <= len(files):
            raise ConfigError(f"There is no sample {argument}: they are 1 to {len(files)}.", "/samples lists them.")
        file = files[int(argument) - 1]
        return [f"Opened: {file}" if open_with_system(file) else f"No display here. The file: {file}"]
    root = found.path / "samples"
    lines = [f"{len(files)} samples of run {found.id}, the newest last, in {root}:"]
    lines += [
        f"{number}. {file.relative_to(root)}, {size_text(file.stat().st_size) if file.exists() else 'gone'}"
        for number, file in enumerate(files, start=1)
    ]
    return [*lines, "/samples NUMBER opens one, where there is a display."]


def _chosen(face: Face, name: str) -> RunFolder | None:
    runs = face.project.runs()
    if name:
        return _run_of(runs, name)
    return runs[-1] if runs else None


def _run_of(runs: list[RunFolder], name: str) -> RunFolder:
    for found in runs:
        if found.id == name:
            return found
    there = ", ".join(found.id for found in runs) or "none yet"
    raise ConfigError(f"There is no run {name}.", f"There are: {there}.")


def _figure_lines(figure: Figure, seen: RunSeen, smoother: Smoother) -> list[str]:
    lines = []
    for line in figure.lines:
        if seen.steps.has(line.measure):
            values = smoother(seen.steps, line.measure) if figure.smoothed else seen.steps.mean(line.measure)
            told = _ends(figure, seen.steps, values)
            if line.raw_colour:
                told += f" {_between(figure, seen.steps, values)}{_now(seen.steps, line.measure)}"
            lines.append(f"  {line.label}: {told}")
        if line.heldout and seen.heldout.has(line.heldout):
            lines.append(f"  {line.label}, held out: {_of_heldout(figure, line, seen.heldout)}")
    return lines or ["  nothing measured."]


def _ends(figure: Figure, series: Series, values: np.ndarray) -> str:
    """The last value and the first, with their steps."""
    sound = np.flatnonzero(np.isfinite(values))
    write, steps = _writer(figure), series.last_step
    first, last = values[sound[0]], values[sound[-1]]
    if write(values[sound].min()) == write(values[sound].max()):
        return f"{write(last)} throughout."
    moved = "down from" if last < first else "up from"
    return f"{write(last)} at step {steps[sound[-1]]:,.0f}, {moved} {write(first)} at step {steps[sound[0]]:,.0f}."


def _between(figure: Figure, series: Series, values: np.ndarray) -> str:
    """The least value, and the way by quarters: what a picture of the curve would show."""
    sound = np.flatnonzero(np.isfinite(values))
    write, steps = _writer(figure), series.last_step
    low = sound[int(np.argmin(values[sound]))]
    told = f"Lowest {write(values[low])} at step {steps[low]:,.0f}. "
    if len(sound) < 8:
        return told
    quarters = [sound[len(sound) * part // 4] for part in (1, 2, 3)]
    return told + "On the way: " + ", ".join(f"{write(values[at])} at {steps[at]:,.0f}" for at in quarters) + ". "


def _of_heldout(figure: Figure, line: Line, heldout: Series) -> str:
    values = heldout.mean(line.heldout)
    return f"{_ends(figure, heldout, values)} {_between(figure, heldout, values)}".strip()


def _now(series: Series, measure: str) -> str:
    """What the latest quarter does, in words."""
    values = series.mean(measure)
    sound = np.flatnonzero(np.isfinite(values))
    latest = sound[-max(len(sound) // LATEST_SHARE, 3) :]
    if len(latest) < 3:
        return "Too few steps to say where it goes."
    steps = [int(step) for step in series.last_step[latest]]
    trend = measure_trend(steps, [float(value) for value in values[latest]])
    over = f"over the last {trend.steps:,} steps"
    if trend.p_value >= SURE:
        return f"Neither falling nor rising clearly {over}."
    return f"{'Falling' if trend.change < 0 else 'Rising'} {over}, by {abs(trend.change):.1%}."


def _against(figure: Figure, line: Line, this: Series, other: Series, step: float, smoother: Smoother) -> str:
    found = []
    for series in (this, other):
        at = nearest(series, step)
        assert at is not None
        values = smoother(series, line.measure) if figure.smoothed else series.mean(line.measure)
        found.append(float(values[at]))
    return f"  {_label(figure, line)}: {_difference(figure, *found)}"


def _heldout_against(figure: Figure, line: Line, this: Series, other: Series) -> str:
    lowest = [float(np.nanmin(series.mean(line.heldout))) for series in (this, other)]
    return f"  {_label(figure, line)}, held out, at its lowest: {_difference(figure, *lowest)}"


def _difference(figure: Figure, here: float, there: float) -> str:
    write = _writer(figure)
    if write(here) == write(there):
        return f"{write(here)} in both."
    share = f", {abs(here / there - 1):.1%} {'lower' if here < there else 'higher'}" if there > 0 else ""
    return f"{write(here)} against {write(there)}{share}."


def _label(figure: Figure, line: Line) -> str:
    return figure.name if line.label == figure.name else f"{figure.name}, {line.label}"


def _writer(figure: Figure) -> Callable[[float], str]:
    write = value_format(figure)
    unit = "B" if figure.name == "memory" else ""  # an axis has no room for it
    return lambda value: f"{write(float(value))}{unit}"


def _events(seen: RunSeen) -> list[str]:
    lines = [f"Best checkpoint: step {seen.best_step:,.0f}."] if seen.best_step is not None else []
    for mark in seen.notable_marks[-MOST_EVENTS:]:
        kind = "Trouble" if mark.is_trouble else "Event"
        lines.append(f"{kind} at step {mark.step:,.0f}: {mark.kind}{f', {mark.text}' if mark.text else ''}.")
    return lines
