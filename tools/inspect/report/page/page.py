"""report.html: the report for a person's eyes, in one file without scripts or anything from the network."""

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from tools.inspect.discover.names import displayed
from tools.inspect.report.page.clip_card import ClipPreviews, clip_card
from tools.inspect.report.page.overview import buckets, figures, goals, spent, variety
from tools.inspect.report.page.style import STYLE
from tools.inspect.report.page.text import MILD, SEVERITY_CHIPS, flag_name, harm
from tools.inspect.report.report import Clip, FlagId, Report, Severity
from trainer_core.html import render_html
from trainer_core.units import counted

MOST_CARDS = 400
MOST_PICTURE_BYTES = 24 << 20
"""Pictures beyond this make a page that browsers choke on; the worst clips come first, the rest stand in a table."""
MOST_NAMES = 12
MOST_OTHERS = 200
MOST_ROWS = 5000


def render_page(report: Report, shown: Callable[[Clip], ClipPreviews], sources: Sequence[str]) -> str:
    """Return the page; `shown` gives what there is to see of a clip. Names are escaped: they are anybody's text."""
    media = sorted((clip for clip in report.clips if clip.kind != "other"), key=_worst_first)
    anchors = {(clip.source, clip.path): f"clip-{number}" for number, clip in enumerate(media)}
    cards = _cards(media, anchors, shown)
    rest = media[len(cards) :]
    return render_html(
        __package__,
        "report.html.jinja",
        plain=displayed,
        style=Markup(STYLE),
        sources=", ".join(sources),
        figures=figures(report),
        spent=spent(report),
        issues=_issues(media, anchors),
        goals=goals(report),
        buckets=buckets(report),
        variety=variety(report, media),
        notes=report.notes[:MOST_ROWS],
        replaced=_replaced(report),
        replaced_steps=counted(len(report.replaced), "step"),
        clips_total=len(media),
        cards=cards,
        listed=[_row(clip) for clip in rest[:MOST_ROWS]],
        listed_total=len(rest),
        listed_left=f", {MOST_ROWS} of them listed; report.json has all" if len(rest) > MOST_ROWS else "",
        companions=_companions(report),
        others=_named(
            [clip.path for clip in report.clips if clip.kind == "other" and clip.role == "clip"], MOST_OTHERS
        ),
    )


def _worst_first(clip: Clip) -> tuple[int, int, int, int, str]:
    status = ("unreadable", "unusable", "flagged", "ok").index(clip.status)
    warnings = [flag.id for flag in clip.flags if flag.severity == "warn"]
    mild = sum(flag in MILD for flag in warnings)
    return status, mild - len(warnings), -mild, -len(clip.flags), clip.path


def _cards(
    media: Sequence[Clip], anchors: dict[tuple[str, str], str], shown: Callable[[Clip], ClipPreviews]
) -> list[dict[str, Any]]:
    """The cards of the first clips, as many as a browser bears."""
    cards: list[dict[str, Any]] = []
    picture_bytes = 0
    for clip in media[:MOST_CARDS]:
        seen = shown(clip)
        picture_bytes += len(seen.sheet or "")
        if picture_bytes > MOST_PICTURE_BYTES:
            break
        cards.append(clip_card(clip, anchors[clip.source, clip.path], seen))
    return cards


def _issues(media: Sequence[Clip], anchors: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    """Every kind of flag once, worst first: what is most severe, what harms a training, then what most clips have."""
    kinds: dict[tuple[Severity, FlagId], list[Clip]] = {}
    for clip in media:
        for severity, flag_id in {(flag.severity, flag.id) for flag in clip.flags}:
            kinds.setdefault((severity, flag_id), []).append(clip)
    issues = []
    for (severity, flag_id), clips in sorted(kinds.items(), key=lambda kind: (harm(*kind[0]), -len(kind[1]))):
        flags = [flag for clip in clips for flag in clip.flags if (flag.severity, flag.id) == (severity, flag_id)]
        says = flags[0].message if len(clips) == 1 else flags[0].remedy
        if len(clips) > 1 and len({flag.remedy for flag in flags}) > 1:
            says = f"Each is told what to do, for example: {says}"
        issues.append(
            {
                "chip": SEVERITY_CHIPS[severity],
                "name": flag_name(flag_id),
                "says": says,
                "counted": counted(len(clips), "clip"),
                "links": [
                    {"anchor": anchors[clip.source, clip.path], "path": clip.path} for clip in clips[:MOST_NAMES]
                ],
                "more": f" and {len(clips) - MOST_NAMES} more" if len(clips) > MOST_NAMES else "",
            }
        )
    return issues


def _replaced(report: Report) -> list[list[str]]:
    """The clips whose place copies have taken, a row each."""
    return [
        [
            one.path,
            one.settings,
            _named(one.copies, MOST_NAMES),
            f"{one.duration_s:.1f} s",
            f"{one.left_away_s:.1f} s",
        ]
        for one in report.replaced[:MOST_ROWS]
    ]


def _row(clip: Clip) -> list[str]:
    """A clip that there is no room to show."""
    size = f"{clip.width} × {clip.height}" if clip.width else ""
    flags = ", ".join(flag_name(flag.id) for flag in clip.flags)
    return [clip.path, clip.status, f"{clip.duration_s:.1f} s", size, flags]


def _companions(report: Report) -> list[list[str]]:
    return [
        [
            clip.path,
            clip.role.replace("_", " "),
            clip.paired_by or "",
            " ".join(flag.message for flag in clip.flags) or "paired",
        ]
        for clip in report.clips
        if clip.role != "clip"
    ][:MOST_ROWS]


def _named(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
