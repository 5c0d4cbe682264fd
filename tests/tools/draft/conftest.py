"""Projects whose report and captions are written as inspection and captioning leave them; the clips need no content."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.inspect.report.objectives import judge_objectives
from tools.inspect.report.report import Audio, BucketCount, Clip, Flag, Report, Sample, Seconds, Summary
from tools.project import Project, ProjectFacts
from trainer_core.files import write_json, write_jsonl

TOO_SHORT = Flag(id="too_short", severity="block", message="it has 5 frames, fewer than 9", remedy="Use a longer clip.")


def make_clip(path: str, audio: str = "ok", status: str = "ok", **changes: Any) -> Clip:
    """One clip of a report; `audio` is its audio status."""
    samples = [Sample(start_s=index * 0.75, duration_s=17 / 24, bucket="96x64x17") for index in range(2)]
    entry = {
        "source": "/footage",
        "path": path,
        "sha256": f"sha-of-{path}",
        "kind": "video",
        "status": status,
        "audio": Audio(status=audio),  # type: ignore[arg-type]
        "samples": samples if status == "ok" else [],
        "flags": [] if status == "ok" else [TOO_SHORT],
    }
    return Clip(**{**entry, **changes})


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Write a project with these clips, every usable one captioned."""

    def make(clips: list[Clip], **facts: Any) -> Project:
        project = Project(tmp_path / "project")
        project.write_facts(ProjectFacts(sources=["/footage"], **facts))
        counts = dict.fromkeys(("flagged", "unreadable", "other", "videos", "images", "audio_files", "samples"), 0)
        usable = [clip for clip in clips if clip.status == "ok"]
        report = Report(
            summary=Summary(
                files=len(clips), ok=len(usable), unusable=len(clips) - len(usable), frame_rate=24.0, **counts
            ),
            objectives=judge_objectives(clips),
            buckets=[BucketCount(width=96, height=64, frames=17, clips=len(usable))],
            seconds=Seconds(total=12.0, kept=9.5, discarded=2.5),
            clips=clips,
        )
        write_json(project.report_path, report.model_dump())
        captions = [
            {
                "path": clip.path,
                "sha256": clip.sha256,
                "caption": f"What {clip.path} shows.",
                "source": "measured",
                "needs_review": True,
            }
            for clip in usable
        ]
        write_jsonl(project.captions_path, captions)
        return project

    return make
