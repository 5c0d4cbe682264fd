"""LTX models in safetensors: one unified file, or a split pack of one file a component, with a Gemma folder.

Which version a file is, its own metadata says; sizes are read off its tensors; weights stream from disk part by part.
Source of the key names and of the settings that no tensor shows: diffusers' conversion of the official files.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer_core.errors import ConfigError
from trainer_core.model.folder import load_text_encoder
from trainer_core.model.names import to_diffusers
from trainer_core.model.source import InputWidths, Part, Placement, Version, input_widths, sampled_digest
from trainer_core.model.streaming import empty, fill
from trainer_core.model.versions import TRANSFORMER, USUAL_FACTORS, VIDEO_VAE
from trainer_core.objective import VaeFactors

Shapes = dict[str, tuple[int, ...]]

_TRANSFORMER = "model.diffusion_model."
_CONNECTOR_HEADS = ("video_embeddings_connector.", "audio_embeddings_connector.", "text_embedding_projection.")
_CONFIG_KEY: dict[Part, str] = {
    "transformer": "transformer",
    "connectors": "transformer",
    "video_vae": "vae",
    "audio_vae": "audio_vae",
    "vocoder": "vocoder",
}
_PREFIXES: dict[Part, str] = {"video_vae": "vae.", "audio_vae": "audio_vae.", "vocoder": "vocoder."}
_UNSUPPORTED_DTYPES = {"F8_E4M3", "F8_E5M2", "U8", "I8"}
_USED_STATISTICS = ("per_channel_statistics.mean-of-means", "per_channel_statistics.std-of-means")
_GEMMA_WIDTH = 3840  # hidden size of the text encoder of every released version


@dataclass(frozen=True)
class WeightsFile:
    """One safetensors file: its metadata and the shapes of its tensors, read from the header alone."""

    path: Path
    version: Version
    config: dict[str, Any]
    shapes: Shapes
    distilled: bool = False

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
            dtypes = {one.get_dtype() for one in slices.values()}
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
    return WeightsFile(path, _version_of(path, metadata), config, shapes, "distilled" in said)


class SafetensorsSource:
    """A model in safetensors files; each part comes from the file that holds it.

    A distilled model is refused unless `distilled_too`: it samples, but nothing can be trained on it.
    """

    def __init__(self, path: Path, overrides: dict[Part, Path], *, distilled_too: bool = False) -> None:
        main = read_header(path)
        self.distilled = main.distilled
        if main.distilled and not distilled_too:
            raise ConfigError(
                f"{path} is a distilled model: an adapter trained on it comes out dead.",
                "Train on the dev (base) checkpoint; the adapter works on the distilled one too.",
            )
        if not main.holds("transformer"):
            raise ConfigError(f"{path} holds no LTX-2 transformer.", "Give the checkpoint's main file.")
        self.root = path
        self.version: Version = main.version
        said = main.config.get("transformer", {}).get("vae_scale_factors", USUAL_FACTORS)
        self.factors = VaeFactors(*said)
        self._text_encoder = overrides.get("text_encoder")
        self._files: dict[Part, list[WeightsFile]] = {}
        others = _pack_mates(main) if "transformer" in main.config and "vae" not in main.config else []
        candidates = [main, *others]
        for part in _CONFIG_KEY:
            given = overrides.get(part)
            options = [read_header(given)] if given is not None else candidates
            holders = [file for file in options if file.holds(part)]
            if holders:
                # a split pack keeps the text projections with the text encoder, the connectors with the transformer
                self._files[part] = holders if part == "connectors" else holders[:1]
        for part, file in [(part, file) for part, files in self._files.items() for file in files]:
            if file.version != self.version:
                raise ConfigError(
                    f"{file.path} is the {part.replace('_', ' ')} of LTX-{file.version}, {path} is LTX-{self.version}.",
                    "Use files of one version.",
                )

    @property
    def label(self) -> str:
        return f"LTX-{self.version} ({self.root.name})"

    @property
    def widths(self) -> InputWidths:
        return input_widths(self._config("transformer"), self._config("connectors"))

    @property
    def layers(self) -> int:
        return int(self._config("transformer")["num_layers"])

    def file_of(self, part: Part) -> Path:
        """The file that holds `part`. Raises ConfigError when none does."""
        return self._parts(part)[0].path

    def fingerprint(self, part: Part) -> str:
        if part == "text_encoder":
            folder = self._encoder_folder()
            return f"text_encoder:{sampled_digest([*folder.glob('*.json'), *folder.glob('*.safetensors')])}"
        return f"{part}:{sampled_digest([file.path for file in self._parts(part)])}"

    def transformer(self, dtype: torch.dtype, placement: Placement = Placement()) -> Any:
        from diffusers import LTX2VideoTransformer3DModel

        return self._loaded("transformer", LTX2VideoTransformer3DModel, dtype, placement)

    def connectors(self, dtype: torch.dtype) -> Any:
        from diffusers.pipelines.ltx2 import LTX2TextConnectors

        return self._loaded("connectors", LTX2TextConnectors, dtype)

    def video_vae(self, dtype: torch.dtype) -> Any:
        from diffusers import AutoencoderKLLTX2Video

        return self._loaded("video_vae", AutoencoderKLLTX2Video, dtype)

    def audio_vae(self, dtype: torch.dtype) -> Any:
        from diffusers import AutoencoderKLLTX2Audio

        return self._loaded("audio_vae", AutoencoderKLLTX2Audio, dtype)

    def vocoder(self, dtype: torch.dtype) -> Any:
        from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE

        return self._loaded("vocoder", LTX2Vocoder if self.version == "2.0" else LTX2VocoderWithBWE, dtype)

    def text_encoder(
        self, dtype: torch.dtype, device: torch.device | None = None, *, in_8bit: bool = False
    ) -> tuple[Any, Any]:
        folder, connectors = self._encoder_folder(), self._config("connectors")
        return load_text_encoder(folder, self.version, connectors, dtype, device=device, in_8bit=in_8bit)

    def _encoder_folder(self) -> Path:
        if self._text_encoder is None:
            raise ConfigError(
                f"{self.root} holds no text encoder.",
                "Set model.text_encoder_path to the Gemma folder of this version.",
            )
        return self._text_encoder

    def _parts(self, part: Part) -> list[WeightsFile]:
        if part not in self._files:
            raise ConfigError(
                f"{self.root} and the files beside it hold no {part.replace('_', ' ')}.",
                "Put the component's file into the same folder, or name it in the model section.",
            )
        return self._files[part]

    def _loaded(self, part: Part, kind: Any, dtype: torch.dtype, placement: Placement = Placement()) -> Any:
        held = self._held(part)
        module = empty(kind, self._config(part))
        places = {name: (file.path, key) for name, (file, key) in held.items()}
        fill(module, places, f"LTX-{self.version}", dtype, placement)
        return module.eval().requires_grad_(False)

    def _config(self, part: Part) -> dict[str, Any]:
        """What the library's class of `part` is made with, as the files' headers show it."""
        shapes = {name: file.shapes[key] for name, (file, key) in self._held(part).items()}
        return _config_of(part, shapes, self._parts(part)[0])

    def _held(self, part: Part) -> dict[str, tuple[WeightsFile, str]]:
        """The file and the key in it of each weight of `part`, by the library's names."""
        held: dict[str, tuple[WeightsFile, str]] = {}
        for file in self._parts(part):
            keys = list(part_keys(part, file))
            # a component's own file may leave the prefix out, and 2.3's vocoder has a sub-module of the prefix's name
            prefix = _PREFIXES.get(part, "")
            stripped = len(prefix) if all(key.startswith(prefix) for key in keys) else 0
            held |= {_RENAMES[part](key[stripped:]): (file, key) for key in keys}
        return held


