"""Pictures at irregular times."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report import Flag


def judge(seen: Seen) -> Iterator[Flag]:
    if not seen.probe.vfr:
        return
    yield Flag(
        id="vfr",
        severity="note",
        value=round(seen.probe.fps or 0, 3),
        message=f"Its frame rate varies, {seen.probe.fps:.2f} fps on average.",
        remedy=f"Nothing to do: it is resampled to {seen.frame_rate:g} fps by its timestamps.",
    )


CHECK = Check("vfr", judge)
