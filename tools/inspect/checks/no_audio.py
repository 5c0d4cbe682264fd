"""A video without a sound track."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag


def judge(seen: Seen) -> Iterator[Flag]:
    if seen.probe.audio is not None or not seen.moving:
        return
    yield Flag(
        id="no_audio",
        severity="warn",
        message="It has no sound.",
        remedy="It can train pictures only; for sound, export it with its sound track.",
    )


CHECK = Check("no_audio", judge)
