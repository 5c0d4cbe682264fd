"""report.html: the report for a person's eyes, in one file without scripts or anything from the network."""

from collections.abc import Mapping, Sequence
from html import escape

from tools.inspect.names import displayed
from tools.inspect.report import Clip, Flag, Report

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #6b6b70; --paper: #f5f5f2; --card: #fff; --line: #e2e2dd;
  --good: #2c7a4b; --warn: #a15c00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #9c9ca1; --paper: #161618; --card: #202023;
  --line: #34343a; --good: #6fcf97; --warn: #f2b45c; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .7rem; }
.soft { color: var(--soft); } .good { color: var(--good); } .warn { color: var(--warn); } .block { color: var(--bad); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2.2rem; margin: 1.2rem 0 0; }
.figures b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.grid { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
.card .frame { height: 9.5rem; background: #0c0c0e; display: grid; place-items: center; color: #8a8a90; }
.card img { display: block; max-width: 100%; height: 9.5rem; object-fit: contain; }
.card .text { padding: .7rem .85rem .85rem; } .name { font-weight: 600; overflow-wrap: anywhere; }
.facts { color: var(--soft); font-size: .85rem; } ul { margin: .45rem 0 0; padding-left: 1.1rem; font-size: .87rem; }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line); }
td, th { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
.scroll { overflow-x: auto; }
"""
_STATUS_CLASS = {"ok": "good", "flagged": "warn", "unusable": "block", "unreadable": "block"}


def render_page(report: Report, thumbnails: Mapping[tuple[str, str], str], sources: Sequence[str]) -> str:
    """Return the page; `thumbnails` are data URIs by (source, path). Names are escaped: they are anybody's text."""
    summary, seconds = report.summary, report.seconds
    media = [clip for clip in report.clips if clip.kind != "other"]
    others = [clip for clip in report.clips if clip.kind == "other"]
    usable = summary.ok + summary.flagged
    figures = [
        (f"{usable} of {len(media)}", "clips can train"),
        (f"{seconds.kept:.1f} s", f"kept of {seconds.total:.1f} s"),
        (str(summary.samples), f"samples at {summary.frame_rate:g} fps"),
        (str(summary.flagged), "clips to look at"),
    ]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Clips: {_text(', '.join(sources))}</title><style>{_STYLE}</style></head><body>",
        f'<h1>What is in the clips</h1><div class="soft">{_text(", ".join(sources))}</div>',
        '<div class="figures">',
        *(f"<div><b>{_text(value)}</b>{_text(label)}</div>" for value, label in figures),
        "</div>",
        *_buckets(report),
        "<h2>Clips</h2>",
        '<div class="grid">',
        *(_card(clip, thumbnails.get((clip.source, clip.path))) for clip in sorted(media, key=_worst_first)),
        "</div>",
        *_objectives(report),
    ]
    if others:
        names = ", ".join(_text(clip.path) for clip in others)
        parts.append(f'<h2>Other files</h2><p class="soft">Not media, left alone: {names}.</p>')
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _worst_first(clip: Clip) -> tuple[int, str]:
    return ["unreadable", "unusable", "flagged", "ok"].index(clip.status), clip.path


def _card(clip: Clip, thumbnail: str | None) -> str:
    picture = f'<img src="{escape(thumbnail)}" alt="">' if thumbnail else f"<span>{clip.kind}</span>"
    flags = "".join(_flag(flag) for flag in clip.flags)
    return (
        f'<div class="card"><div class="frame">{picture}</div><div class="text">'
        f'<div class="name">{_text(clip.path)}</div>'
        f'<div class="facts"><span class="{_STATUS_CLASS[clip.status]}">{clip.status}</span>{_facts(clip)}</div>'
        f"{f'<ul>{flags}</ul>' if flags else ''}</div></div>"
    )


def _facts(clip: Clip) -> str:
    facts = []
    if clip.kind != "image" and clip.duration_s:
        facts.append(f"{clip.duration_s:.2f} s")
    if clip.width:
        facts.append(f"{clip.width}×{clip.height}")
    if clip.fps:
        facts.append(f"{clip.fps:.4g} fps{' on average' if clip.vfr else ''}")
    if clip.kind != "image" and clip.status != "unreadable":
        facts.append("sound" if clip.audio.status == "ok" else f"sound: {clip.audio.status}")
    if clip.samples:
        bucket = f" of {clip.samples[0].bucket}" if clip.samples[0].bucket else ""
        facts.append(f"{len(clip.samples)} sample{'s' if len(clip.samples) > 1 else ''}{bucket}")
    return "".join(f" · {_text(fact)}" for fact in facts)


def _flag(flag: Flag) -> str:
    kind = {"block": "block", "warn": "warn", "note": "soft"}[flag.severity]
    return f'<li><span class="{kind}">{_text(flag.message)}</span> {_text(flag.remedy)}</li>'


def _buckets(report: Report) -> list[str]:
    if not report.buckets:
        return []
    rows = "".join(
        f"<tr><td>{bucket.width}×{bucket.height}</td><td>{bucket.frames}</td><td>{bucket.clips}</td></tr>"
        for bucket in report.buckets
    )
    head = "<tr><th>picture</th><th>frames</th><th>clips</th></tr>"
    return ["<h2>Cut to</h2>", f'<div class="scroll"><table>{head}{rows}</table></div>']


def _objectives(report: Report) -> list[str]:
    rows = "".join(
        f"<tr><td>{name}</td><td>{_verdict(verdict.possible, verdict.missing)}</td></tr>"
        for name, verdict in report.objectives.items()
    )
    return ["<h2>What these clips can train</h2>", f'<div class="scroll"><table>{rows}</table></div>']


def _verdict(possible: bool, missing: Sequence[str]) -> str:
    if possible:
        return '<span class="good">possible</span>'
    return f'<span class="soft">lacks {_text(", ".join(missing))}</span>'


def _text(text: str) -> str:
    return escape(displayed(text))
