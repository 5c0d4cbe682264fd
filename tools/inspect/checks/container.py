"""Checks on the file: whether all of it decodes, and whether its header tells the truth."""

from tools.inspect.checks.check import Seen
from tools.inspect.report import Flag

MISSING_S = 0.5
"""Headers round; a file that lacks more than this was cut off."""
FRAMES_OFF = 1


def corrupt_tail(seen: Seen) -> list[Flag]:
    """An end that can't be decoded or isn't there."""
    if not _lacks_its_end(seen):
        return []
    probe = seen.probe
    promised = f" of {probe.header_duration_s:.2f} s" if probe.header_duration_s else ""
    return [
        Flag(
            id="corrupt_tail",
            severity="warn",
            value=round(probe.duration_s, 3),
            threshold=round(probe.header_duration_s, 3) if probe.header_duration_s else None,
            start_s=round(probe.duration_s, 3),
            end_s=round(probe.header_duration_s, 3) if probe.header_duration_s else None,
            message=f"It is damaged or cut off: it decodes up to {probe.duration_s:.2f} s{promised}.",
            remedy="The good part is used; copy or export it again to have all of it.",
        )
    ]


def damaged_inside(seen: Seen) -> list[Flag]:
    """Packets that can't be decoded with good pictures after them."""
    damaged = seen.probe.damaged_packets
    if not damaged or seen.probe.damaged_tail:
        return []
    return [
        Flag(
            id="undecodable",
            severity="warn",
            value=damaged,
            threshold=0,
            message=f"{damaged} of its pictures can't be decoded; the one before each is shown in its place.",
            remedy="Copy or export it again.",
        )
    ]


def header_mismatch(seen: Seen) -> list[Flag]:
    """A header that promises another number of frames than are there."""
    probe = seen.probe
    if probe.kind != "video" or probe.header_frames is None or _lacks_its_end(seen):
        return []
    if abs(probe.header_frames - probe.frames) <= FRAMES_OFF:
        return []
    return [
        Flag(
            id="header_mismatch",
            severity="note",
            value=probe.frames,
            threshold=probe.header_frames,
            message=f"Its header promises {probe.header_frames} frames, {probe.frames} can be decoded.",
            remedy="Nothing to do: the decoded frames count.",
        )
    ]


def _lacks_its_end(seen: Seen) -> bool:
    probe = seen.probe
    if probe.kind != "video":
        return False
    promised_s = probe.header_duration_s or 0.0
    return probe.damaged_tail or promised_s - probe.duration_s > MISSING_S
