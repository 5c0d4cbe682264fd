"""The clips as a whole, on the page: figures, what they can train, how they are cut, and how they are spread."""

from collections.abc import Iterator, Sequence
from typing import Any

from tools.inspect.report.page.charts import histogram
from tools.inspect.report.page.text import flag_name
from tools.inspect.report.report import Clip, LossReason, Report
from trainer_core.units import counted, length_text

LOST_COLOURS = ("var(--bad)", "var(--warn)", "var(--soft)")
MOST_BARS = 6
GOALS = {
    "t2v": "text to video",
    "i2v": "image to video",
    "video_extension": "video extension",
    "video_inpainting": "video inpainting",
    "video_outpainting": "video outpainting",
    "t2a": "text to audio",
    "audio_extension": "audio extension",
    "audio_inpainting": "audio inpainting",
    "a2v": "audio to video",
    "v2a": "video to audio",
    "v2v_ic": "video to video (IC)",
    "a2a_ic": "audio to audio (IC)",
    "av2av_ic": "audio and video to both (IC)",
}


def figures(report: Report) -> list[tuple[str, str, str]]:
    """The most important numbers: the number, what it is out of, its label."""
    summary, spent_s = report.summary, report.seconds
    usable = summary.ok + summary.flagged
    sounding = sum(clip.audio.status == "ok" for clip in report.clips if clip.samples)
    return [
        (str(usable), f"of {summary.files - summary.other}", "clips can train"),
        (length_text(spent_s.kept), "", f"kept of {length_text(spent_s.total)}"),
        (str(summary.samples), "", f"samples at {summary.frame_rate:g} fps"),
        (str(sounding), f"of {usable}", "have sound"),
        (str(report.dataset.groups), "", "groups that look different"),
        (str(summary.flagged + summary.unusable + summary.unreadable), "", "clips to look at"),
    ]


def spent(report: Report) -> list[dict[str, Any]]:
    """The parts of the bar of seconds that are kept and lost; empty where there are none."""
    total = report.seconds.total
    if not total:
        return []
    parts = [("var(--accent)", report.seconds.kept, f"{length_text(report.seconds.kept)} in samples")]
    for number, lost in enumerate(report.dataset.lost):
        says = f"{length_text(lost.seconds)} {_reason(lost.reason)} ({counted(lost.clips, 'clip')})"
        colour = "var(--faint)" if lost.reason == "remainder" else LOST_COLOURS[number % len(LOST_COLOURS)]
        parts.append((colour, lost.seconds, says))
    return [{"percent": f"{100 * value / total:.2f}", "colour": colour, "says": says} for colour, value, says in parts]


def _reason(reason: LossReason) -> str:
    return "left over at the ends" if reason == "remainder" else f"lost: {flag_name(reason).lower()}"


def goals(report: Report) -> list[dict[str, Any]]:
    """Each objective with what of the clips it can train, or what they lack for it."""
    usable = report.summary.ok + report.summary.flagged
    found = []
    for name, verdict in sorted(report.objectives.items(), key=lambda item: not item[1].possible):
        if verdict.possible:
            gaps = [f"{count} without {_column(column)}" for column, count in verdict.lacking.items()]
            says = f"{verdict.clips} of {counted(usable, 'clip')}{'; ' if gaps else ''}{', '.join(gaps)}"
        else:
            says = f"lacks {', '.join(map(_column, verdict.missing)) or 'usable clips'}"
        label = ("good", "possible") if verdict.possible else ("note", "not yet")
        found.append({"name": name, "title": GOALS.get(name, name), "chip": label, "says": says})
    return found


def _column(column: str) -> str:
    return column.replace("_", " ")


def buckets(report: Report) -> list[dict[str, Any]]:
    """The sizes that clips are cut to, as bars."""
    return _bars(
        [
            (
                f"{bucket.width} × {bucket.height}, {counted(bucket.frames, 'frame')}",
                bucket.clips,
                counted(bucket.clips, "clip"),
            )
            for bucket in report.buckets
        ]
    )


def _bars(rows: Sequence[tuple[str, int, str]]) -> list[dict[str, Any]]:
    most = max((count for _, count, _ in rows), default=1)
    return [{"label": label, "share": f"{100 * count / most:.0f}", "count": says} for label, count, says in rows]


def variety(report: Report, media: Sequence[Clip]) -> dict[str, Any] | None:
    """The spread of the clips as histograms; variety is measured, not promised. None for fewer than two clips."""
    usable = [clip for clip in media if clip.samples]
    if len(usable) < 2:
        return None
    whole = report.dataset
    looks = ""
    if whole.picture_distance is not None:
        looks = f"{counted(len(usable), 'clip')} that fall into {counted(whole.groups, 'group')} by their looks"
        looks += f", {whole.near_duplicates} of them near-duplicates of other clips" if whole.near_duplicates else ""
        looks += f"; two clips' pictures differ by {whole.picture_distance:.0%} at the median (100%: unrelated)."
    histograms = []
    for title, values, low, high, unit in _series(usable):
        if len(values) > 1:
            chart, low, high = histogram(values, low, high)
            ends = {"low": f"{low:.3g}{unit}", "high": f"{high:.3g}{unit}"}
            histograms.append({"title": title, "chart": chart, **ends})
    sizes = [(f"{size.width} × {size.height}", size.clips, str(size.clips)) for size in whole.sizes]
    shapes = [(name, count, str(count)) for name, count in whole.aspects.items()]
    bars = [(title, _bars(rows)[:MOST_BARS]) for title, rows in (("Picture size", sizes), ("Shape", shapes)) if rows]
    return {"looks": looks, "histograms": histograms, "bars": bars}


def _series(clips: Sequence[Clip]) -> Iterator[tuple[str, list[float], float | None, float | None, str]]:
    """Title, values, ends of the axis where they are fixed, and unit of each histogram."""

    def known(values: Sequence[float | None]) -> list[float]:
        return [value for value in values if value is not None]

    yield "Length", [clip.duration_s for clip in clips if clip.kind != "image"], 0.0, None, " s"
    yield "Light", known([clip.measures.brightness for clip in clips]), 0.0, 1.0, ""
    yield "Contrast", known([clip.measures.contrast for clip in clips]), 0.0, 1.0, ""
    yield "Colour", known([clip.measures.colourfulness for clip in clips]), 0.0, 100.0, ""
    yield "Motion in the picture", known([clip.measures.motion for clip in clips]), 0.0, None, ""
    yield "Camera motion", known([clip.measures.camera_motion for clip in clips]), 0.0, None, " widths/s"
    yield "Sharpness", known([clip.measures.sharpness for clip in clips]), 0.0, 1.0, ""
    yield "Loudness", known([clip.audio.loudness_lufs for clip in clips]), -50.0, 0.0, " LUFS"
    yield "Voice", known([clip.audio.speech_fraction for clip in clips]), 0.0, 1.0, ""
