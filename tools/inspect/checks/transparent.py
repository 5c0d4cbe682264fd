"""Pictures that are see-through in parts: training takes the colours that lie hidden there."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

MOST_SHARE = 0.005
"""Of the area; softened edges alone are less."""


class _Transparency(Measure):
    def __init__(self) -> None:
        self.most = 0.0

    def study(self, picture: Frame) -> None:
        self.most = max(self.most, picture.transparency)

    def numbers(self) -> Numbers:
        return {"share": round(self.most, 4)}


def judge(seen: Seen) -> Iterator[Flag]:
    share = seen.numbers.get("transparent", {}).get("share", 0.0)
    if share <= MOST_SHARE:
        return
    yield Flag(
        id="transparent",
        severity="note",
        value=share,
        threshold=MOST_SHARE,
        message=f"It is transparent, {share:.0%} of the picture: the colours hidden there are shown.",
        remedy="If that looks wrong, export it again on a background.",
    )


CHECK = Check("transparent", judge, _Transparency)
