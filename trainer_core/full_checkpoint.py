"""Full checkpoints: the file that a full training run saves, and any such file read back.

While it trains, a run saves what the transformer's file of a split pack holds: the transformer under upstream's keys,
the base's text connectors and the base's metadata. ComfyUI, the official tools and our own reader open that beside the
base. VAEs, vocoder and text projections never change, so each save leaves their gigabytes out: `export` adds them.
"""

import json
from pathlib import Path

import torch
from torch import nn

from trainer_core.adapters import AdapterFacts, refuse_second_save, without_prefix
from trainer_core.errors import ConfigError
from trainer_core.model.names import TRANSFORMER_PREFIX, beside_the_transformer, to_diffusers, to_upstream
from trainer_core.model.source import ModelSource
from trainer_core.weights_file import Stored, stored_tensor, write_stored

_OTHER_COMPONENTS = ("vae", "audio_vae", "vocoder")
_SAME = ("format", "model_version")
_FACTS = frozenset(
    {
        "base_model", "base_fingerprint", "objective", "step", "trainer", "rank", "ema_decay",
        "reference_downscale_factor", "reference_spatial_scale_factor", "ss_reference_downscale_factor",
        "reference_temporal_scale_factor",
    }
)  # fmt: skip


def full_weights(transformer: nn.Module, dtype: torch.dtype) -> list[Stored]:
    """Every weight of the transformer under upstream's keys; each comes to the CPU, in `dtype`, when it is written."""
    return [
        stored_tensor(f"{TRANSFORMER_PREFIX}{to_upstream(name)}", tensor, dtype)
        for name, tensor in transformer.state_dict().items()
    ]


def save_full(path: Path, transformer: nn.Module, facts: AdapterFacts, source: ModelSource, dtype: torch.dtype) -> None:
    """Write the checkpoint of a full run whose base is `source`. The connectors are copied byte for byte.

    Never overwrites: raises ConfigError when the file exists, ExternalError when the disk has no room for it.
    """
    refuse_second_save(path)
    tensors = [*full_weights(transformer, dtype), *source.connector_weights(projections=False)]
    write_stored(path, tensors, transformer_only(trained_metadata(source.reader_metadata(), facts.metadata())))


def trained_metadata(base: dict[str, str], facts: dict[str, str]) -> dict[str, str]:
    """The base's own metadata, and `facts` of the run; what the base says of a run that made it is left out."""
    kept = {name: value for name, value in base.items() if name not in _FACTS}
    return {**kept, **{name: value for name, value in facts.items() if name not in kept or name not in _SAME}}


def facts_in(metadata: dict[str, str]) -> dict[str, str]:
    """Return a checkpoint's metadata about the run that made it."""
    return {name: value for name, value in metadata.items() if name in _FACTS or name == "format"}


def transformer_only(metadata: dict[str, str]) -> dict[str, str]:
    """`metadata` for a file without VAEs: a config with an entry of theirs would make it pass for a unified file."""
    config = json.loads(metadata["config"])
    if not any(name in config for name in _OTHER_COMPONENTS):
        return metadata
    own = {name: entry for name, entry in config.items() if name not in _OTHER_COMPONENTS}
    return {**metadata, "config": json.dumps(own)}


def load_full(transformer: nn.Module, path: Path) -> None:
    """Load a full checkpoint (upstream's or diffusers' keys) into `transformer`; weights stream from the file.

    Parts of a model beside the transformer are passed over. Raises ConfigError naming the first weight that is missing,
    unknown or of another shape.
    """
    from safetensors import SafetensorError, safe_open

    wanted = transformer.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            keys = [key for key in file.keys() if not beside_the_transformer(key)]  # noqa: SIM118
            names = {to_diffusers(without_prefix(key)): key for key in keys}
            odd = sorted(set(wanted) ^ set(names))
            if odd:
                state = "is missing" if odd[0] in wanted else "is unknown"
                raise ConfigError(
                    f"{path} is no full checkpoint of this model: {odd[0]} {state} ({len(odd)} such weights).",
                    "Give a file that a full run of this LTX version saved.",
                )
            for name, key in names.items():
                tensor = file.get_tensor(key)
                if tensor.shape != wanted[name].shape:
                    raise ConfigError(
                        f"{path}: {name} is {tuple(tensor.shape)}, the model's is {tuple(wanted[name].shape)}.",
                        "Give a file of the same LTX version.",
                    )
                wanted[name].copy_(tensor)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} is not a readable safetensors file: {error}.", "Give a full checkpoint.") from error
