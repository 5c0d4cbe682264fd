"""A precomputed folder as upstream writes it, and a training config on it, for the tests of the trainer core."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from trainer_core.config import TrainingConfig, parse_config
from trainer_core.objective import load_recipe, merged

GRID, AUDIO_FRAMES, TEXT_TOKENS = (3, 2, 3), 18, 512


def write_precomputed(root: Path, names: list[str], *, video_width: int = 64, audio_width: int = 32) -> Path:
    """Write every directory that any objective reads, with random latents that depend on the sample's number alone."""
    frames, height, width = GRID
    for index, name in enumerate(names):
        generator = torch.Generator().manual_seed(index)

        def random(*shape: int, source: torch.Generator = generator) -> torch.Tensor:
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


@pytest.fixture
def precomputed(tmp_path: Path) -> Path:
    """Four samples with everything in them."""
    return write_precomputed(tmp_path / ".precomputed", [f"clips/clip {index}" for index in range(4)])


ConfigFor = Callable[..., TrainingConfig]


@pytest.fixture
def config_for(precomputed: Path) -> ConfigFor:
    """`config_for(objective, **overlay)`: a run of six steps on the tiny model in float32."""

    def build(objective: str, overlay: dict[str, Any] | None = None) -> TrainingConfig:
        small = {
            "model": {"model_path": "tiny"},
            "lora": {"rank": 4, "alpha": 8},
            "data": {"preprocessed_data_root": str(precomputed), "num_dataloader_workers": 0},
            "acceleration": {"mixed_precision_mode": "no"},
            "optimization": {"steps": 6, "learning_rate": 1e-3, "enable_gradient_checkpointing": False},
            "checkpoints": {"interval": None, "precision": "float32"},
        }
        document = merged(merged(load_recipe(objective), small), overlay or {})
        return parse_config(yaml.safe_dump(document))

    return build
