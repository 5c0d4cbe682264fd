"""The header of a safetensors file of an LTX model: version, config, and the part that each key belongs to."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer_core.errors import ConfigError
from trainer_core.model.names import CONNECTOR_HEADS, TRANSFORMER_PREFIX
from trainer_core.model.source import Part, Version

Shapes = dict[str, tuple[int, ...]]

CONFIG_KEY: dict[Part, str] = {
    "transformer": "transformer",
    "connectors": "transformer",
    "video_vae": "vae",
    "audio_vae": "audio_vae",
    "vocoder": "vocoder",
}
PREFIXES: dict[Part, str] = {"video_vae": "vae.", "audio_vae": "audio_vae.", "vocoder": "vocoder."}
_UNSUPPORTED_DTYPES = {"F8_E4M3", "F8_E5M2", "U8", "I8"}
_USED_STATISTICS = ("per_channel_statistics.mean-of-means", "per_channel_statistics.std-of-means")


@dataclass(frozen=True)
class WeightsFile:
    """One safetensors file: its metadata and the shapes of its tensors, read from the header alone."""

    path: Path
    version: Version
    config: dict[str, Any]
    shapes: Shapes
    distilled: bool = False
    metadata: dict[str, str] = field(default_factory=dict)

    def holds(self, part: Part) -> bool:
        return next(iter(part_keys(part, self)), None) is not None


def read_header(path: Path) -> WeightsFile:
    """Read what a safetensors file says about itself.

    Raises ConfigError for a truncated or foreign file, an fp8 or int8 one and an unknown version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            shapes = {key: tuple(one.get_shape()) for key, one in slices.items()}
            # a text encoder's file keeps its tokenizer as bytes (U8): only what is called a weight is one
            dtypes = {one.get_dtype() for key, one in slices.items() if key.endswith(".weight")}
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path} is not a whole safetensors file ({error}).", "Download it again; pickles are never read."
        ) from error
    if found := sorted(dtypes & _UNSUPPORTED_DTYPES):
        raise ConfigError(
            f"{path} holds {', '.join(found)} weights; training needs the bf16 base.", "Use the dev checkpoint in bf16."
        )
    config = _metadata_config(path, metadata)
    said = f"{path.name} {metadata.get('model_version', '')} {metadata.get('model_name', '')}".lower()
    return WeightsFile(path, _version_of(path, metadata), config, shapes, "distilled" in said, metadata)


def part_keys(part: Part, file: WeightsFile) -> Iterator[str]:
    """The keys in `file` that belong to `part`."""
    for key in file.shapes:
        if "per_channel_statistics." in key and not key.endswith(_USED_STATISTICS):
            continue
        bare = key.removeprefix(TRANSFORMER_PREFIX)
        if part in ("transformer", "connectors"):
            in_connectors = bare.startswith(CONNECTOR_HEADS)
            in_transformer = key.startswith(TRANSFORMER_PREFIX) or bare.startswith(
                ("transformer_blocks.", "patchify_proj.")
            )
            if in_connectors if part == "connectors" else in_transformer and not in_connectors:
                yield key
        elif key.startswith(PREFIXES[part]) or set(file.config) == {CONFIG_KEY[part]}:
            yield key


def _metadata_config(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        config = json.loads(metadata.get("config", "{}"))
    except ValueError as error:
        raise ConfigError(f"{path}: the `config` in its metadata is not JSON.", "Download it again.") from error
    return config if isinstance(config, dict) else {}


def _version_of(path: Path, metadata: dict[str, str]) -> Version:
    said = metadata.get("model_version", "")
    match = re.match(r"v?(2\.\d+|2)\b", said)
    version = {"2": "2.0"}.get(match.group(1), match.group(1)) if match else ""
    if version == "2.0":
        return "2.0"
    if version == "2.3":
        return "2.3"
    if version == "2.5":
        return "2.5"
    raise ConfigError(
        f"{path} says model_version {said or 'nothing'}; known are 2.0, 2.3 and 2.5.",
        "Use an official LTX-2 checkpoint with its metadata.",
    )
