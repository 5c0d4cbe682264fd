"""Memory for encoding captions before training: text encoder, projections, hidden states. No torch."""

from trainer_core.memory.cell import Version
from trainer_core.memory.sizes import RELEASED, TEXT_ENCODER_WEIGHTS, Dimensions

TEXT_ENCODER_LAYERS = 48
_HIDDEN_STATES = TEXT_ENCODER_LAYERS + 1
_EMBEDDING_WEIGHTS = 1.0e9
"""262,144 words of 3,840 channels, which 8 bits leave alone."""


def text_encoder_bytes(*, in_8bit: bool) -> int:
    """Its weights: in bf16, or one byte a weight of its linear layers."""
    if not in_8bit:
        return round(2 * TEXT_ENCODER_WEIGHTS)
    return round(2 * _EMBEDDING_WEIGHTS + (TEXT_ENCODER_WEIGHTS - _EMBEDDING_WEIGHTS))


def prompt_bytes(layers: int, tokens: int, channels: int, element_bytes: int = 2) -> int:
    """Return the peak of a caption's features: ten times the hidden states of all layers, stacked and normalised.

    A test holds it to counted tensors.
    """
    return 10 * layers * tokens * channels * element_bytes


def encoding_peak_bytes(
    version: Version, text_tokens: int, allocator_share: float, size: Dimensions = RELEASED, *, in_8bit: bool
) -> int:
    """Return the allocator's peak while captions are encoded; other sizes count by the square of their width.

    `allocator_share`: its rounding, as a share of what comes and goes.
    """
    scale = (size.video / RELEASED.video) ** 2
    widths = size.caption if version == "2.0" else size.text_video + size.text_audio
    projections = 2 * _HIDDEN_STATES * size.caption * widths
    states = prompt_bytes(_HIDDEN_STATES, text_tokens, size.caption)
    return round(text_encoder_bytes(in_8bit=in_8bit) * scale) + projections + round(states * (1 + allocator_share))
