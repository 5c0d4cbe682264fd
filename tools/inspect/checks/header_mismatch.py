"""A name or a header that promises something else than is there, or pictures that change their size on the way."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.checks.corrupt_tail import lacks_its_end
from tools.inspect.discover.media_file import expected_kind
from tools.inspect.report.report import Flag, Kind

FRAMES_OFF = 1
_NAMED: dict[Kind, str] = {"video": "a video", "image": "an image", "audio": "a sound file"}
_HOLDS: dict[Kind, str] = {"video": "moving pictures", "image": "a still picture", "audio": "sound alone"}


def judge(seen: Seen) -> Iterator[Flag]:
    probe, promised = seen.probe, expected_kind(seen.file)
    still_gif = probe.kind == "image" and seen.file.suffix.lower() == ".gif"
    if promised not in ("other", probe.kind) and not still_gif:
        yield Flag(
            id="header_mismatch",
            severity="note",
            value=probe.kind,
            threshold=promised,
            message=f"Its name ends like that of {_NAMED[promised]}, but it holds {_HOLDS[probe.kind]}.",
            remedy="Nothing to do: what it holds counts.",
        )
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
