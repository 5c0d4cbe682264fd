"""report.html: the report for a person's eyes, in one file without scripts or anything from the network."""

from collections.abc import Callable, Iterator, Sequence

from tools.inspect.report.page.clip_card import Shown, card
from tools.inspect.report.page.overview import buckets, dataset, figures, objectives
from tools.inspect.report.page.style import STYLE
from tools.inspect.report.page.text import MILD, SEVERITY_CHIPS, chip, flag_name, harm, text
from tools.inspect.report.report import Clip, FlagId, Report, Severity
from trainer_core.units import counted

MOST_CARDS = 400
MOST_PICTURE_BYTES = 24 << 20
"""Pictures beyond this make a page that browsers choke on; the worst clips come first, the rest stand in a table."""
MOST_NAMES = 12
MOST_ROWS = 5000


def render_page(report: Report, shown: Callable[[Clip], Shown], sources: Sequence[str]) -> str:
    """Return the page; `shown` gives what there is to see of a clip. Names are escaped: they are anybody's text."""
    media = sorted((clip for clip in report.clips if clip.kind != "other"), key=_worst_first)
    anchors = {(clip.source, clip.path): f"clip-{number}" for number, clip in enumerate(media)}
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Clips: {text(', '.join(sources))}</title><style>{STYLE}</style></head><body>",
        f'<h1>What is in the clips</h1><div class="lead">{text(", ".join(sources))}</div>',
        figures(report),
        *_issues(media, anchors),
        *objectives(report),
        *buckets(report),
        *dataset(report, media),
        *_replaced(report),
        *_clips(media, anchors, shown),
        *_others(report),
        "<footer>Made by ltx-agent from the decoded files. Every figure is a measurement; none promises how a training "
        "turns out. The same figures stand in report.json.</footer></body></html>\n",
    ]
    return "\n".join(parts)


def _worst_first(clip: Clip) -> tuple[int, int, int, int, str]:
    status = ("unreadable", "unusable", "flagged", "ok").index(clip.status)
    warnings = [flag.id for flag in clip.flags if flag.severity == "warn"]
    mild = sum(flag in MILD for flag in warnings)
    return status, mild - len(warnings), -mild, -len(clip.flags), clip.path


def _issues(media: Sequence[Clip], anchors: dict[tuple[str, str], str]) -> Iterator[str]:
    """Every kind of flag once, worst first: what is most severe, what harms a training, then what most clips have."""
    kinds: dict[tuple[Severity, FlagId], list[Clip]] = {}
    for clip in media:
        for severity, flag_id in {(flag.severity, flag.id) for flag in clip.flags}:
            kinds.setdefault((severity, flag_id), []).append(clip)
    if not kinds:
        yield '<h2>What to look at</h2><div class="panel tile">Nothing: no check found anything wrong.</div>'
        return
    rows = []
    for (severity, flag_id), clips in sorted(kinds.items(), key=lambda kind: (harm(*kind[0]), -len(kind[1]))):
        flags = [flag for clip in clips for flag in clip.flags if (flag.severity, flag.id) == (severity, flag_id)]
        names = [f'<a href="#{anchors[clip.source, clip.path]}">{text(clip.path)}</a>' for clip in clips[:MOST_NAMES]]
        more = f" and {len(clips) - MOST_NAMES} more" if len(clips) > MOST_NAMES else ""
        kind, label = SEVERITY_CHIPS[severity]
        says = flags[0].message if len(clips) == 1 else flags[0].remedy
        if len(clips) > 1 and len({flag.remedy for flag in flags}) > 1:
            says = f"Each is told what to do, for example: {says}"
        rows.append(
            f'<li>{chip(kind, label)}<span class="what">{text(flag_name(flag_id))}</span><span class="say">{text(says)}'
            f'</span><span class="who">{counted(len(clips), "clip")}: {", ".join(names)}{more}</span></li>'
        )
    yield f'<h2>What to look at <small>worst first</small></h2><ul class="panel issues">{"".join(rows)}</ul>'


