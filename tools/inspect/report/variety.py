"""The clips as a whole: near-duplicates and groups, sizes, what is lost and why, and how varied they are."""

from collections import Counter
from collections.abc import Sequence
from math import gcd

import numpy as np

from tools.inspect.discover.names import displayed
from tools.inspect.report.report import Clip, Dataset, Flag, LossReason, Lost, SizeCount, Spread
from tools.inspect.scan.scenes import SceneOverlap, bits_apart, connected, shown_shares

MOST_COMPARED = 400
"""Clips whose pictures are compared all with all; more are sampled evenly."""
SHOWN_SHARE = 0.6
"""A clip shows the same as another when this share of its pictures does."""
MOST_SIZES = 12


def with_groups(clips: Sequence[Clip]) -> list[Clip]:
    """Name the groups of clips that look alike, and flag those that show nearly the same as an earlier one."""
    usable = [index for index, clip in enumerate(clips) if clip.samples]
    labels = connected([clips[index].scene for index in usable])
    members: dict[int, list[int]] = {}
    for index, label in zip(usable, labels, strict=True):
        members.setdefault(label, []).append(index)
    result = list(clips)
    digests: dict[str, int] = {}
    for index in usable:
        twin = digests.setdefault(str(clips[index].sha256), index)
        if twin != index:
            result[index] = _flagged(result[index], clips[twin], SceneOverlap(twin, 1.0))
    for group in members.values():
        if len(group) == 1:
            continue
        name = f"group-{min(str(clips[index].sha256) for index in group)[:10]}"
        looked_for = shown_shares([clips[index].scene for index in group], MOST_COMPARED, SHOWN_SHARE)
        for index, shown in zip(group, looked_for, strict=True):
            result[index] = result[index].model_copy(update={"group": name})
            told = any(flag.id == "near_duplicate" for flag in result[index].flags)
            if shown.share >= SHOWN_SHARE and not told and not _siblings(clips[index], clips[group[shown.clip]]):
                result[index] = _flagged(result[index], clips[group[shown.clip]], shown)
    return result


def _siblings(one: Clip, other: Clip) -> bool:
    """True if both are parts of one clip, cut by a remedy: like its samples they may look alike."""
    if one.origin is None or other.origin is None:
        return False
    return (one.origin.source, one.origin.path) == (other.origin.source, other.origin.path)


def describe(clips: Sequence[Clip]) -> Dataset:
    """Return the measures of the dataset as a whole."""
    media = [clip for clip in clips if clip.kind != "other" and clip.status != "unreadable"]
    usable = [clip for clip in media if clip.samples]
    sized = [clip for clip in usable if clip.width and clip.height]
    sizes = Counter((clip.width or 0, clip.height or 0) for clip in sized)
    aspects = Counter(_aspect(clip.width or 1, clip.height or 1) for clip in sized)
    lone = sum(clip.group is None for clip in usable)
    measures = ("brightness", "contrast", "colourfulness", "motion", "camera_motion")
    spreads = {name: _spread([getattr(clip.measures, name) for clip in usable]) for name in measures}
    spreads["loudness_lufs"] = _spread([clip.audio.loudness_lufs for clip in usable])
    spreads["speech_fraction"] = _spread([clip.audio.speech_fraction for clip in usable])
    return Dataset(
        sizes=[SizeCount(width=w, height=h, clips=count) for (w, h), count in sizes.most_common(MOST_SIZES)],
        aspects=dict(aspects.most_common(MOST_SIZES)),
        duration_s=_spread([clip.duration_s for clip in usable if clip.kind != "image"]),
        lost=lost_in(media),
        groups=lone + len({clip.group for clip in usable if clip.group is not None}),
        near_duplicates=sum(any(flag.id == "near_duplicate" for flag in clip.flags) for clip in usable),
        picture_distance=_picture_distance([clip.scene for clip in usable if clip.scene]),
        spreads={name: spread for name, spread in spreads.items() if spread is not None},
    )


def _flagged(clip: Clip, twin: Clip, shown: SceneOverlap) -> Clip:
    same = clip.sha256 == twin.sha256
    mirrored = ", mirrored: any writing in one of them is reversed" if shown.mirrored else ""
    flag = Flag(
        id="near_duplicate",
        severity="warn",
        value=twin.path,
        threshold=SHOWN_SHARE,
        message=f"It is the same file as {displayed(twin.path)}."
        if same
        else f"It shows nearly the same pictures as {displayed(twin.path)} ({shown.share:.0%} of them){mirrored}.",
        remedy="Keep one of them: what is seen twice is learned twice as strongly.",
    )
    status = "flagged" if clip.status == "ok" else clip.status
    return clip.model_copy(update={"flags": [*clip.flags, flag], "status": status})


def lost_in(media: Sequence[Clip]) -> list[Lost]:
    """The seconds of `media` that are in no sample, by reason, the largest loss first."""
    seconds: dict[LossReason, float] = {}
    count: Counter[LossReason] = Counter()
    for clip in media:
        if clip.kind == "image":
            continue
        kept_s = sum(sample.duration_s for sample in clip.samples)
        lost_s = clip.duration_s - kept_s
        if lost_s <= 0.001:
            continue
        blocking = [flag.id for flag in clip.flags if flag.severity == "block"]
        soundless = any(flag.id == "av_length_mismatch" and flag.severity == "warn" for flag in clip.flags)
        reason: LossReason = blocking[0] if blocking else "av_length_mismatch" if soundless else "remainder"
        seconds[reason] = seconds.get(reason, 0.0) + lost_s
        count[reason] += 1
    by_loss = sorted(seconds.items(), key=lambda item: -item[1])
    return [Lost(reason=reason, seconds=round(value, 3), clips=count[reason]) for reason, value in by_loss]


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    p10, p50, p90 = (round(float(value), 4) for value in np.percentile(known, (10, 50, 90)))
    return Spread(p10=p10, p50=p50, p90=p90)


def _picture_distance(scenes: Sequence[Sequence[str]]) -> float | None:
    """The median over pairs of clips of how different their middle pictures are; 32 of 64 bits is unrelated."""
    chosen = scenes[:: max(1, len(scenes) // MOST_COMPARED)]
    if len(chosen) < 2:
        return None
    bits = bits_apart([scene[len(scene) // 2] for scene in chosen])
    pairs = bits[np.triu_indices(len(chosen), 1)]
    return round(min(1.0, float(np.median(pairs)) / 32), 3)


def _aspect(width: int, height: int) -> str:
    """The common name of the shape, if one is within two per cent, else the ratio."""
    ratio = width / height
    for name, value in (
        ("16:9", 16 / 9),
        ("9:16", 9 / 16),
        ("4:3", 4 / 3),
        ("3:4", 3 / 4),
        ("1:1", 1.0),
        ("21:9", 2.35),
    ):
        if abs(ratio / value - 1) < 0.02:
            return name
    divisor = gcd(width, height)
    if max(width, height) // divisor <= 20:
        return f"{width // divisor}:{height // divisor}"
    return f"{ratio:.2f}:1"
