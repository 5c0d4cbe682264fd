"""Checks on length and frame rate."""

from tools.inspect.checks.check import Seen
from tools.inspect.report import Flag
from trainer_core.data.buckets import SHORTEST_VIDEO_FRAMES

SLOWEST_SHARE = 0.9
"""A clip slower than this share of the working rate shows repeated pictures."""


def too_short(seen: Seen) -> list[Flag]:
    """A clip that doesn't fill the shortest sample."""
    frames = seen.cut.frames_available
    if seen.probe.kind == "image" or frames >= SHORTEST_VIDEO_FRAMES:
        return []
    message = (
        f"It has {frames} frames at {seen.frame_rate:g} fps ({seen.probe.duration_s:.2f} s); "
        f"the shortest sample has {SHORTEST_VIDEO_FRAMES}."
    )
    return [
        Flag(
            id="too_short",
            severity="block",
            value=frames,
            threshold=SHORTEST_VIDEO_FRAMES,
            message=message,
            remedy="Use a longer take, or add it as a still image.",
        )
    ]


def vfr(seen: Seen) -> list[Flag]:
    """Pictures at irregular times."""
    if not seen.probe.vfr:
        return []
    return [
        Flag(
            id="vfr",
            severity="note",
            value=round(seen.probe.fps or 0, 3),
            message=f"Its frame rate varies, {seen.probe.fps:.2f} fps on average.",
            remedy=f"Nothing to do: it is resampled to {seen.frame_rate:g} fps by its timestamps.",
        )
    ]


def low_fps(seen: Seen) -> list[Flag]:
    """Fewer pictures a second than the samples will have."""
    fps, threshold = seen.probe.fps, SLOWEST_SHARE * seen.frame_rate
    if seen.probe.kind != "video" or fps is None or fps >= threshold:
        return []
    return [
        Flag(
            id="low_fps",
            severity="warn",
            value=round(fps, 3),
            threshold=round(threshold, 3),
            message=f"It has {fps:.4g} fps; at {seen.frame_rate:g} fps pictures are repeated and motion stutters.",
            remedy="Use a take at a higher frame rate, or leave it out if motion matters.",
        )
    ]
