"""A clip that is dark nearly everywhere."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag

BRIGHTEST = 0.22
"""Luma that 95 of 100 pixels stay below."""


def judge(seen: Seen) -> Iterator[Flag]:
    light = seen.numbers.get("light")
    if not light or light["p95"] >= BRIGHTEST:
        return
    yield Flag(
        id="underexposed",
        severity="warn",
        value=light["p95"],
        threshold=BRIGHTEST,
        message=f"It is dark: 95% of its pixels stay below {light['p95']:.0%} of full brightness.",
        remedy="Lift its exposure, or keep it if the look you train is dark.",
    )


CHECK = Check("underexposed", judge)
