"""A clip with large areas of pure white."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag

WHITE_SHARE = 0.25


def judge(seen: Seen) -> Iterator[Flag]:
    light = seen.numbers.get("light")
    if not light or light["white"] <= WHITE_SHARE:
        return
    yield Flag(
        id="overexposed",
        severity="warn",
        value=light["white"],
        threshold=WHITE_SHARE,
        message=f"{light['white']:.0%} of its picture is pure white, without any detail.",
        remedy="Lower its exposure from the camera's original, or keep it if the white is meant.",
    )


CHECK = Check("overexposed", judge)
