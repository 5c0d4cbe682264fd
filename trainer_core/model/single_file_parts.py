"""Names and sizes of the parts of a single-file LTX model, read off its keys and the shapes of its tensors.

Source of the key names and of the settings that no tensor shows: diffusers' conversion of the official files.
"""

import re
from collections.abc import Callable
from typing import Any

from trainer_core.errors import ConfigError
from trainer_core.model.names import TRANSFORMER_PREFIX, connectors_to_diffusers, to_diffusers
from trainer_core.model.single_file_header import Shapes, WeightsFile
from trainer_core.model.source import Part
from trainer_core.model.versions import TRANSFORMER, USUAL_FACTORS, VIDEO_VAE

_GEMMA_WIDTH = 3840  # hidden size of the text encoder of every released version


def config_of(part: Part, shapes: Shapes, file: WeightsFile) -> dict[str, Any]:
    """Return the config of the library's class of `part`. Raises ConfigError when `shapes` lack what shows it."""
    try:
        return _CONFIGS[part](shapes, file)
    except KeyError as error:
        raise ConfigError(
            f"{file.path} holds no whole {part.replace('_', ' ')} of LTX-{file.version}: {error.args[0]} is missing.",
            "Check that the file, and the pack it belongs to, is complete.",
        ) from error


def _rename_transformer(key: str) -> str:
    return to_diffusers(key.removeprefix(TRANSFORMER_PREFIX))


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


RENAMES: dict[Part, Callable[[str], str]] = {
    "transformer": _rename_transformer,
    "connectors": connectors_to_diffusers,
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
    said = file.config.get("transformer", {})
    config: dict[str, Any] = {"rope_type": "split", "per_modality_projections": per_modality}
    for side in ("video", "audio"):
        registers, width = shapes[f"{side}_connector.learnable_registers"]
        gate = shapes.get(f"{side}_connector.transformer_blocks.0.attn1.to_gate_logits.weight")
        # without gates no tensor shows the heads: the config may say them; the released 2.0 has heads of 128
        heads = gate[0] if gate else said.get("connector_num_attention_heads") or max(width // 128, 2)
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
