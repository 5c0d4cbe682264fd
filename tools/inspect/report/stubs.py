"""Clips so short beside the others that they would take most of the training's steps and teach no motion."""

from collections.abc import Sequence

from tools.inspect.report.report import Clip, Flag, Sample
from trainer_core.data.buckets import least_tail

MOST_STUBS = 1 / 3
"""The share of samples that may be shorter than half of the usual length."""


def without_many_stubs(clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips, without the samples of those far shorter than the usual length where these would be many.

    The usual length is that of the sample in the middle of all seconds; clips that lose their samples are flagged.
    """
    lengths = sorted(_frames(sample) for clip in clips if clip.kind == "video" for sample in clip.samples)
    usual = _weighted_median(lengths)
    stubs = sum(frames < least_tail(usual) for frames in lengths)
    if stubs <= MOST_STUBS * len(lengths):
        return list(clips)
    return [_without_samples(clip, usual) if _is_stub(clip, usual) else clip for clip in clips]


def _is_stub(clip: Clip, usual: int) -> bool:
    return clip.kind == "video" and bool(clip.samples) and all(_frames(one) < least_tail(usual) for one in clip.samples)


def _without_samples(clip: Clip, usual: int) -> Clip:
    longest = max(_frames(sample) for sample in clip.samples)
    flag = Flag(
        id="too_short",
        severity="warn",
        value=longest,
        threshold=least_tail(usual),
        message=f"It fills a sample of {longest} frames where most seconds are in samples of {usual}: many such stubs "
        "would take most of the steps and teach hardly any motion, so it is left out.",
        remedy="Use longer takes; or inspect with `--buckets` that name the short length, and all clips are cut to it.",
    )
    status = "flagged" if clip.status == "ok" else clip.status
    return clip.model_copy(update={"samples": [], "flags": [*clip.flags, flag], "status": status})


def _weighted_median(lengths: Sequence[int]) -> int:
    """The length at which half of all frames is reached, from the shortest on; 0 for none."""
    reached = 0
    for length in lengths:
        reached += length
        if 2 * reached >= sum(lengths):
            return length
    return 0


def _frames(sample: Sample) -> int:
    return int(sample.bucket.rsplit("x", 1)[1]) if sample.bucket is not None else 0
