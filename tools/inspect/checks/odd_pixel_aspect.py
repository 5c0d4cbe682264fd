"""Pixels that aren't square."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag

STRANGE = (0.4, 2.5)
"""Real formats lie between 8:11 (0.73) and 2:1; a tag beyond this is a mistake."""


def judge(seen: Seen) -> Iterator[Flag]:
    aspect = seen.probe.sample_aspect
    if abs(aspect - 1) < 1e-3:
        return
    strange = not STRANGE[0] <= aspect <= STRANGE[1]
    yield Flag(
        id="odd_pixel_aspect",
        severity="warn" if strange else "note",
        value=round(aspect, 4),
        threshold=1,
        message=f"Its pixels are {aspect:.3g} times as wide as high; it is shown as {seen.probe.width} × "
        f"{seen.probe.height} square ones.",
        remedy="Look whether circles are round; if not, export it with square pixels."
        if strange
        else "Nothing to do: samples are cut with square pixels.",
    )


CHECK = Check("odd_pixel_aspect", judge)
