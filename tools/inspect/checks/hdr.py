"""Pictures for another screen than an ordinary one: HDR by their tag, log footage by its tag or its flat look."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag

NAMES = {"pq": "HDR (PQ)", "hlg": "HDR (HLG)", "log": "logarithmic"}
LOG_BLACK, LOG_WHITE = 0.12, 0.80
"""Ungraded log footage lifts black above and keeps white below these shares of the range."""
LOG_COLOURFULNESS = 18.0


def judge(seen: Seen) -> Iterator[Flag]:
    probe = seen.probe
    if probe.transfer in NAMES:
        yield Flag(
            id="hdr",
            severity="warn",
            value=probe.transfer,
            threshold="sdr",
            message=f"Its pictures are {NAMES[probe.transfer]}; taken as they are, they look flat and grey.",
            remedy="Grade or convert it to BT.709 (SDR) first.",
        )
        return
    light = seen.numbers.get("light", {})
    flat = light.get("p01", 0) > LOG_BLACK and light.get("p99", 1) < LOG_WHITE
    if (probe.bit_depth or 8) >= 10 and flat and light.get("colourfulness", 99) < LOG_COLOURFULNESS:
        yield Flag(
            id="hdr",
            severity="note",
            value="log?",
            threshold="sdr",
            message=f"It may be ungraded log footage: its tones lie between {light['p01']:.0%} and {light['p99']:.0%} "
            "of the range, and it has little colour.",
            remedy="If it is, apply the camera's look (LUT) and export it again.",
        )
    elif probe.wide_gamut:
        yield Flag(
            id="hdr",
            severity="note",
            value="bt2020",
            threshold="bt709",
            message="Its colours are BT.2020; taken as they are, they look pale.",
            remedy="Convert it to BT.709 if colours matter.",
        )


CHECK = Check("hdr", judge)
