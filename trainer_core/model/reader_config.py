"""The metadata `config` that the official loader and ComfyUI build a model from, made from the library's configs.

A file made from a base that has such a config keeps the base's own; this one is for bases without: a diffusers folder,
the tiny model, a file that somebody wrote with other names. Source of names and values: the metadata of the released
files. ComfyUI takes the connectors' sizes from here, too, and falls back to 2.0's; loaders tell 2.3 and later from 2.0
by the four `caption_proj…` keys, which must be there all or not at all.
"""

import json
from collections.abc import Mapping
from typing import Any

from trainer_core.model.source import Version
from trainer_core.model.versions import USUAL_FACTORS

CLASS_NAME = "AVTransformer3DModel"
# what no LTX-2 has another value of
_FIXED: dict[str, Any] = {
    "_class_name": CLASS_NAME,
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_type": "default",
    "av_cross_ada_norm": True,
    "causal_temporal_positioning": True,
    "connector_norm_output": True,
    "cross_attention_norm": True,
    "double_self_attention": False,
    "dropout": 0.0,
    "norm_elementwise_affine": False,
    "norm_num_groups": 32,
    "num_embeds_ada_norm": 1000,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "positional_embedding_type": "rope",
    "qk_norm": "rms_norm",
    "share_ff": False,
    "standardization_norm": "rms_norm",
    "upcast_attention": False,
    "use_audio_video_cross_attention": True,
    "use_embeddings_connector": True,
    "use_linear_projection": False,
    "use_middle_indices_grid": True,
}
_SINCE_2_3: dict[str, Any] = {
    "caption_proj_before_connector": True,
    "caption_proj_input_norm": False,
    "caption_projection_first_linear": False,
    "caption_projection_second_linear": False,
    "connector_learnable_registers_std": 1,
    "text_encoder_norm_type": "per_token_rms",
}
_SAME_NAME = (
    "in_channels",
    "out_channels",
    "num_layers",
    "num_attention_heads",
    "attention_head_dim",
    "cross_attention_dim",
    "audio_in_channels",
    "audio_out_channels",
    "audio_num_attention_heads",
    "audio_attention_head_dim",
    "audio_cross_attention_dim",
    "norm_eps",
    "rope_type",
    "timestep_scale_multiplier",
)
_DECISIVE = ("frequencies_precision", "av_ca_timestep_scale_multiplier", "use_middle_indices_grid", "rope_type")
_DECISIVE_SINCE_2_3 = ("apply_gated_attention", "cross_attention_adaln", "caption_proj_before_connector")


def reader_config(version: Version, transformer: Mapping[str, Any], connectors: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config["transformer"]`. `transformer` and `connectors` are whole configs of the library's classes."""
    made = {**_FIXED, **{name: transformer[name] for name in _SAME_NAME}}
    made |= {
        "caption_channels": connectors["caption_channels"],
        "av_ca_timestep_scale_multiplier": float(transformer["cross_attn_timestep_scale_multiplier"]),
        "frequencies_precision": "float64" if transformer["rope_double_precision"] else "float32",
        "positional_embedding_theta": float(transformer["rope_theta"]),
        "positional_embedding_max_pos": [transformer[k] for k in ("pos_embed_max_pos", "base_height", "base_width")],
        "audio_positional_embedding_max_pos": [transformer["audio_pos_embed_max_pos"]],
        "connector_attention_head_dim": connectors["video_connector_attention_head_dim"],
        "connector_num_attention_heads": connectors["video_connector_num_attention_heads"],
        "connector_num_layers": connectors["video_connector_num_layers"],
        "connector_num_learnable_registers": connectors["video_connector_num_learnable_registers"],
        "connector_positional_embedding_max_pos": [connectors["connector_rope_base_seq_len"]],
    }
    if tuple(transformer["vae_scale_factors"]) != USUAL_FACTORS:
        made["vae_scale_factors"] = list(transformer["vae_scale_factors"])
    if version != "2.0":
        made |= _SINCE_2_3
        made |= {
            "apply_gated_attention": transformer["gated_attn"],
            "cross_attention_adaln": transformer["cross_attn_mod"],
            "connector_apply_gated_attention": connectors["video_gated_attn"],
            "audio_connector_attention_head_dim": connectors["audio_connector_attention_head_dim"],
            "audio_connector_num_attention_heads": connectors["audio_connector_num_attention_heads"],
        }
    if version == "2.5":
        made |= {
            "ff_bias": transformer["ff_bias"],
            "use_keyframes_abs_pos_embedding": transformer["use_keyframes_abs_pos_embedding"],
            "text_encoder_norm_type": "PER_TOKEN_RMS",
        }
    if not transformer["use_prompt_adaln_single"]:
        made["use_prompt_adaln_single"] = False
    return made


def builds_a_model(version: Version, config: Mapping[str, Any]) -> bool:
    """True if a file's own `config["transformer"]` has the names that readers look for."""
    wanted = _DECISIVE if version == "2.0" else (*_DECISIVE, *_DECISIVE_SINCE_2_3)
    return config.get("_class_name") == CLASS_NAME or all(name in config for name in wanted)


def made_metadata(version: Version, transformer: Mapping[str, Any], connectors: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file whose base has none that readers understand."""
    config = {"transformer": reader_config(version, transformer, connectors)}
    return {"model_version": version, "config": config_text(config)}


def config_text(config: Mapping[str, Any]) -> str:
    """`config` as it stands in the metadata; the same text for equal configs."""
    return json.dumps(config, sort_keys=True)