def _config_of(part: Part, shapes: Shapes, file: WeightsFile) -> dict[str, Any]:
    try:
        return _CONFIGS[part](shapes, file)
    except KeyError as error:
        raise ConfigError(
            f"{file.path} holds no whole {part.replace('_', ' ')} of LTX-{file.version}: {error.args[0]} is missing.",
            "Check that the file, and the pack it belongs to, is complete.",
        ) from error


def part_keys(part: Part, file: WeightsFile) -> Iterator[str]:
    """The keys in `file` that belong to `part`."""
    for key in file.shapes:
        if "per_channel_statistics." in key and not key.endswith(_USED_STATISTICS):
            continue
        bare = key.removeprefix(_TRANSFORMER)
        if part in ("transformer", "connectors"):
            in_connectors = bare.startswith(_CONNECTOR_HEADS)
            in_transformer = key.startswith(_TRANSFORMER) or bare.startswith(("transformer_blocks.", "patchify_proj."))
            if in_connectors if part == "connectors" else in_transformer and not in_connectors:
                yield key
        elif key.startswith(_PREFIXES[part]) or set(file.config) == {_CONFIG_KEY[part]}:
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


def _pack_mates(main: WeightsFile) -> list[WeightsFile]:
    mates = []
    for other in sorted(main.path.parent.glob("*.safetensors")):
        if other == main.path:
            continue
        try:
            mate = read_header(other)
        except ConfigError:
            continue  # a neighbour that is no part of the pack, for example a LoRA
        if mate.distilled == main.distilled or not mate.holds("transformer"):
            mates.append(mate)
    return mates


