"""report.html as a person reads it: what harms most comes first, and every colour can be read."""

import re

import pytest

from tools.inspect.report.page.clip_card import ClipPreviews
from tools.inspect.report.page.page import render_page
from tools.inspect.report.page.style import STYLE
from tools.inspect.report.report import Clip, Dataset, Flag, Report, Sample, Seconds, Summary

SOURCE = "/footage"


def clip(path: str, *flags: tuple[str, str], samples: bool = True) -> Clip:
    """A clip with flags of these severities and ids."""
    made = [Flag(id=flag, severity=severity, message=f"{flag} it is.", remedy="Do so.") for severity, flag in flags]
    severities = {severity for severity, _ in flags}
    status = "unusable" if "block" in severities else "flagged" if "warn" in severities else "ok"
    sample = Sample(start_s=0.0, duration_s=1.0, bucket="96x64x17")
    return Clip(
        source=SOURCE,
        path=path,
        sha256=path,
        kind="video",
        status=status,
        duration_s=2.0,
        flags=made,
        samples=[sample] if samples else [],
    )


def page_of(clips: list[Clip], notes: list[str]) -> str:
    statuses = [clip.status for clip in clips]
    summary = Summary(
        files=len(clips),
        ok=statuses.count("ok"),
        flagged=statuses.count("flagged"),
        unusable=statuses.count("unusable"),
        unreadable=0,
        other=0,
        videos=len(clips),
        images=0,
        audio_files=0,
        samples=len(clips),
        frame_rate=24.0,
    )
    report = Report(
        summary=summary,
        objectives={},
        buckets=[],
        seconds=Seconds(total=2.0 * len(clips), kept=1.0, discarded=1.0),
        dataset=Dataset(),
        clips=clips,
        notes=notes,
    )
    return render_page(report, lambda _: ClipPreviews(), [SOURCE])


def test_what_harms_a_training_stands_before_what_limits_it() -> None:
    clips = [
        clip("good.mp4", ("note", "mono")),
        *(clip(f"silent {index}.mp4", ("warn", "no_audio"), ("warn", "near_duplicate")) for index in range(5)),
        clip("cut.mp4", ("warn", "no_audio"), ("warn", "scene_cut")),
        clip("short.mp4", ("block", "too_short"), samples=False),
    ]
    page = page_of(clips, ["A column is not read."])
    issues = re.search(r'<ul class="panel issues">(.*?)</ul>', page, re.DOTALL)
    assert issues is not None
    kinds = re.findall(r'class="what">([^<]*)<', issues[1])
    assert kinds == ["Too short", "Cuts inside", "No sound", "Near-duplicates", "Mono"]
    names = re.findall(r'class="name">([^<]*)<', page)
    assert names == ["short.mp4", "cut.mp4", *(f"silent {index}.mp4" for index in range(5)), "good.mp4"]
    told = re.findall(r"<li>.*?<span>(\w+) it is", page[page.index("cut.mp4</span>") :])
    assert told[:2] == ["scene_cut", "no_audio"]
    assert "<li>A column is not read.</li>" in page


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(scheme: str) -> None:
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)", 1)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", light if scheme == "light" else dark))
    grounds = ("paper", "card", "track")
    pairs = [(ink, ground) for ink in ("ink", "soft", "faint") for ground in grounds]
    pairs += [(ink, f"{ink}-bg") for ink in ("good", "warn", "bad")] + [("soft", "note-bg")]
    for ink, ground in pairs:
        lower, upper = sorted((luminance(colours[ink]), luminance(colours[ground])))
        assert (upper + 0.05) / (lower + 0.05) >= 4.4, (ink, ground)
