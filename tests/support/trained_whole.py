"""Full training of the tiny model on a base of any layout: the base, a trained transformer, its predictions."""

from pathlib import Path
from typing import Any

import torch
from layouts import write_folder, write_released, write_released_pack

from trainer_core.adapters import AdapterFacts
from trainer_core.model.load import open_model
from trainer_core.model.ltx import LtxModel, ModalityInput
from trainer_core.model.source import Version
from trainer_core.model.tiny import TinySource
from trainer_core.sections.run import ModelSection

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")
LAYOUTS = ("unified", "pack", "folder", "tiny")


def base_of(layout: str, version: Version, folder: Path) -> Any:
    """A base of the layout as its publisher would write it, opened."""
    if layout == "tiny":
        return TinySource(version)
    folder.mkdir()
    write = {"unified": write_released, "pack": write_released_pack, "folder": write_folder}[layout]
    return open_model(ModelSection(model_path=str(write(folder, version))))


def trained_transformer(version: Version) -> Any:
    """A transformer whose every weight moved, in numbers that bfloat16 holds, as float32."""
    transformer = TinySource(version).transformer(torch.bfloat16)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).mul(0.02).to(parameter))
    return torch.nn.Module.to(transformer, torch.float32)


def facts_of(version: Version, step: int = 7) -> AdapterFacts:
    """What a full text-to-video run says about itself."""
    return AdapterFacts(version, "base", "fingerprint", "t2v", step)


@torch.no_grad()
def predict(transformer: Any, version: Version) -> torch.Tensor:
    """The predictions of both modalities at given inputs, one after the other. [(4 + 3)·128]"""
    generator = torch.Generator().manual_seed(0)
    widths = TinySource(version).widths
    model = LtxModel(transformer)

    def side(positions: torch.Tensor, text: int) -> ModalityInput:
        tokens = positions.shape[2]
        return ModalityInput(
            tokens=torch.randn(1, tokens, 128, generator=generator),
            timesteps=torch.full((1, tokens), 0.4),
            sigma=torch.tensor([0.4]),
            positions=positions,
            context=torch.randn(1, 8, text, generator=generator),
        )

    video = side(transformer.rope.prepare_video_coords(1, 1, 2, 2, "cpu", fps=24.0), widths.video_text)
    audio = side(transformer.audio_rope.prepare_audio_coords(1, 3, "cpu"), widths.audio_text)
    return torch.cat([output.flatten() for output in model(video, audio)])
