"""Packets that can't be decoded with good pictures after them, and sound that can't be decoded throughout."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag


def judge(seen: Seen) -> Iterator[Flag]:
    probe = seen.probe
    if probe.damaged_packets and probe.kind == "image":
        yield Flag(
            id="undecodable",
            severity="warn",
            value=probe.damaged_packets,
            threshold=0,
            message="The file ends in the middle of the picture: what is missing shows grey.",
            remedy="Copy or export it again, or leave it out: the model would learn the grey.",
        )
    elif probe.damaged_packets and not probe.damaged_tail:
        yield Flag(
            id="undecodable",
            severity="warn",
            value=probe.damaged_packets,
            threshold=0,
            message=f"{probe.damaged_packets} of its pictures can't be decoded; the one before each is shown in its "
            "place.",
            remedy="Copy or export it again.",
        )
    if probe.audio is not None and not probe.audio.decodable:
        yield Flag(
            id="undecodable",
            severity="warn",
            value=probe.audio.codec,
            message=f"Its sound ({probe.audio.codec}) can't be decoded throughout; only pictures can train.",
            remedy="Export it again with AAC sound.",
        )


CHECK = Check("undecodable", judge)
