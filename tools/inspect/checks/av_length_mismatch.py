"""Sound that begins late or ends before the pictures do, so that samples lack it, or runs on after them."""

from collections.abc import Iterator

from tools.inspect.checks.check import Check, Seen
from tools.inspect.report.report import Flag

LATEST_START_S = 0.1
LONGEST_REST_S = 0.5
"""Sound that runs on for longer than this is more than a rounded end."""


def judge(seen: Seen) -> Iterator[Flag]:
    audio, missing = seen.probe.audio, seen.cut.without_sound
    if audio is None or not seen.moving or not audio.decodable:
        return
    if abs(audio.start_s) > LATEST_START_S:
        yield Flag(
            id="av_length_mismatch",
            severity="warn",
            value=round(audio.start_s, 3),
            threshold=LATEST_START_S,
            message=f"Its sound begins {abs(audio.start_s):.2f} s {'after' if audio.start_s > 0 else 'before'} its "
            "pictures.",
            remedy="Check that sound and picture belong together; silence fills the gap."
            if audio.start_s > 0
            else "Nothing is lost: the sound is cut to the pictures. Check that they belong together.",
        )
    if missing:
        windows = len(seen.cut.samples) + (0 if seen.cut.sound_too_short else missing)
        effect = (
            "no sample has sound throughout, so it can train pictures only"
            if seen.cut.sound_too_short
            else f"{missing} of its {windows} samples have no sound and are left out"
        )
        yield Flag(
            id="av_length_mismatch",
            severity="warn",
            value=round(audio.end_s, 3),
            threshold=round(seen.probe.duration_s, 3),
            start_s=round(audio.end_s, 3),
            end_s=round(seen.probe.duration_s, 3),
            message=f"Its sound ends at {audio.end_s:.2f} s, its pictures at {seen.probe.duration_s:.2f} s: {effect}.",
            remedy="Export it with sound and pictures of one length.",
        )
    rest_s = audio.end_s - seen.probe.duration_s
    if rest_s > LONGEST_REST_S:
        yield Flag(
            id="av_length_mismatch",
            severity="note",
            value=round(audio.end_s, 3),
            threshold=round(seen.probe.duration_s, 3),
            start_s=round(seen.probe.duration_s, 3),
            end_s=round(audio.end_s, 3),
            message=f"Its sound runs on for {rest_s:.2f} s after its last picture.",
            remedy="Nothing to do if the pictures are whole: the sound is cut to them.",
        )


CHECK = Check("av_length_mismatch", judge)
