"""From single looks to the report: working frame rate, buckets, samples, flags and statuses of all clips together."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tools.inspect.checks.all import CHECKS
from tools.inspect.checks.check import Numbers, Seen
from tools.inspect.discover.media_file import FoundFile
from tools.inspect.discover.names import displayed
from tools.inspect.report.companions import pair
from tools.inspect.report.objectives import judge_objectives
from tools.inspect.report.report import (
    BucketCount,
    Clip,
    Flag,
    Report,
    Seconds,
    Status,
    Summary,
)
from tools.inspect.report.samples import cut, cuts_of, extent, working_frame_rate
from tools.inspect.report.stubs import without_many_stubs
from tools.inspect.report.variety import describe, with_groups
from tools.inspect.scan.scan_file import Look
from tools.inspect.scan.summary import audio_of, measures_of
from trainer_core.data.buckets import Bucket, BucketLimits, propose_buckets
from trainer_core.errors import DataError

SOUND_CHECKS = ("silent", "clipping", "loudness", "audio_dropout", "low_sample_rate", "speech", "music")
"""Whose measures come from the file that a clip's sound is in."""
SOUND_SPANS = (("silent", "silences"), ("speech", "spans"))
"""The stretches that windows of sound are cut by."""


def assemble(
    found: Sequence[FoundFile],
    looks: Sequence[Look],
    numbers_of: Callable[[Look, Path], dict[str, Numbers]],
    limits: BucketLimits | Sequence[Bucket],
    frame_rate: float | None,
) -> Report:
    """Return the report on all files; `frame_rate` None takes the one that most footage has.

    `numbers_of` gives what was measured in a file, one at a time: those of all would fill the memory. `limits` of the
    buckets to propose, or the buckets that the user chose.

    Raises DataError when the ledger doesn't add up: every file must end in it exactly once, with a status.
    """
    by_path = {(entry.source, entry.path): look for entry, look in zip(found, looks, strict=True)}
    probes = [
        look.probe for entry, look in zip(found, looks, strict=True) if look.probe is not None and entry.role == "clip"
    ]
    rate = frame_rate or working_frame_rate(probes)
    chosen_by_person = not isinstance(limits, BucketLimits)
    if isinstance(limits, BucketLimits):
        extents = [
            extent(look.probe, rate, cuts_of(numbers_of(look, entry.file)))
            for entry, look in zip(found, looks, strict=True)
            if look.probe is not None and look.probe.kind != "audio" and entry.role == "clip"
        ]
        buckets = propose_buckets([offered for offered in extents if offered is not None], limits)
    else:
        buckets = list(limits)
    owned = {(entry.source, path) for entry in found for path in entry.columns.values()}
    usual = Counter(
        column
        for entry in found
        if entry.role == "clip"
        for column, path in entry.columns.items()
        if (Path(entry.source) / path).is_file()
    )
    clips = [
        _clip(
            entry,
            _measured(entry, look, by_path, numbers_of),
            rate,
            buckets,
            by_path,
            usual,
            keep_tails=chosen_by_person,
        )
        if entry.role == "clip"
        else _companion(entry, look, (entry.source, entry.path) in owned)
        for entry, look in zip(found, looks, strict=True)
    ]
    clips = with_groups(_with_collisions(clips if chosen_by_person else without_many_stubs(clips)))
    usable = [clip for clip in clips if clip.samples]
    chosen = Counter(bucket for clip in usable for bucket in {sample.bucket for sample in clip.samples})
    total_s = sum(clip.duration_s for clip in clips if clip.kind != "other")
    kept_s = sum(sample.duration_s for clip in usable if clip.kind != "image" for sample in clip.samples)
    report = Report(
        summary=_summary(clips, rate),
        objectives=judge_objectives(clips),
        buckets=[
            BucketCount(width=bucket.width, height=bucket.height, frames=bucket.frames, clips=chosen[str(bucket)])
            for bucket in buckets
            if chosen[str(bucket)]
        ],
        seconds=Seconds(total=round(total_s, 3), kept=round(kept_s, 3), discarded=round(max(0.0, total_s - kept_s), 3)),
        dataset=describe(clips),
        clips=clips,
    )
    _reconcile(found, report)
    return report


