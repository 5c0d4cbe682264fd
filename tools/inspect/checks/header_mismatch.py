"""A header that promises another number of frames than are there, or pictures that change their size on the way."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.checks.corrupt_tail import lacks_its_end
from tools.inspect.report import Flag

FRAMES_OFF = 1


def judge(seen: Seen) -> Iterator[Flag]:
    probe = seen.probe
    if probe.sizes > 1:
        yield Flag(
            id="header_mismatch",
            severity="warn",
            value=probe.sizes,
            threshold=1,
            message=f"Its pictures change their size on the way: {probe.sizes} sizes were decoded.",
            remedy="Export it again with one size.",
        )
    if not seen.moving or probe.header_frames is None or lacks_its_end(probe):
        return
    if abs(probe.header_frames - probe.frames) > FRAMES_OFF:
        yield Flag(
            id="header_mismatch",
            severity="note",
            value=probe.frames,
            threshold=probe.header_frames,
            message=f"Its header promises {probe.header_frames} frames, {probe.frames} can be decoded.",
            remedy="Nothing to do: the decoded frames count.",
        )


CHECK = Check("header_mismatch", judge)
