"""A clip that doesn't fill the shortest sample."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag
from trainer_core.data.buckets import SHORTEST_VIDEO_FRAMES


def judge(seen: Seen) -> Iterator[Flag]:
    frames = seen.cut.frames_available
    if seen.probe.kind == "image" or frames >= SHORTEST_VIDEO_FRAMES:
        return
    yield Flag(
        id="too_short",
        severity="block",
        value=frames,
        threshold=SHORTEST_VIDEO_FRAMES,
        message=f"It has {frames} frames at {seen.frame_rate:g} fps ({seen.probe.duration_s:.2f} s); "
        f"the shortest sample has {SHORTEST_VIDEO_FRAMES}.",
        remedy="Use a longer take, or add it as a still image.",
    )


CHECK = Check("too_short", judge)
