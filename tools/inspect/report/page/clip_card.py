"""One clip of the page: its pictures, facts and curves, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tools.inspect.report.page.charts import course, timeline, waveform
from tools.inspect.report.page.text import SEVERITY_CHIPS, STATUS_CHIPS, harm
from tools.inspect.report.report import Clip
from trainer_core.units import counted, length_text


@dataclass(frozen=True)
class ClipPreviews:
    """Previews beside the report: a contact sheet (base64 of a JPEG) and two curves in per cent."""

    sheet: str | None = None
    peaks: Sequence[int] = ()
    changes: Sequence[int] = ()


def clip_card(clip: Clip, anchor: str, shown: ClipPreviews) -> dict[str, Any]:
    """The values of one clip's card in the template."""
    return {
        "anchor": anchor,
        "path": clip.path,
        "sheet": shown.sheet,
        "no_picture": "sound only" if clip.kind == "audio" else "no picture",
        "status_chip": (STATUS_CHIPS[clip.status], clip.status),
        "facts": _facts(clip),
        "curves": _curves(clip, shown),
        "flags": [
            {"chip": SEVERITY_CHIPS[flag.severity], "message": flag.message, "remedy": flag.remedy}
            for flag in sorted(clip.flags, key=lambda flag: harm(flag.severity, flag.id))
        ],
    }


def _curves(clip: Clip, shown: ClipPreviews) -> list[tuple[str, Markup]]:
    rows = []
    if len(shown.changes) > 1:
        rows.append(("motion", course(shown.changes)))
    if shown.peaks and max(shown.peaks) > 0:
        rows.append(("sound", waveform(shown.peaks)))
    if clip.kind in ("video", "audio") and clip.duration_s and clip.status != "unreadable":
        rows.append(("samples", timeline(clip)))
    return rows


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
