"""The loader: batches ready against training time, and reading a cached sample against reading its bytes."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from trainer_core.config import parse_config
from trainer_core.data.encoding.cache import read_tensors
from trainer_core.objective import load_recipe, merged
from trainer_core.run_folder import create_run_folder
from trainer_core.training.loop import read_inputs
from trainer_core.training.optimizer_step import optimize
from trainer_core.training.setup import set_up

pytestmark = pytest.mark.bench

GRID, AUDIO_FRAMES = (7, 8, 14), 51  # 448x256x49 at 24 frames per second, as upstream stores it
SAMPLES = 24


def write_samples(root: Path, grid: tuple[int, int, int] = GRID) -> None:
    generator = torch.Generator().manual_seed(0)
    frames, height, width = grid
    for index in range(SAMPLES):
        contents = {
            "latents": {
                "latents": torch.randn(128, *grid, generator=generator).bfloat16(),
                "num_frames": frames,
                "height": height,
                "width": width,
                "fps": 24.0,
            },
            "audio_latents": {"latents": torch.randn(8, AUDIO_FRAMES, 16, generator=generator).bfloat16()},
            "conditions": {
                "video_prompt_embeds": torch.randn(512, 64, generator=generator).bfloat16(),
                "audio_prompt_embeds": torch.randn(512, 32, generator=generator).bfloat16(),
                "prompt_attention_mask": torch.arange(512) > 300,
            },
        }
        for directory, content in contents.items():
            (root / directory).mkdir(parents=True, exist_ok=True)
            torch.save(content, root / directory / f"{index:02d}.pt")


def session(objective: str, folder: Path, workers: int):
    overlay = {
        "model": {"model_path": "tiny"},
        "data": {"preprocessed_data_root": str(folder / "latents"), "num_dataloader_workers": workers},
        "acceleration": {"mixed_precision_mode": "no"},
        "optimization": {"steps": 40, "enable_gradient_checkpointing": False},
    }
    config = parse_config(yaml.safe_dump(merged(load_recipe(objective), overlay)))
    return set_up(config, create_run_folder(folder / "runs"))


@pytest.mark.parametrize("objective", ["t2v", "t2a"])
def test_training_does_not_wait_for_data(tmp_path, record_ratio, objective):
    write_samples(tmp_path / "latents")
    running = session(objective, tmp_path, workers=1)
    inputs = read_inputs(running)
    rows = [optimize(running, inputs, step) for step in range(40)][5:]
    shares = [
        row.step_s.data / (row.step_s.data + row.step_s.forward + row.step_s.backward + row.step_s.optimizer)
        for row in rows
    ]
    record_ratio(
        f"data wait against the whole step, {objective}", statistics.median(shares), 0.02, "tiny 2.3, one worker"
    )


def forget_pages(paths: list[Path]) -> None:
    """Drop the files from the page cache: an epoch over a real dataset finds them on the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def median_seconds(run: Callable[[], object], repeats: int = 40, before: Callable[[], None] | None = None) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        if before is not None:
            before()
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def test_reading_a_cached_sample_against_its_bytes(tmp_path, record_ratio):
    """A sample of a real size (768x448x89): 128x12x14x24 latents and 1024 text tokens of 4096 + 2048."""
    root = tmp_path / "latents"
    write_samples(root, grid=(12, 14, 24))
    features = {
        "video_prompt_embeds": torch.randn(1024, 4096).bfloat16(),
        "audio_prompt_embeds": torch.randn(1024, 2048).bfloat16(),
        "prompt_attention_mask": torch.ones(1024, dtype=torch.bool),
    }
    torch.save(features, root / "conditions" / "00.pt")
    paths = [root / directory / "00.pt" for directory in ("latents", "audio_latents", "conditions")]

    def read_bytes() -> int:
        return sum(sum(path.read_bytes()[:: os.sysconf("SC_PAGE_SIZE")]) for path in paths)

    def read_sample() -> None:
        for path in paths:
            read_tensors(path)

    size = sum(path.stat().st_size for path in paths) / 2**20
    for state, forget in (("from the disk", True), ("from the page cache", False)):
        seconds = [
            median_seconds(read, before=(lambda: forget_pages(paths)) if forget else None)
            for read in (read_sample, read_bytes)
        ]
        name = f"reading a cached sample {state} against reading its bytes"
        record_ratio(name, seconds[0] / seconds[1], 1.5, f"{size:.1f} MiB in three files, {seconds[1] * 1000:.1f} ms")
