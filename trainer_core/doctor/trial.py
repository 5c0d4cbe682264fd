"""A small fixed batch of seeded noise through the base, with an adapter and without: for files whose clips aren't here.

The adapter acts through hooks, so that the base's own weights stay as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer_core.lora.act import act_on, linears_of
from trainer_core.lora.file import LoraFile
from trainer_core.model.ltx import LtxModel, ModalityInput, context_widths

GRID, AUDIO_FRAMES, TEXT_TOKENS = (2, 4, 4), 13, 16
"""So few tokens that the largest base is read from the disk for longer than it computes."""
FRAME_RATE, SIGMA, SEED = 24.0, 0.625, 0

Prediction = tuple[Tensor | None, Tensor | None]
"""What the model predicts of video and of audio."""


@torch.no_grad()
def change_on_noise(model: LtxModel, adapter: LoraFile) -> dict[str, float]:
    """‖with − without‖ / ‖without‖ of the predicted velocity, per modality, under what `adapter` changes."""
    inputs = _inputs(model)
    without = model(*inputs)
    with _acting(model.transformer, adapter):
        return relative_changes(model(*inputs), without)


def relative_changes(with_adapter: Prediction, without: Prediction) -> dict[str, float]:
    """‖with − without‖ / ‖without‖ of each modality that was predicted."""
    found = {}
    for name, on, off in zip(("video", "audio"), with_adapter, without, strict=True):
        if on is not None and off is not None:
            reference = float(torch.linalg.vector_norm(off.float()))
            found[name] = float(torch.linalg.vector_norm(on.float() - off.float())) / max(reference, 1e-12)
    return found


@contextmanager
def _acting(transformer: nn.Module, adapter: LoraFile) -> Iterator[None]:
    layers = linears_of(transformer)
    handles = [act_on(layers[name], change, adapter.magnitudes.get(name)) for name, change in adapter.changes.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _inputs(model: LtxModel) -> tuple[ModalityInput, ModalityInput]:
    config, generator = model.transformer.config, torch.Generator().manual_seed(SEED)
    video_text, audio_text = context_widths(config)

    def side(tokens: int, channels: int, positions: Tensor, width: int) -> ModalityInput:
        return ModalityInput(
            tokens=torch.randn(1, tokens, channels, generator=generator),
            timesteps=torch.full((1, tokens), SIGMA),
            sigma=torch.tensor([SIGMA]),
            positions=positions,
            context=torch.randn(1, TEXT_TOKENS, width, generator=generator),
        )

    frames, rows, columns = GRID
    video = model.video_positions(GRID, torch.tensor([FRAME_RATE]))
    audio = model.audio_positions(1, AUDIO_FRAMES, torch.device("cpu"))
    return (
        side(frames * rows * columns, config.in_channels, video, video_text),
        side(AUDIO_FRAMES, config.audio_in_channels, audio, audio_text),
    )
