"""Making and inspecting clips of every kind."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tools.inspect.tool import InspectArguments, InspectResult, inspect_clips
from tools.project import Project, ProjectFacts
from trainer_core.files import read_json


def _mosaic(size: tuple[int, int]) -> Callable[[int], np.ndarray]:
    """Pictures [H, W, 3] of one drifting mosaic, another for each size: sharp, clean, in motion, without a fault."""
    width, height = size
    tiles = np.random.default_rng(width * height).integers(20, 235, (height // 16 + 1, width // 8 + 2, 3), np.uint8)
    whole = tiles.repeat(16, axis=0).repeat(16, axis=1)[:height]
    return lambda index: np.roll(whole, -2 * index, axis=1)[:, :width]


def _write_clip(
    path: Path,
    *,
    frames: int = 50,
    rate: int = 25,
    size: tuple[int, int] = (192, 128),
    sound: np.ndarray | None = None,
    picture: Callable[[int], np.ndarray] | None = None,
    rate_hz: int = 48000,
    faststart: bool = False,
    times_s: Sequence[Fraction] | None = None,
) -> Path:
    """Write a mosaic that drifts by, or what `picture` draws, with the mono sound [N] given."""
    drift = _mosaic(size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"} if faststart else {}) as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        if times_s is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=rate_hz, layout="mono") if sound is not None else None
        for index in range(frames):
            drawn = picture(index) if picture else drift(index)
            shown = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            if times_s is not None:
                shown.time_base, shown.pts = Fraction(1, 1000), round(times_s[index] * 1000)
            container.mux(video.encode(shown))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def _tone(seconds: float, level: float = 0.3, rate_hz: int = 48000) -> np.ndarray:
    return level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)


class Inspection:
    """Inspect folders into a project of one's own and read the report back."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def run(self, *sources: Path, model: str = "tiny", frame_rate: float | None = None) -> InspectResult:
        self.project.write_facts(ProjectFacts(sources=[str(source) for source in sources], model=model))
        return inspect_clips(self.project, InspectArguments(frame_rate=frame_rate))

    def report(self) -> dict[str, Any]:
        return read_json(self.project.report_path)

    def clip(self, path: str) -> dict[str, Any]:
        return next(clip for clip in self.report()["clips"] if clip["path"] == path)

    def flags(self, path: str) -> dict[str, dict[str, Any]]:
        return {flag["id"]: flag for flag in self.clip(path)["flags"]}


@pytest.fixture
def inspection(tmp_path: Path) -> Inspection:
    return Inspection(Project(tmp_path / "project"))


@pytest.fixture
def untouched() -> Iterator[Callable[[Path], None]]:
    """Watch a folder: the test fails if anything in it was changed, added or removed."""
    watched: dict[Path, dict[str, tuple[int, int]]] = {}

    def state(folder: Path) -> dict[str, tuple[int, int]]:
        stats = {str(path): path.lstat() for path in (folder, *folder.rglob("*"))}
        return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}

    yield lambda folder: watched.update({folder: state(folder)})
    assert watched
    for folder, before in watched.items():
        assert state(folder) == before


@pytest.fixture
def write_clip() -> Callable[..., Path]:
    """`write_clip(path, frames=50, rate=25, size=(192, 128), sound=None, picture=None, …)`."""
    return _write_clip


@pytest.fixture
def tone() -> Callable[..., np.ndarray]:
    """`tone(seconds, level=0.3)`: mono samples at 48 kHz."""
    return _tone


@pytest.fixture
def mosaic() -> Callable[[tuple[int, int]], Callable[[int], np.ndarray]]:
    """`mosaic((width, height))(index)`: pictures without a fault."""
    return _mosaic
