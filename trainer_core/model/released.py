"""The released models' transformers without weights: real sizes, on the meta device, for arithmetic and traces."""

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