def _clips(media: Sequence[Clip], anchors: dict[tuple[str, str], str], shown: Callable[[Clip], Shown]) -> Iterator[str]:
    yield f"<h2>Clips <small>{len(media)}, those with problems first</small></h2>"
    spent = 0
    for number, clip in enumerate(media):
        seen = shown(clip)
        spent += len(seen.sheet or "")
        if number >= MOST_CARDS or spent > MOST_PICTURE_BYTES:
            yield from _table(media[number:])
            return
        yield card(clip, anchors[clip.source, clip.path], seen)


def _replaced(report: Report) -> Iterator[str]:
    """What is to be known of the whole, and the clips whose place copies have taken."""
    if report.notes:
        notes = "".join(f"<li>{text(note)}</li>" for note in report.notes[:MOST_ROWS])
        yield f'<h2>What to know</h2><ul class="panel tile">{notes}</ul>'
    if not report.replaced:
        return
    rows = "".join(
        f"<tr><td>{text(one.path)}</td><td>{text(one.settings)}</td><td>{text(', '.join(one.copies[:MOST_NAMES]))}"
        f"{f' and {len(one.copies) - MOST_NAMES} more' if len(one.copies) > MOST_NAMES else ''}</td>"
        f"<td>{one.duration_s:.1f} s</td><td>{one.left_away_s:.1f} s</td></tr>"
        for one in report.replaced[:MOST_ROWS]
    )
    head = "<tr><th>clip</th><th>what was done</th><th>copies in its place</th><th>length</th><th>left away</th></tr>"
    yield f"<h2>Replaced clips <small>{counted(len(report.replaced), 'step')}; the originals are untouched</small></h2>"
    yield f'<div class="panel scroll"><table>{head}{rows}</table></div>'


def _table(clips: Sequence[Clip]) -> Iterator[str]:
    """Clips that there is no room to show, in a row each."""
    rows = "".join(
        f"<tr><td>{text(clip.path)}</td><td>{clip.status}</td><td>{clip.duration_s:.1f} s</td>"
        f"<td>{f'{clip.width} × {clip.height}' if clip.width else ''}</td>"
        f"<td>{text(', '.join(flag_name(flag.id) for flag in clip.flags))}</td></tr>"
        for clip in clips[:MOST_ROWS]
    )
    head = "<tr><th>clip</th><th>status</th><th>length</th><th>picture</th><th>flags</th></tr>"
    left = f", {MOST_ROWS} of them listed; report.json has all" if len(clips) > MOST_ROWS else ""
    yield f"<details><summary>{len(clips)} more clips without pictures here{left}</summary>"
    yield f'<div class="panel scroll"><table>{head}{rows}</table></div></details>'


def _others(report: Report) -> Iterator[str]:
    companions = [clip for clip in report.clips if clip.role != "clip"]
    others = [clip for clip in report.clips if clip.kind == "other" and clip.role == "clip"]
    if companions:
        rows = "".join(
            f"<tr><td>{text(clip.path)}</td><td>{clip.role.replace('_', ' ')}</td><td>{clip.paired_by or ''}</td>"
            f"<td>{text(' '.join(flag.message for flag in clip.flags)) or 'paired'}</td></tr>"
            for clip in companions[:MOST_ROWS]
        )
        yield "<h2>Files that belong to clips</h2>"
        yield (
            '<div class="panel scroll"><table><tr><th>file</th><th>is its</th><th>found by</th><th></th></tr>'
            f"{rows}</table></div>"
        )
    if others:
        names = ", ".join(text(clip.path) for clip in others[:200])
        more = f" and {len(others) - 200} more" if len(others) > 200 else ""
        yield f'<h2>Other files</h2><p class="soft">Not media, left alone: {names}{more}.</p>'