def _rename_transformer(key: str) -> str:
    return to_diffusers(key.removeprefix(_TRANSFORMER))


def _rename_connectors(key: str) -> str:
    name = key.removeprefix(_TRANSFORMER)
    for old, new in (
        ("video_embeddings_connector.", "video_connector."),
        ("audio_embeddings_connector.", "audio_connector."),
        ("text_embedding_projection.video_aggregate_embed.", "video_text_proj_in."),
        ("text_embedding_projection.audio_aggregate_embed.", "audio_text_proj_in."),
        ("text_embedding_projection.aggregate_embed.", "text_proj_in."),
        ("transformer_1d_blocks.", "transformer_blocks."),
        ("q_norm.", "norm_q."),
        ("k_norm.", "norm_k."),
    ):
        name = name.replace(old, new)
    return name


def _rename_video_vae(key: str) -> str:
    name = _rename_statistics(key)
    name = re.sub(r"(encoder\.)down_blocks\.(\d+)", _encoder_block, name)
    name = re.sub(r"(decoder\.)up_blocks\.(\d+)", _decoder_block, name)
    return (
        name.replace("res_blocks", "resnets")
        .replace("last_time_embedder", "time_embedder")
        .replace("last_scale_shift_table", "scale_shift_table")
    )


def _encoder_block(match: re.Match[str]) -> str:
    index = int(match.group(2))
    if index == 8:
        return f"{match.group(1)}mid_block"
    return f"{match.group(1)}down_blocks.{index // 2}" + (".downsamplers.0" if index % 2 else "")


def _decoder_block(match: re.Match[str]) -> str:
    index = int(match.group(2))
    if index == 0:
        return f"{match.group(1)}mid_block"
    return f"{match.group(1)}up_blocks.{(index - 1) // 2}" + (".upsamplers.0" if index % 2 else "")


def _rename_statistics(name: str) -> str:
    return name.replace("per_channel_statistics.mean-of-means", "latents_mean").replace(
        "per_channel_statistics.std-of-means", "latents_std"
    )


def _rename_audio_vae(key: str) -> str:
    return _rename_statistics(key)


_VOCODER_PARTS = {
    "ups": "upsamplers",
    "resblocks": "resnets",
    "conv_pre": "conv_in",
    "conv_post": "conv_out",
    "act_post": "act_out",
}


def _rename_vocoder(key: str) -> str:
    parts = [_VOCODER_PARTS.get(part, part) for part in key.split(".")]
    return ".".join(parts).replace("downsample.lowpass.", "downsample.")


_RENAMES: dict[Part, Callable[[str], str]] = {
    "transformer": _rename_transformer,
    "connectors": _rename_connectors,
    "video_vae": _rename_video_vae,
    "audio_vae": _rename_audio_vae,
    "vocoder": _rename_vocoder,
}


def _transformer_config(shapes: Shapes, file: WeightsFile) -> dict[str, Any]:
    said = file.config.get("transformer", {})
    since_2_3 = file.version != "2.0"
    width, audio_width = shapes["proj_in.weight"][0], shapes["audio_proj_in.weight"][0]
    heads = said.get("num_attention_heads", 32)
    audio_heads = said.get("audio_num_attention_heads", 32)
    if since_2_3:
        heads = shapes["transformer_blocks.0.attn1.to_gate_logits.weight"][0]
        audio_heads = shapes["transformer_blocks.0.audio_attn1.to_gate_logits.weight"][0]
    config = {
        "in_channels": shapes["proj_in.weight"][1],
        "audio_in_channels": shapes["audio_proj_in.weight"][1],
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "cross_attention_dim": shapes["transformer_blocks.0.attn2.to_k.weight"][1],
        "audio_num_attention_heads": audio_heads,
        "audio_attention_head_dim": audio_width // audio_heads,
        "audio_cross_attention_dim": shapes["transformer_blocks.0.audio_attn2.to_k.weight"][1],
        "num_layers": _blocks(shapes, "transformer_blocks"),
        "vae_scale_factors": tuple(said.get("vae_scale_factors", USUAL_FACTORS)),
        **TRANSFORMER[file.version],
    }
    if not since_2_3:
        config["caption_channels"] = shapes["caption_projection.linear_1.weight"][1]
    if file.version == "2.5":
        config |= {
            "ff_bias": "transformer_blocks.0.ff.net.0.proj.bias" in shapes,
            "use_keyframes_abs_pos_embedding": "keyframes_abs_pos_embedding" in shapes,
            "use_prompt_adaln_single": "prompt_adaln.linear.weight" in shapes,
        }
    return config


