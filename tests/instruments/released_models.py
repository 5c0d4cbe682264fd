"""The released models' transformers: of real size without weights, for arithmetic and traces; narrower with them."""

from typing import Any

import torch

from trainer_core.model.source import Version
from trainer_core.model.versions import TRANSFORMER


def released_transformer(version: Version, layers: int | None = None) -> Any:
    """The transformer of a released version in bf16, every parameter on meta; `layers` blocks instead of its 48."""
    from diffusers import LTX2VideoTransformer3DModel

    options = dict(TRANSFORMER[version])
    if layers is not None:
        options["num_layers"] = layers
    with torch.device("meta"):
        return torch.nn.Module.to(LTX2VideoTransformer3DModel(**options), torch.bfloat16).requires_grad_(False)


def narrow_transformer(version: Version, heads: int, video_head: int, audio_head: int, layers: int) -> Any:
    """The released blocks, fewer and narrower: `heads` heads of so many channels; random weights in float32."""
    from diffusers import LTX2VideoTransformer3DModel

    return LTX2VideoTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=video_head,
        cross_attention_dim=heads * video_head,
        audio_num_attention_heads=heads,
        audio_attention_head_dim=audio_head,
        audio_cross_attention_dim=heads * audio_head,
        num_layers=layers,
        **TRANSFORMER[version],
    )