def _reconcile(found: Sequence[FoundFile], report: Report) -> None:
    summary = report.summary
    counted = summary.ok + summary.flagged + summary.unusable + summary.unreadable + summary.other
    listed = {(clip.source, clip.path) for clip in report.clips}
    missing = [entry.path for entry in found if (entry.source, entry.path) not in listed]
    if missing or not counted == len(report.clips) == len(found) == summary.files:
        raise DataError(
            f"The ledger doesn't add up: {len(found)} files were found, {len(report.clips)} are listed, {counted} have "
            f"a status{'; missing: ' + displayed(', '.join(missing[:5])) if missing else ''}.",
            "Nothing was written. This is a defect of the program: please report it.",
        )


def _measured(
    found: FoundFile,
    look: Look,
    looks: Mapping[tuple[str, str], Look],
    numbers_of: Callable[[Look, Path], dict[str, Numbers]],
) -> Look:
    """The look with its numbers; where the sound lies in another file, with that file's in the place of its own."""
    if look.probe is None:
        return look
    look = replace(look, numbers=numbers_of(look, found.file))
    path = found.columns.get("audio")
    other = looks.get((found.source, path)) if path is not None else None
    if path is None or look.probe is None or other is None or other.probe is None or other.probe.audio is None:
        return look
    sound = other.probe.audio
    if other.probe.kind == "audio":
        sound = replace(sound, start_s=0.0)
    heard = numbers_of(other, Path(found.source) / path)
    numbers = {**look.numbers, **{name: heard[name] for name in SOUND_CHECKS if name in heard}}
    return replace(look, probe=replace(look.probe, audio=sound), numbers=numbers)


def report_buckets(report: Report) -> list[Bucket]:
    """The report's buckets, largest first."""
    return [Bucket(entry.width, entry.height, entry.frames) for entry in report.buckets]


def _clip(
    found: FoundFile,
    look: Look,
    rate: float,
    buckets: Sequence[Bucket],
    looks: Mapping[tuple[str, str], Look],
    usual: Mapping[str, int],
    *,
    keep_tails: bool,
) -> Clip:
    probe = look.probe
    if probe is None:
        flags = [] if look.error is None else [_undecodable(look.error, look.hint)]
        status: Status = "unusable" if look.kind == "other" else "unreadable"
        return Clip(
            source=found.source,
            path=found.path,
            sha256=look.sha256,
            kind=look.kind,
            status=status,
            flags=flags,
            origin=found.origin,
        )
    silences, speech = (look.numbers.get(name, {}).get(spans, []) for name, spans in SOUND_SPANS)
    cut_up = cut(probe, rate, buckets, cuts_of(look.numbers), silences, speech, keep_tails=keep_tails)
    seen = Seen(probe, look.numbers, rate, cut_up, found.file)
    own = pair(found, probe.kind, seen.cut.samples, rate, lambda path: looks.get((found.source, path)), usual)
    flags = [flag for check in CHECKS for flag in check.judge(seen)] + own.flags
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
        samples=[] if blocked else list(own.samples),
        sound_samples=[
            sample for sample in seen.cut.sounds if not blocked and sample.start_s + sample.duration_s <= own.reach_s
        ],
        flags=flags,
        measures=measures_of(seen),
        scene=look.numbers.get("near_duplicate", {}).get("signatures", []),
        columns=own.columns,
        paired_by=found.paired_by if own.columns else None,
        origin=found.origin,
    )


def _undecodable(message: str, remedy: str) -> Flag:
    return Flag(id="undecodable", severity="block", message=message, remedy=remedy)


def _status(flags: Sequence[Flag]) -> Status:
    severities = {flag.severity for flag in flags}
    if "block" in severities:
        return "unusable"
    return "flagged" if "warn" in severities else "ok"


def _companion(found: FoundFile, look: Look, owned: bool) -> Clip:
    """A file that belongs to a clip: it trains nothing by itself."""
    flags = [] if look.error is None else [_undecodable(look.error, look.hint)]
    if not owned:
        flags.append(
            Flag(
                id="unpaired",
                severity="warn",
                value=found.role,
                message=f"It lies among files of the kind {found.role}, but no clip has its name.",
                remedy="Give it the name of its clip, name both in a metadata file, or remove it.",
            )
        )
    probe = look.probe
    return Clip(
        source=found.source,
        path=found.path,
        sha256=look.sha256,
        kind="other",
        role=found.role,
        status="unreadable" if probe is None else "ok" if owned else "flagged",
        duration_s=round(probe.duration_s, 4) if probe is not None else 0.0,
        frames=probe.frames if probe is not None else 0,
        width=probe.width if probe is not None else None,
        height=probe.height if probe is not None else None,
        flags=flags,
        paired_by=found.paired_by,
    )


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
                message=f"Its name differs from {displayed(others[0])} only in its ending or its capitals.",
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
