"""Checks on the sound."""

from tools.inspect.checks.check import Seen
from tools.inspect.report import AudioStatus, Flag

SILENT_DBFS = -60.0


def audio_status(seen: Seen) -> AudioStatus:
    """Whether the clip's samples have sound."""
    audio = seen.probe.audio
    if audio is None:
        return "none"
    if not audio.decodable:
        return "undecodable"
    if seen.sound.loudest_dbfs < SILENT_DBFS:
        return "silent"
    return "short" if seen.cut.sound_too_short else "ok"


def no_audio(seen: Seen) -> list[Flag]:
    """A video without a sound track, or with one that can't be decoded."""
    status = audio_status(seen)
    if status == "none" and seen.probe.kind == "video":
        return [
            Flag(
                id="no_audio",
                severity="warn",
                message="It has no sound.",
                remedy="It can train pictures only; for sound, export it with its sound track.",
            )
        ]
    if status == "undecodable" and seen.probe.audio is not None:
        return [
            Flag(
                id="undecodable",
                severity="warn",
                value=seen.probe.audio.codec,
                message=f"Its sound ({seen.probe.audio.codec}) can't be decoded throughout; only pictures can train.",
                remedy="Export it again with AAC sound.",
            )
        ]
    return []


def silent(seen: Seen) -> list[Flag]:
    """A sound track that holds silence; sound alone that is silent can't train anything."""
    if audio_status(seen) != "silent":
        return []
    return [
        Flag(
            id="silent",
            severity="block" if seen.probe.kind == "audio" else "warn",
            value=round(seen.sound.loudest_dbfs, 1),
            threshold=SILENT_DBFS,
            message=f"Its sound track is silent: the loudest moment is {seen.sound.loudest_dbfs:.0f} dBFS.",
            remedy="Export it with its sound, or use it for its pictures only.",
        )
    ]


def av_length_mismatch(seen: Seen) -> list[Flag]:
    """Sound that ends before the pictures do, so that samples lack it."""
    audio, missing = seen.probe.audio, seen.cut.without_sound
    if audio is None or not missing:
        return []
    windows = len(seen.cut.samples) + (0 if seen.cut.sound_too_short else missing)
    ends = f"Its sound ends at {audio.end_s:.2f} s, its pictures at {seen.probe.duration_s:.2f} s"
    effect = (
        "no sample has sound throughout, so it can train pictures only"
        if seen.cut.sound_too_short
        else f"{missing} of its {windows} samples have no sound and are left out"
    )
    return [
        Flag(
            id="av_length_mismatch",
            severity="warn",
            value=round(audio.end_s, 3),
            threshold=round(seen.probe.duration_s, 3),
            message=f"{ends}: {effect}.",
            remedy="Export it with sound and pictures of one length.",
        )
    ]
