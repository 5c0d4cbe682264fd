"""A picture that is stored on its side and turned for showing."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag


def judge(seen: Seen) -> Iterator[Flag]:
    if not seen.probe.rotation:
        return
    yield Flag(
        id="rotated",
        severity="note",
        value=seen.probe.rotation,
        message=f"It is stored turned by {seen.probe.rotation}° and shown upright.",
        remedy="Nothing to do if it looks upright here; else correct its orientation and export it again.",
    )


CHECK = Check("rotated", judge)
