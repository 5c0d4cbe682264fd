"""The largest sample of a dataset, alone in a folder, as often as a batch takes: what a rehearsal trains on.

Where it is encoded already, its own files are linked; else files of the same shapes are made of random numbers.
"""

from pathlib import Path
from typing import Any

import torch

from trainer_core.config import TrainingConfig, is_tiny
from trainer_core.data.buckets import Bucket
from trainer_core.data.samples import SampleFiles, find_samples, leave_out_of
from trainer_core.data.windows import training_windows
from trainer_core.errors import DataError, LtxError
from trainer_core.memory.plan import AUDIO_LATENTS_A_SECOND, TEXT_TOKENS, TINY_TEXT_TOKENS
from trainer_core.memory.sizes import RELEASED, Dimensions
from trainer_core.model.load import open_model
from trainer_core.objective import Objective, VaeFactors, objective_of
from trainer_core.sections.own import EvaluationSection

REHEARSED_STEPS = 10


def worst_data(config: TrainingConfig, folder: Path) -> tuple[TrainingConfig, str, bool]:
    """Return the config on its largest sample alone, what that sample is, and whether it is a real one.

    Raises DataError when neither the dataset nor the cache says what samples there are.
    """
    objective = objective_of(config.strategy)
    source = open_model(config.model)
    root = folder / "data"
    encoded = _encoded(config, objective, source.factors)
    if encoded is not None:
        _link(encoded, root, config.optimization.batch_size)
        what, real = f"{encoded.name} {_grids(encoded)}", True
    else:
        bucket, seconds, frame_rate = _declared(config)
        size = _text_widths(config, source.version)
        _write(root, objective, config, bucket, seconds, frame_rate, source.factors, size)
        what, real = f"{bucket or ''} {seconds:.1f} s, random numbers (not encoded yet)".strip(), False
    small = config.model_copy(
        update={
            "data": config.data.model_copy(update={"preprocessed_data_root": str(root), "num_dataloader_workers": 0}),
            "optimization": config.optimization.model_copy(update={"steps": REHEARSED_STEPS}),
            "ltx_agent": config.ltx_agent.model_copy(update={"dataset": None, "evaluation": EvaluationSection()}),
        }
    )
    return small, what, real


def _encoded(config: TrainingConfig, objective: Objective, factors: VaeFactors) -> SampleFiles | None:
    """The largest sample in the cache, provided that everything the dataset declares is there."""
    declared = None if config.ltx_agent.dataset is None else [window.name for window in training_windows(config)]
    try:
        root, leave_out = Path(config.data.preprocessed_data_root), leave_out_of(config)
        samples = find_samples(root, objective, factors, declared, leave_out)
    except LtxError:
        return None
    return max(samples, key=lambda sample: (_cost(sample), sample.name))


def _cost(sample: SampleFiles) -> float:
    """Tokens, a video one counted twice: its layers are twice as wide."""
    total = 0.0
    for side, grid in sample.shape:
        if side == "text":
            continue
        count = 1
        for length in grid:
            count *= length
        total += count * (2 if side.startswith("video") else 1)
    return total


def _grids(sample: SampleFiles) -> str:
    return ", ".join(f"{side} {'x'.join(map(str, grid))} latents" for side, grid in sample.shape if side != "text")


def _link(sample: SampleFiles, root: Path, copies: int) -> None:
    for directory, path in sample.paths.items():
        for number in range(copies):
            target = root / directory / f"worst-{number}.pt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.absolute())


def _declared(config: TrainingConfig) -> tuple[Bucket | None, float, float]:
    windows = training_windows(config) if config.ltx_agent.dataset is not None else []
    if not windows:
        raise DataError("Nothing says what the samples are.", "Draft a dataset, or encode it, before rehearsing.")
    worst = max(windows, key=lambda window: (window.bucket.tokens if window.bucket else 0, window.duration_s))
    rate = config.ltx_agent.frame_rate or 24.0
    return worst.bucket, max(window.duration_s for window in windows), rate


def _text_widths(config: TrainingConfig, version: str) -> tuple[int, int, int]:
    """Tokens and widths of the text features before the connectors."""
    tiny = is_tiny(config.model.model_path)
    size = Dimensions(caption=32, text_video=64, text_audio=32) if tiny else RELEASED
    tokens = TINY_TEXT_TOKENS if tiny else TEXT_TOKENS
    return (tokens, size.caption, size.caption) if version == "2.0" else (tokens, size.text_video, size.text_audio)


def _write(
    root: Path,
    objective: Objective,
    config: TrainingConfig,
    bucket: Bucket | None,
    seconds: float,
    frame_rate: float,
    factors: VaeFactors,
    text: tuple[int, int, int],
) -> None:
    tokens, video_width, audio_width = text
    spatial, temporal = config.ltx_agent.reference_spatial_scale, config.ltx_agent.reference_temporal_scale
    frames = max(round(seconds * AUDIO_LATENTS_A_SECOND), 1)
    grid = None
    if bucket is not None:
        grid = (factors.latent_frames(bucket.frames), bucket.height // factors.height, bucket.width // factors.width)
    made: dict[str, dict[str, Any]] = {}
    for directory, column in objective.columns().items():
        if column == "caption":
            made[directory] = {
                "video_prompt_embeds": torch.randn(tokens, video_width).to(torch.bfloat16),
                "audio_prompt_embeds": torch.randn(tokens, audio_width).to(torch.bfloat16),
                "prompt_attention_mask": torch.arange(tokens) >= tokens // 2,
            }
        elif column == "audio" or column.startswith("reference_audio"):
            made[directory] = {"latents": torch.randn(8, frames, 16).to(torch.bfloat16), "num_time_steps": frames}
        elif column == "audio_mask":
            made[directory] = {"mask": (torch.arange(frames) % 2).float()}
        else:
            assert grid is not None, "the objective has pictures"
            if column == "video_mask":
                made[directory] = {"mask": (torch.arange(grid[0] * grid[1] * grid[2]).view(grid) % 2).float()}
                continue
            own = grid
            if column.startswith("reference_video"):
                own = ((grid[0] - 1) // temporal + 1, max(grid[1] // spatial, 1), max(grid[2] // spatial, 1))
            made[directory] = {
                "latents": torch.randn(128, *own).to(torch.bfloat16),
                "num_frames": own[0],
                "height": own[1],
                "width": own[2],
                "fps": frame_rate,
            }
    for directory, content in made.items():
        for number in range(config.optimization.batch_size):
            path = root / directory / f"worst-{number}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(content, path)
