"""Pictures at irregular times."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag
from trainer_core.data.media.probe import IRREGULAR_SHARE


def judge(seen: Seen) -> Iterator[Flag]:
    probe = seen.probe
    # each picture that damage took leaves at most one gap
    only_gaps = probe.damaged_packets > IRREGULAR_SHARE * probe.frames
    if not probe.vfr or only_gaps:
        return
    yield Flag(
        id="vfr",
        severity="note",
        value=round(probe.fps or 0, 3),
        message=f"Its frame rate varies, {probe.fps:.2f} fps on average.",
        remedy=f"Nothing to do: it is resampled to {seen.frame_rate:g} fps by its timestamps.",
    )


CHECK = Check("vfr", judge)
