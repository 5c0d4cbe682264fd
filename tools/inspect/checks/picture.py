"""Checks on what the pictures show."""

from collections.abc import Iterator

from tools.inspect.checks.check import Seen
from tools.inspect.report import Flag
from trainer_core.data.buckets import SHORTEST_VIDEO_FRAMES

STATIC_CHANGE = 1.0
"""Mean difference in luma (of 255) to the first picture that only compression causes."""
BLACK_SHARE = 0.98
SHORTEST_BLACK_S = 0.5


def low_resolution(seen: Seen) -> list[Flag]:
    """A picture that no bucket fits into without enlarging it."""
    if seen.probe.kind == "audio" or seen.cut.bucket is not None:
        return []
    if seen.probe.kind == "video" and seen.cut.frames_available < SHORTEST_VIDEO_FRAMES:
        return []
    size = f"{seen.probe.width}x{seen.probe.height}"
    return [
        Flag(
            id="low_resolution",
            severity="block",
            value=size,
            message=f"Its picture is {size}: no bucket fits into it without enlarging it.",
            remedy="Use a larger version, or train the small clips in a project of their own.",
        )
    ]


def static(seen: Seen) -> list[Flag]:
    """A video in which nothing moves."""
    change = seen.picture.largest_change_from_first
    if seen.probe.kind != "video" or len(seen.picture.lumas) < 2 or change >= STATIC_CHANGE:
        return []
    return [
        Flag(
            id="static",
            severity="warn",
            value=round(change, 3),
            threshold=STATIC_CHANGE,
            message="Nothing moves in it: no picture differs visibly from the first.",
            remedy="Add it as a still image, or leave it out if motion matters.",
        )
    ]


def black(seen: Seen) -> list[Flag]:
    """Stretches of black pictures."""
    if seen.probe.kind != "video":
        return []
    return [
        Flag(
            id="black",
            severity="warn",
            value=round(end_s - start_s, 3),
            threshold=SHORTEST_BLACK_S,
            start_s=round(start_s, 3),
            end_s=round(end_s, 3),
            message=f"The picture is black from {start_s:.2f} s to {end_s:.2f} s.",
            remedy="Cut the black away.",
        )
        for start_s, end_s in _black_stretches(seen)
        if end_s - start_s >= SHORTEST_BLACK_S
    ]


def _black_stretches(seen: Seen) -> Iterator[tuple[float, float]]:
    began_s: float | None = None
    for time_s, share in zip(seen.picture.times_s, seen.picture.black_shares, strict=True):
        if share >= BLACK_SHARE:
            began_s = time_s if began_s is None else began_s
        elif began_s is not None:
            yield began_s, time_s
            began_s = None
    if began_s is not None:
        yield began_s, seen.probe.duration_s