def _connectors_config(shapes: Shapes, file: WeightsFile) -> dict[str, Any]:
    per_modality = "video_text_proj_in.weight" in shapes
    config: dict[str, Any] = {"rope_type": "split", "per_modality_projections": per_modality}
    for side in ("video", "audio"):
        registers, width = shapes[f"{side}_connector.learnable_registers"]
        gate = shapes.get(f"{side}_connector.transformer_blocks.0.attn1.to_gate_logits.weight")
        # without gates no tensor shows the heads: the released 2.0 connectors have heads of 128
        heads = gate[0] if gate else max(width // 128, 2)
        config |= {
            f"{side}_connector_num_attention_heads": heads,
            f"{side}_connector_attention_head_dim": width // heads,
            f"{side}_connector_num_layers": _blocks(shapes, f"{side}_connector.transformer_blocks"),
            f"{side}_connector_num_learnable_registers": registers,
            f"{side}_gated_attn": gate is not None,
        }
    first = "video_text_proj_in" if per_modality else "text_proj_in"
    channels = _caption_channels(shapes, file, per_modality)
    config |= {
        "caption_channels": channels,
        "text_proj_in_factor": shapes[f"{first}.weight"][1] // channels,
        "proj_bias": f"{first}.bias" in shapes,
    }
    if per_modality:
        config |= {
            "video_hidden_dim": shapes["video_text_proj_in.weight"][0],
            "audio_hidden_dim": shapes["audio_text_proj_in.weight"][0],
        }
    return config


def _caption_channels(shapes: Shapes, file: WeightsFile, per_modality: bool) -> int:
    if not per_modality:
        return shapes["text_proj_in.weight"][0]
    said = file.config.get("transformer", {}).get("caption_channels")
    return said if isinstance(said, int) else _GEMMA_WIDTH


def _video_vae_config(shapes: Shapes, file: WeightsFile) -> dict[str, Any]:
    def channels(block: str) -> int:
        return shapes[f"{block}.resnets.0.conv1.conv.weight"][1]

    downs, ups = _blocks(shapes, "encoder.down_blocks"), _blocks(shapes, "decoder.up_blocks")
    encoder = [f"encoder.down_blocks.{index}" for index in range(downs)] + ["encoder.mid_block"]
    decoder = ["decoder.mid_block"] + [f"decoder.up_blocks.{index}" for index in range(ups)]
    return {
        "latent_channels": shapes["encoder.conv_in.conv.weight"][0],
        "block_out_channels": tuple(channels(block) for block in encoder[1:]),
        "layers_per_block": tuple(_blocks(shapes, f"{block}.resnets") for block in encoder),
        "decoder_block_out_channels": tuple(channels(block) for block in reversed(decoder[:-1])),
        "decoder_layers_per_block": tuple(_blocks(shapes, f"{block}.resnets") for block in reversed(decoder)),
        **VIDEO_VAE[file.version],
    }


def _audio_vae_config(shapes: Shapes, _file: WeightsFile) -> dict[str, Any]:
    base = shapes["encoder.conv_in.conv.weight"][0]
    levels = _blocks(shapes, "encoder.down")
    return {
        "base_channels": base,
        "ch_mult": tuple(shapes[f"encoder.down.{i}.block.0.conv1.conv.weight"][0] // base for i in range(levels)),
        "num_res_blocks": _blocks(shapes, "encoder.down.0.block"),
    }


def _vocoder_config(shapes: Shapes, file: WeightsFile) -> dict[str, Any]:
    if file.version == "2.0":
        return {"hidden_channels": shapes["conv_in.weight"][0]}
    return {
        "hidden_channels": shapes["vocoder.conv_in.weight"][0],
        "bwe_hidden_channels": shapes["bwe_generator.conv_in.weight"][0],
    }


_CONFIGS: dict[Part, Callable[[Shapes, WeightsFile], dict[str, Any]]] = {
    "transformer": _transformer_config,
    "connectors": _connectors_config,
    "video_vae": _video_vae_config,
    "audio_vae": _audio_vae_config,
    "vocoder": _vocoder_config,
}


def _blocks(shapes: Shapes, head: str) -> int:
    """How many numbered children `head` has."""
    start = len(head) + 1
    return len({name[start:].split(".")[0] for name in shapes if name.startswith(f"{head}.")})
