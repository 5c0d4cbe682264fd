"""From single looks to the report: working frame rate, buckets, samples, flags and statuses of all clips together."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tools.inspect.checks.all import CHECKS
from tools.inspect.checks.check import Seen
from tools.inspect.described import audio_of, measures_of
from tools.inspect.look import Look
from tools.inspect.names import displayed
from tools.inspect.objectives import judge_objectives
from tools.inspect.report import (
    BucketCount,
    Clip,
    Flag,
    Report,
    Seconds,
    Status,
    Summary,
)
from tools.inspect.samples import cut, extent, working_frame_rate
from tools.inspect.sources import FoundFile
from trainer_core.data.buckets import Bucket, BucketLimits, propose_buckets


def assemble(
    found: Sequence[FoundFile], looks: Sequence[Look], limits: BucketLimits, frame_rate: float | None
) -> Report:
    """Return the report on all files; `frame_rate` None takes the one that most footage has."""
    probes = [look.probe for look in looks if look.probe is not None]
    rate = frame_rate or working_frame_rate(probes)
    extents = [offered for offered in (extent(probe, rate) for probe in probes) if offered is not None]
    buckets = propose_buckets(extents, limits)
    clips = _with_collisions([_clip(entry, look, rate, buckets) for entry, look in zip(found, looks, strict=True)])
    usable = [clip for clip in clips if clip.samples]
    chosen = Counter(clip.samples[0].bucket for clip in usable)
    total_s = sum(clip.duration_s for clip in clips)
    kept_s = sum(sample.duration_s for clip in usable if clip.kind != "image" for sample in clip.samples)
    return Report(
        summary=_summary(clips, rate),
        objectives=judge_objectives(clips),
        buckets=[
            BucketCount(width=bucket.width, height=bucket.height, frames=bucket.frames, clips=chosen[str(bucket)])
            for bucket in buckets
            if chosen[str(bucket)]
        ],
        seconds=Seconds(total=round(total_s, 3), kept=round(kept_s, 3), discarded=round(max(0.0, total_s - kept_s), 3)),
        clips=clips,
    )


def report_buckets(report: Report) -> list[Bucket]:
    """The report's buckets, largest first."""
    return [Bucket(entry.width, entry.height, entry.frames) for entry in report.buckets]


def _clip(found: FoundFile, look: Look, rate: float, buckets: Sequence[Bucket]) -> Clip:
    probe = look.probe
    if probe is None:
        flags = [] if look.error is None else [_undecodable(look.error, look.hint)]
        status: Status = "unusable" if look.kind == "other" else "unreadable"
        return Clip(
            source=found.source, path=found.path, sha256=look.sha256, kind=look.kind, status=status, flags=flags
        )
    seen = Seen(probe, look.numbers, rate, cut(probe, rate, buckets))
    columns, pairing = _paired(found)
    flags = [flag for check in CHECKS for flag in check.judge(seen)] + pairing
    blocked = any(flag.severity == "block" for flag in flags)
    return Clip(
        source=found.source,
        path=found.path,
        sha256=look.sha256,
        kind=probe.kind,
        status=_status(flags),
        duration_s=round(probe.duration_s, 4),
        frames=probe.frames,
        fps=round(probe.fps, 4) if probe.fps else None,
        vfr=probe.vfr,
        width=probe.width,
        height=probe.height,
        rotation=probe.rotation,
        sample_aspect=round(probe.sample_aspect, 6),
        codec=probe.codec,
        pixel_format=probe.pixel_format,
        bit_depth=probe.bit_depth,
        transfer=probe.transfer if probe.kind != "audio" else None,
        interlaced=any(flag.id == "interlaced" for flag in flags),
        audio=audio_of(seen),
        samples=[] if blocked else list(seen.cut.samples),
        flags=flags,
        measures=measures_of(seen),
        scene=look.numbers.get("near_duplicate", {}).get("signatures", []),
        columns=columns,
    )


def _undecodable(message: str, remedy: str) -> Flag:
    return Flag(id="undecodable", severity="block", message=message, remedy=remedy)


def _status(flags: Sequence[Flag]) -> Status:
    severities = {flag.severity for flag in flags}
    if "block" in severities:
        return "unusable"
    return "flagged" if "warn" in severities else "ok"


def _paired(found: FoundFile) -> tuple[dict[str, str], list[Flag]]:
    """The further files of a metadata row that are there, and flags for those that can't be used."""
    columns, flags = {}, []
    for column, path in found.columns.items():
        if column == "audio":
            message = f"The sound in another file, {displayed(path)}, is not used: sound is read from the clip itself."
            remedy = "Put the sound into the clip's own sound track."
        elif (Path(found.source) / path).is_file():
            columns[column] = path
            continue
        else:
            message, remedy = f"Its {column}, {displayed(path)}, does not exist.", "Correct the metadata file."
        flags.append(Flag(id="unpaired", severity="warn", value=column, message=message, remedy=remedy))
    return columns, flags


def _with_collisions(clips: Sequence[Clip]) -> list[Clip]:
    """Flag clips whose names differ only in their ending or their capitals: files made from them would collide."""
    together: dict[str, list[str]] = {}
    for clip in clips:
        if clip.samples:
            together.setdefault(_bare_name(clip), []).append(clip.path)
    result = []
    for clip in clips:
        others = list(together.get(_bare_name(clip), [])) if clip.samples else []
        if len(others) > 1:
            others.remove(clip.path)
            flag = Flag(
                id="name_collision",
                severity="warn",
                value=others[0],
                message=f"Its name differs from {displayed(others[0])} only in its ending, capitals or folder.",
                remedy="Rename one of them: other programs would mix them up.",
            )
            flags = [*clip.flags, flag]
            clip = clip.model_copy(update={"flags": flags, "status": _status(flags)})
        result.append(clip)
    return result


def _bare_name(clip: Clip) -> str:
    stem, dot, ending = clip.path.rpartition(".")
    return (stem if dot and "/" not in ending else clip.path).casefold()


def _summary(clips: Sequence[Clip], rate: float) -> Summary:
    media = [clip for clip in clips if clip.kind != "other"]
    statuses = Counter(clip.status for clip in media)
    kinds = Counter(clip.kind for clip in media)
    return Summary(
        files=len(clips),
        ok=statuses["ok"],
        flagged=statuses["flagged"],
        unusable=statuses["unusable"],
        unreadable=statuses["unreadable"],
        other=len(clips) - len(media),
        videos=kinds["video"],
        images=kinds["image"],
        audio_files=kinds["audio"],
        samples=sum(len(clip.samples) for clip in clips),
        frame_rate=rate,
    )
