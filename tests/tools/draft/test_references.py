"""Clips by number, range, share, name, pattern, length and trait; one that means none is an error with names."""

import pytest

from tools.draft.references import TRAITS, clips_meant
from tools.inspect.report.report import Clip, Flag, Measures, Report, Seconds, Summary
from trainer_core.errors import ConfigError

from .conftest import make_clip

DIM = Flag(id="underexposed", severity="warn", message="it is dark", remedy="Brighten it.")
NAMES = ("bunny_00", "bunny_01", "earth_00", "earth_01", "world")


def report_of(clips: list[Clip]) -> Report:
    kinds = ("flagged", "unusable", "unreadable", "other", "videos", "images", "audio_files", "samples")
    summary = Summary(files=len(clips), ok=len(clips), frame_rate=24.0, **dict.fromkeys(kinds, 0))
    return Report(
        summary=summary, objectives={}, buckets=[], seconds=Seconds(total=1, kept=1, discarded=0), clips=clips
    )


REPORT = report_of([make_clip(f"{name}.mp4") for name in NAMES])


@pytest.mark.parametrize(
    ("references", "stems"),
    [
        (["1"], ["bunny_00"]),
        (["2-4"], ["bunny_01", "earth_00", "earth_01"]),
        (["4-2"], ["bunny_01", "earth_00", "earth_01"]),
        (["first 2"], ["bunny_00", "bunny_01"]),
        (["last 2"], ["earth_01", "world"]),
        (["first half"], ["bunny_00", "bunny_01", "earth_00"]),
        (["last half"], ["earth_00", "earth_01", "world"]),
        (["every 2"], ["bunny_00", "earth_00", "world"]),
        (["bunny_01"], ["bunny_01"]),
        (["WORLD"], ["world"]),
        (["bunny_*", "5"], ["bunny_00", "bunny_01", "world"]),
        (["*earth*", "+earth_01"], ["earth_00"]),
        (["+earth_01"], []),
    ],
)
def test_what_a_reference_means(references: list[str], stems: list[str]) -> None:
    assert clips_meant(REPORT, references) == {f"{stem}.mp4" for stem in stems}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("9", "There is no clip 9: the report has 5"),
        ("3-9", "There is no clip 9"),
        ("bunny", "names 2 clips: bunny_00.mp4, bunny_01.mp4"),
        ("zebra", "is called 'zebra'"),
        ("zebra_*", "is called like 'zebra_\\*'"),
        ("is:dark", "None of the 5 clips was found to be dark"),
        ("is:ugly", "is:ugly is no trait"),
        ("longer than 50", "None of the 5 clips is longer than 50 s"),
        ("first 0", "No clip is no selection"),
    ],
)
def test_what_means_nothing_is_named(reference: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        clips_meant(REPORT, [reference])


@pytest.mark.parametrize(
    ("trait", "changes"),
    [
        ("dark", {"flags": [DIM]}),
        ("dark", {"measures": Measures(brightness=0.1)}),
        ("bright", {"measures": Measures(brightness=0.9)}),
        ("silent", {"audio": "none"}),
        ("vertical", {"width": 1080, "height": 1920}),
        ("vertical", {"width": 1920, "height": 1080, "rotation": 90}),
        ("cuts", {"measures": Measures(cuts_s=[1.0])}),
        ("photo", {"kind": "image"}),
        ("flagged", {"flags": [DIM]}),
    ],
)
def test_a_trait_is_what_was_measured(trait: str, changes: dict[str, object]) -> None:
    report = report_of([make_clip("odd.mp4", **changes), make_clip("plain.mp4", width=96, height=64)])
    assert clips_meant(report, [f"is:{trait}"]) == {"odd.mp4"}


@pytest.mark.parametrize("trait", [trait for trait in TRAITS if trait != "sound"])
def test_every_trait_is_one_that_a_plain_clip_lacks(trait: str) -> None:
    with pytest.raises(ConfigError, match="None of the 1 clips was found to be"):
        clips_meant(report_of([make_clip("plain.mp4")]), [f"is:{trait}"])
