"""The clips as a whole, on the page: figures, what they can train, how they are cut, and how they are spread."""

from collections.abc import Iterator, Sequence

from tools.inspect.report.page.charts import histogram
from tools.inspect.report.page.text import chip, flag_name, text
from tools.inspect.report.report import Clip, FlagId, Report
from trainer_core.units import counted, length_text

LOST_COLOURS = ("var(--bad)", "var(--warn)", "var(--soft)")
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


def figures(report: Report) -> str:
    """The most important numbers, and a bar of the seconds that are kept and lost."""
    summary, spent = report.summary, report.seconds
    media = summary.files - summary.other
    usable = summary.ok + summary.flagged
    sounding = sum(clip.audio.status == "ok" for clip in report.clips if clip.samples)
    shown = [
        (f"{usable} <small>of {media}</small>", "clips can train"),
        (text(length_text(spent.kept)), f"kept of {length_text(spent.total)}"),
        (str(summary.samples), f"samples at {summary.frame_rate:g} fps"),
        (f"{sounding} <small>of {usable}</small>", "have sound"),
        (str(report.dataset.groups), "groups that look different"),
        (str(summary.flagged + summary.unusable + summary.unreadable), "clips to look at"),
    ]
    cells = "".join(f"<div><b>{value}</b><span>{text(label)}</span></div>" for value, label in shown)
    return f'<div class="panel figures">{cells}</div>{_kept_and_lost(report)}'


def _kept_and_lost(report: Report) -> str:
    total = report.seconds.total
    if not total:
        return ""
    parts = [("var(--accent)", report.seconds.kept, f"{length_text(report.seconds.kept)} in samples")]
    for number, lost in enumerate(report.dataset.lost):
        says = f"{length_text(lost.seconds)} {_reason(lost.reason)} ({counted(lost.clips, 'clip')})"
        colour = "var(--faint)" if lost.reason == "remainder" else LOST_COLOURS[number % len(LOST_COLOURS)]
        parts.append((colour, lost.seconds, says))
    bar = "".join(f'<i style="width:{100 * value / total:.2f}%;background:{colour}"></i>' for colour, value, _ in parts)
    legend = "".join(f'<span><i style="background:{colour}"></i>{text(says)}</span>' for colour, _, says in parts)
    return f'<div class="split">{bar}</div><div class="legend">{legend}</div>'


def _reason(reason: str) -> str:
    if reason == "remainder":
        return "left over at the ends"
    flag: FlagId = reason  # type: ignore[assignment]
    return f"lost: {flag_name(flag).lower()}"


def objectives(report: Report) -> Iterator[str]:
    """What the clips can train, and what the rest lacks."""
    usable = report.summary.ok + report.summary.flagged
    yield "<h2>What these clips can train</h2>"
    cards = []
    for name, verdict in sorted(report.objectives.items(), key=lambda item: not item[1].possible):
        if verdict.possible:
            label = chip("good", "possible")
            says = f"{verdict.clips} of {counted(usable, 'clip')}"
            gaps = [f"{count} without {_column(column)}" for column, count in verdict.lacking.items()]
            says += f"; {', '.join(gaps)}" if gaps else ""
        else:
            label = chip("note", "not yet")
            says = f"lacks {', '.join(map(_column, verdict.missing)) or 'usable clips'}"
        cards.append(
            f'<div class="panel goal"><b>{text(GOALS.get(name, name))}</b>{label}'
            f"<p><code>{text(name)}</code>: {text(says)}</p></div>"
        )
    yield f'<div class="goals">{"".join(cards)}</div>'


def _column(column: str) -> str:
    return column.replace("_", " ")


def buckets(report: Report) -> Iterator[str]:
    """What sizes the clips are cut to."""
    if not report.buckets:
        return
    most = max(bucket.clips for bucket in report.buckets)
    rows = "".join(
        f"<span>{bucket.width} × {bucket.height}, {counted(bucket.frames, 'frame')}</span>"
        f'<i style="width:{100 * bucket.clips / most:.0f}%"></i><span class="n">{counted(bucket.clips, "clip")}</span>'
        for bucket in report.buckets
    )
    yield f'<h2>Cut to</h2><div class="panel tile"><div class="bars">{rows}</div></div>'


def dataset(report: Report, media: Sequence[Clip]) -> Iterator[str]:
    """How the clips are spread, as histograms; variety is measured, not promised."""
    usable = [clip for clip in media if clip.samples]
    if len(usable) < 2:
        return
    whole = report.dataset
    yield "<h2>How varied they are <small>measured, not judged</small></h2>"
    if whole.picture_distance is not None:
        looks = f"{counted(len(usable), 'clip')} that fall into {counted(whole.groups, 'group')} by their looks"
        copies = f", {whole.near_duplicates} of them near-duplicates of others" if whole.near_duplicates else ""
        distance = f"two clips' pictures differ by {whole.picture_distance:.0%} at the median (100%: unrelated)"
        yield f'<p class="soft">{looks}{copies}; {distance}.</p>'
    tiles = []
    for title, values, low, high, unit in _series(usable):
        if len(values) > 1:
            chart, low, high = histogram(values, low, high)
            axis = f"<span>{low:.3g}{unit}</span><span>{high:.3g}{unit}</span>"
            tiles.append(f'<div class="panel tile"><h3>{title}</h3>{chart}<div class="axis">{axis}</div></div>')
    if whole.sizes:
        most = max(size.clips for size in whole.sizes)
        rows = "".join(
            f'<span>{size.width} × {size.height}</span><i style="width:{100 * size.clips / most:.0f}%"></i>'
            f'<span class="n">{size.clips}</span>'
            for size in whole.sizes[:6]
        )
        tiles.append(f'<div class="panel tile"><h3>Picture size</h3><div class="bars">{rows}</div></div>')
    if whole.aspects:
        most = max(whole.aspects.values())
        rows = "".join(
            f'<span>{text(name)}</span><i style="width:{100 * count / most:.0f}%"></i><span class="n">{count}</span>'
            for name, count in list(whole.aspects.items())[:6]
        )
        tiles.append(f'<div class="panel tile"><h3>Shape</h3><div class="bars">{rows}</div></div>')
    yield f'<div class="tiles">{"".join(tiles)}</div>'


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
