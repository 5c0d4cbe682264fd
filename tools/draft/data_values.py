"""The config's values that say what the clips were cut to and where things lie, each with its reason."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tools.draft.coverage import kinds_counted
from tools.draft.heldout import Split
from tools.inspect.report.report import Clip
from tools.project import ProjectFacts
from trainer_core.config import is_tiny
from trainer_core.data.buckets import parse_buckets
from trainer_core.units import counted

SAME_RATE = 0.01
"""Rates that differ by less, such as 23.976 and 24, are one."""
MUCH_LARGER = 10
"""Pictures with this many times the area of the largest bucket lose detail that a person may want to keep."""


def data_values(
    facts: ProjectFacts, training: Sequence[Clip], split: Split, frame_rate: float | None
) -> dict[str, tuple[Any, str]]:
    """Return values by dotted key with their reasons; `frame_rate` is None where no pictures are trained on."""
    samples = sum(len(clip.samples) for clip in training)
    clips = kinds_counted({clip.kind for clip in training}, len(training))
    found: dict[str, tuple[Any, str]] = {
        "ltx_agent.dataset": (
            "dataset.jsonl",
            f"{clips}, {counted(samples, 'sample')}; held out: {split.reason}",
        )
    }
    buckets = Counter(sample.bucket for clip in training for sample in clip.samples if sample.bucket is not None)
    if buckets:
        sizes = ", ".join(f"{count} of {bucket}" for bucket, count in buckets.most_common())
        spelled = ";".join(bucket for bucket, _ in buckets.most_common())
        why = f"width x height x frames, {_reduced(training, spelled)}: {sizes}"
        found["ltx_agent.buckets"] = (spelled, why)
    if frame_rate is not None:
        found["ltx_agent.frame_rate"] = (frame_rate, f"frames per second, {_resampled(training, frame_rate)}")
    if facts.trigger:
        found["ltx_agent.trigger"] = (facts.trigger, "put before each caption when text is encoded")
    workers = (0, "the samples are tiny too") if is_tiny(facts.model) else (2, "they read ahead of training")
    return {
        **found,
        "data.preprocessed_data_root": (".precomputed", "beside this file; encoding fills it"),
        "data.num_dataloader_workers": workers,
        "output_dir": ("runs", "beside this file; each run has a folder of its own"),
    }


def _reduced(training: Sequence[Clip], spelled: str) -> str:
    """Where the buckets' sizes come from; of much larger pictures, how to keep more is told."""
    sizes = [(clip.width, clip.height) for clip in training if clip.width and clip.height]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    largest = max(bucket.width * bucket.height for bucket in parse_buckets(spelled))
    if width * height < MUCH_LARGER * largest:
        return "from the clips"
    return f"reduced from up to {width}x{height} (`ltx-agent inspect --max-tokens` keeps more, for more memory)"


def _resampled(training: Sequence[Clip], rate: float) -> str:
    """How many clips have other rates than the working one, or a multiple of it."""
    rated = [clip.fps for clip in training if clip.kind == "video" and clip.fps]
    others = sum(abs(fps / (max(1, round(fps / rate)) * rate) - 1) > SAME_RATE for fps in rated)
    if others:
        return f"which suits most seconds: {others} of {counted(len(rated), 'clip')} are resampled"
    return "as the clips have" if rated else "the usual one: the clips don't say"
