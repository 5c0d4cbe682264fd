"""Small charts as inline SVG: histograms, waveforms, courses of motion, and a clip's time with what is wrong in it."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from tools.inspect.report.report import Clip

BINS = 18
WIDTH, HEIGHT = 320, 64
SEVERITY_COLOURS = {"block": "var(--bad)", "warn": "var(--warn)", "note": "var(--faint)"}


def histogram(
    values: Sequence[float], low: float | None = None, high: float | None = None
) -> tuple[Markup, float, float]:
    """The chart of how many values lie where, and the ends of its axis."""
    low = min(values) if low is None else low
    high = max(values) if high is None else high
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    counts, _ = np.histogram(np.clip(values, low, high), bins=BINS, range=(low, high))
    most = max(1, int(counts.max()))
    step = WIDTH / BINS
    bars = "".join(
        f'<rect x="{index * step + 1:.1f}" y="{HEIGHT - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}"/>'
        for index, count in enumerate(counts.tolist())
        if (height := max(2.5, HEIGHT * count / most) if count else 0)
    )
    floor = f'<rect y="{HEIGHT - 1}" width="{WIDTH}" height="1" fill="var(--line)"/>'
    return _svg(WIDTH, HEIGHT, f'{floor}<g fill="var(--accent)">{bars}</g>', 64), low, high


def waveform(peaks: Sequence[int]) -> Markup:
    """Peaks in per cent of full scale, mirrored about the middle."""
    count = max(1, len(peaks))
    above = " ".join(f"{index * 600 / count:.1f},{20 - 0.2 * max(1.5, peak):.1f}" for index, peak in enumerate(peaks))
    below = " ".join(
        f"{index * 600 / count:.1f},{20 + 0.2 * max(1.5, peak):.1f}" for index, peak in reversed(list(enumerate(peaks)))
    )
    return _svg(600, 40, f'<polygon points="{above} {below}" fill="var(--accent)"/>', 36)


def course(changes: Sequence[int]) -> Markup:
    """Change from picture to picture, in per cent of what counts as a lot."""
    count = max(1, len(changes) - 1)
    line = " ".join(f"{index * 600 / count:.1f},{23 - 0.22 * change:.1f}" for index, change in enumerate(changes))
    return _svg(
        600,
        24,
        f'<polygon points="0,24 {line} 600,24" fill="var(--accent-soft)"/>'
        f'<polyline points="{line}" fill="none" stroke="var(--accent)" stroke-width="1.2" '
        'vector-effect="non-scaling-stroke"/>',
        22,
    )


def timeline(clip: Clip) -> Markup:
    """The clip's time from left to right: what samples hold, cuts, and the stretches that flags speak of."""
    length_s = max(clip.duration_s, 1e-3)

    def x(time_s: float) -> float:
        return min(600.0, max(0.0, 600 * time_s / length_s))

    parts = ['<rect width="600" height="9" y="0" rx="2" fill="var(--track)"/>']
    for sample in clip.samples[:200]:
        width = max(1.0, x(sample.start_s + sample.duration_s) - x(sample.start_s) - 1.5)
        parts.append(
            f'<rect x="{x(sample.start_s):.1f}" width="{width:.1f}" height="9" rx="2" fill="var(--accent-soft)"/>'
        )
    for flag in clip.flags:
        if flag.start_s is None or flag.end_s is None or flag.id == "scene_cut":
            continue
        width = max(3.0, x(flag.end_s) - x(flag.start_s))
        colour = SEVERITY_COLOURS[flag.severity]
        parts.append(f'<rect x="{x(flag.start_s):.1f}" width="{width:.1f}" y="11" height="3" fill="{colour}"/>')
    for cut_s in clip.measures.cuts_s:
        parts.append(f'<rect x="{x(cut_s) - 1:.1f}" width="2" height="14" fill="var(--warn)"/>')
    return _svg(600, 14, "".join(parts), 14)


def _svg(width: int, height: int, inside: str, shown_px: int) -> Markup:
    """`inside` is made of numbers and of our own words alone: nothing of anybody's needs an escape."""
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" height="{shown_px}" aria-hidden="true">'
        f"{inside}</svg>"
    )
