"""An end that can't be decoded or isn't there."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag
from trainer_core.data.media.probe import ClipProbe

MISSING_S = 0.5
"""Headers round; a file that lacks more than this was cut off."""
LONGEST_PROMISE_S = 1e6
"""A header that promises more than eleven days is nonsense, not a promise."""


def lacks_its_end(probe: ClipProbe) -> bool:
    """True if pictures end before the header says so, or with damage."""
    if probe.kind != "video":
        return False
    promised_s = probe.header_duration_s or 0.0
    return probe.damaged_tail or MISSING_S < promised_s - probe.duration_s < LONGEST_PROMISE_S


def judge(seen: Seen) -> Iterator[Flag]:
    probe = seen.probe
    if not lacks_its_end(probe):
        return
    promised = f" of {probe.header_duration_s:.2f} s" if probe.header_duration_s else ""
    yield Flag(
        id="corrupt_tail",
        severity="warn",
        value=round(probe.duration_s, 3),
        threshold=round(probe.header_duration_s, 3) if probe.header_duration_s else None,
        start_s=round(probe.duration_s, 3),
        end_s=round(probe.header_duration_s, 3) if probe.header_duration_s else None,
        message=f"It is damaged or cut off: it decodes up to {probe.duration_s:.2f} s{promised}.",
        remedy="The good part is used; copy or export it again to have all of it.",
    )


CHECK = Check("corrupt_tail", judge)
