"""One clip on the page: its pictures, its facts, its curves and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.inspect.report.page.charts import course, timeline, waveform
from tools.inspect.report.page.text import SEVERITY_CHIPS, STATUS_CHIPS, chip, harm, text
from tools.inspect.report.report import Clip, Flag
from trainer_core.units import counted, length_text


@dataclass(frozen=True)
class Shown:
    """What the page shows beside the report: a contact sheet (base64 of a JPEG) and two curves in per cent."""

    sheet: str | None = None
    peaks: Sequence[int] = ()
    changes: Sequence[int] = ()


def card(clip: Clip, anchor: str, shown: Shown) -> str:
    """The card of one clip."""
    picture = f'<div class="none">{"sound only" if clip.kind == "audio" else "no picture"}</div>'
    if shown.sheet is not None:
        picture = f'<img class="strip" src="data:image/jpeg;base64,{shown.sheet}" alt="" loading="lazy">'
    flags = sorted(clip.flags, key=lambda flag: harm(flag.severity, flag.id))
    listed = "".join(map(_flag, flags))
    facts = "".join(f"<span>{text(fact)}</span>" for fact in _facts(clip))
    return (
        f'<article class="panel clip" id="{anchor}">{picture}<div class="text"><div class="head">'
        f'<span class="name">{text(clip.path)}</span>{chip(STATUS_CHIPS[clip.status], clip.status)}</div>'
        f'<div class="facts">{facts}</div>{_curves(clip, shown)}'
        f"{f'<ul class=flags>{listed}</ul>' if listed else ''}</div></article>"
    )


def _curves(clip: Clip, shown: Shown) -> str:
    rows = []
    if len(shown.changes) > 1:
        rows.append(("motion", course(shown.changes)))
    if shown.peaks and max(shown.peaks) > 0:
        rows.append(("sound", waveform(shown.peaks)))
    if clip.kind in ("video", "audio") and clip.duration_s and clip.status != "unreadable":
        rows.append(("samples", timeline(clip)))
    cells = "".join(f"<span>{name}</span>{chart}" for name, chart in rows)
    return f'<div class="curves">{cells}</div>' if cells else ""


def _facts(clip: Clip) -> list[str]:
    facts = []
    if clip.kind != "image" and clip.duration_s:
        facts.append(length_text(clip.duration_s))
    if clip.width:
        facts.append(f"{clip.width} × {clip.height}")
    if clip.fps:
        facts.append(f"{clip.fps:.4g} fps{' on average' if clip.vfr else ''}")
    if clip.codec and clip.kind != "audio":
        facts.append(f"{clip.codec}, {clip.bit_depth} bit")
    facts += _sound_facts(clip)
    if clip.columns:
        facts.append("with " + ", ".join(column.replace("_", " ") for column in clip.columns))
    if clip.samples:
        bucket = f" of {clip.samples[0].bucket}" if clip.samples[0].bucket else ""
        facts.append(counted(len(clip.samples), "sample") + bucket)
    return facts


def _sound_facts(clip: Clip) -> list[str]:
    audio = clip.audio
    if clip.kind == "image" or clip.status == "unreadable":
        return []
    if audio.status != "ok":
        return [f"sound: {audio.status}"]
    channels = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(audio.channels or 0, f"{audio.channels} channels")
    facts = [f"{channels}, {(audio.sample_rate_hz or 0) / 1000:g} kHz"]
    if audio.loudness_lufs is not None:
        facts.append(f"{audio.loudness_lufs:.0f} LUFS")
    if audio.speech_fraction:
        facts.append(f"{audio.speech_fraction:.0%} voice")
    if audio.music_likely:
        facts.append(f"music likely (held notes {audio.tonality:.0%}, pulse {audio.pulse_clarity:.0%})")
    return facts


def _flag(flag: Flag) -> str:
    kind, label = SEVERITY_CHIPS[flag.severity]
    return f'<li>{chip(kind, label)}<span>{text(flag.message)} <span class="do">{text(flag.remedy)}</span></span></li>'
