"""The twelve golden plans: each was reviewed line by line; a change of one is a change of what people are advised."""

from pathlib import Path

import pytest

from trainer_core.config import parse_config
from trainer_core.data.buckets import least_tail, parse_buckets

from .situations import GOLDEN, SITUATIONS, Item, drafted, report_of


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_plan_is_the_reviewed_one(name: str, tmp_path: Path) -> None:
    made = drafted(name, tmp_path)
    assert made == (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"), (
        "The plan changed: read the difference as an expert would, then `python -m tests.tools.draft.situations`."
    )
    assert len(parse_config(made).validation.samples) >= 2
    assert str(tmp_path) not in made


def test_different_amounts_get_different_plans() -> None:
    plans = [parse_config((GOLDEN / f"{name}.yaml").read_text()) for name in ("clips_5", "photos_30", "clips_2000")]
    values = [(plan.optimization.steps, plan.optimization.batch_size, plan.lora.rank) for plan in plans if plan.lora]
    assert len(set(values)) == 3
    together = [plan.optimization.batch_size * plan.optimization.gradient_accumulation_steps for plan in plans]
    assert together == [1, 4, 4]


@pytest.mark.parametrize("name", SITUATIONS)
def test_most_samples_are_no_stubs(name: str, tmp_path: Path) -> None:
    report = report_of(SITUATIONS[name]().items, tmp_path)
    frames = [
        parse_buckets(sample.bucket)[0].frames
        for clip in report.clips
        if clip.kind == "video"
        for sample in clip.samples
        if sample.bucket
    ]
    assert all(length >= least_tail(max(frames)) for length in frames)


def test_clips_far_shorter_than_most_seconds_are_left_out_with_a_reason(tmp_path: Path) -> None:
    items = [Item(f"{number:02d}.mp4", seconds=0.5) for number in range(50)] + [Item("long.mp4", seconds=60.0)]
    report = report_of(items, tmp_path)
    assert [clip.path for clip in report.clips if clip.samples] == ["long.mp4"]
    flags = [flag for flag in report.clips[0].flags if flag.id == "too_short"]
    assert "9 frames" in flags[0].message
    assert "--buckets" in flags[0].remedy
