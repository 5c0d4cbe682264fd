"""Makes checkpoint_keys.json: every key and shape of the released transformer files, text projections included.

    python tests/golden/make_checkpoint_keys.py

Blocks are written once, their number as N. The numbers of keys are checked against the released files: the pack of 2.5
has 4,349 in its transformer file (the text projections are in another one).
"""

import itertools
import json
from pathlib import Path

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors

from trainer_core.model.names import TRANSFORMER_PREFIX, connectors_to_upstream, to_upstream
from trainer_core.model.versions import TRANSFORMER

PATH = Path(__file__).with_name("checkpoint_keys.json")
CONNECTORS_SINCE_2_3 = {
    "video_connector_num_attention_heads": 32,
    "video_connector_num_layers": 8,
    "video_gated_attn": True,
    "audio_connector_num_attention_heads": 32,
    "audio_connector_attention_head_dim": 64,
    "audio_connector_num_layers": 8,
    "audio_gated_attn": True,
    "per_modality_projections": True,
    "proj_bias": True,
}


def released(version: str) -> tuple[LTX2VideoTransformer3DModel, LTX2TextConnectors]:
    """The released transformer and connectors of a version, every parameter on meta."""
    with torch.device("meta"):
        transformer = LTX2VideoTransformer3DModel(**TRANSFORMER[version])  # type: ignore[index]
        connectors = LTX2TextConnectors(rope_type="split", **({} if version == "2.0" else CONNECTORS_SINCE_2_3))
    return transformer, connectors


def patterns(shapes: dict[str, tuple[int, ...]]) -> dict[str, list[int]]:
    """Keys with the number of each block as N; every block has the same shapes, or this fails."""
    found: dict[str, list[int]] = {}
    for key, shape in sorted(shapes.items()):
        parts = key.split(".")
        for before, part in itertools.pairwise(parts):
            if part.isdigit() and before.endswith("blocks"):
                parts[parts.index(before) + 1] = "N"
        pattern = ".".join(parts)
        assert found.setdefault(pattern, list(shape)) == list(shape), key
    return found


def main() -> None:
    lines = []
    for version in TRANSFORMER:
        transformer, connectors = released(version)
        shapes = {f"{TRANSFORMER_PREFIX}{to_upstream(k)}": tuple(v.shape) for k, v in transformer.state_dict().items()}
        shapes |= {connectors_to_upstream(k): tuple(v.shape) for k, v in connectors.state_dict().items()}
        rows = [f"  {json.dumps(key)}: {json.dumps(shape)}" for key, shape in patterns(shapes).items()]
        lines.append(f' "{version}": {{"keys": {len(shapes)}, "shapes": {{\n' + ",\n".join(rows) + "\n }}")
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
