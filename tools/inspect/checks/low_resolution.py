"""A picture that no bucket fits into without enlarging it."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag
from trainer_core.data.buckets import SHORTEST_VIDEO_FRAMES


def judge(seen: Seen) -> Iterator[Flag]:
    if seen.probe.kind == "audio" or seen.cut.bucket is not None:
        return
    if seen.moving and seen.cut.frames_available < SHORTEST_VIDEO_FRAMES:
        return
    size = f"{seen.probe.width}x{seen.probe.height}"
    yield Flag(
        id="low_resolution",
        severity="block",
        value=size,
        message=f"Its picture is {size}: no bucket fits into it without enlarging it.",
        remedy="Use a larger version, or train the small clips in a project of their own.",
    )


CHECK = Check("low_resolution", judge)
