"""What ComfyUI makes of a transformer file: which model it detects, and the weights that model has.

Restated from the behaviour of its loader for LTX-2: the kind is told by two keys, the number of blocks is counted, and
everything else is what the metadata's `config.transformer` says or, for a name that isn't there, the default of its
class. A file opens when every weight of that model is in it with the same shape.
"""

import json
from collections.abc import Mapping
from typing import Any

Shapes = dict[str, tuple[int, ...]]
PREFIX = "model.diffusion_model."
_DEFAULTS: dict[str, Any] = {
    "in_channels": 128,
    "audio_in_channels": 128,
    "audio_cross_attention_dim": 2048,
    "audio_attention_head_dim": 64,
    "num_attention_heads": 32,
    "audio_num_attention_heads": 32,
    "caption_channels": 3840,
    "apply_gated_attention": False,
    "caption_proj_before_connector": False,
    "caption_projection_first_linear": True,
    "cross_attention_adaln": False,
    "ff_bias": True,
    "audio_ff_bias": True,
    "use_prompt_adaln_single": True,
    "connector_apply_gated_attention": False,
    "connector_attention_head_dim": 128,
    "connector_num_attention_heads": 30,
    "connector_num_layers": 2,
}
BEHAVIOUR = {
    "use_middle_indices_grid": False,
    "av_ca_timestep_scale_multiplier": 1.0,
    "timestep_scale_multiplier": 1000.0,
    "causal_temporal_positioning": False,
    "frequencies_precision": "float32",
    "rope_type": "split",
}
"""Settings that no shape shows, with the defaults of a reader that doesn't find them."""


def detected(shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the model is built with."""
    assert f"{PREFIX}adaln_single.emb.timestep_embedder.linear_1.bias" in shapes, "not taken for LTX"
    assert f"{PREFIX}audio_adaln_single.linear.weight" in shapes, "taken for LTX without sound"
    blocks = {key.split(".")[3] for key in shapes if key.startswith(f"{PREFIX}transformer_blocks.")}
    text = shapes[f"{PREFIX}transformer_blocks.0.attn2.to_k.weight"]
    found = {**_DEFAULTS, **BEHAVIOUR, "num_layers": len(blocks)}
    found |= {"attention_head_dim": text[0] // 32, "cross_attention_dim": text[1]}
    found |= json.loads(metadata["config"]).get("transformer", {})
    found["use_keyframes_abs_pos_embedding"] = f"{PREFIX}keyframes_abs_pos_embedding" in shapes
    return found


def built(config: Mapping[str, Any]) -> Shapes:
    """The weights of the model with these settings, without the prefix."""
    found: Shapes = {}
    video = config["num_attention_heads"] * config["attention_head_dim"]
    audio = config["audio_num_attention_heads"] * config["audio_attention_head_dim"]
    rows = 9 if config["cross_attention_adaln"] else 6

    def linear(name: str, outputs: int, inputs: int, bias: bool = True) -> None:
        found[f"{name}.weight"] = (outputs, inputs)
        if bias:
            found[f"{name}.bias"] = (outputs,)

    def adaln(name: str, width: int, parameters: int) -> None:
        linear(f"{name}.emb.timestep_embedder.linear_1", width, 256)
        linear(f"{name}.emb.timestep_embedder.linear_2", width, width)
        linear(f"{name}.linear", parameters * width, width)

    def attention(name: str, query: int, context: int, heads: int, inner: int, gated: bool) -> None:
        linear(f"{name}.to_q", inner, query)
        linear(f"{name}.to_k", inner, context)
        linear(f"{name}.to_v", inner, context)
        linear(f"{name}.to_out.0", query, inner)
        found[f"{name}.q_norm.weight"] = found[f"{name}.k_norm.weight"] = (inner,)
        if gated:
            linear(f"{name}.to_gate_logits", heads, query)

    def feed_forward(name: str, width: int, bias: bool) -> None:
        linear(f"{name}.net.0.proj", 4 * width, width, bias)
        linear(f"{name}.net.2", width, 4 * width, bias)

    def connector(name: str, heads: int, head: int) -> None:
        width = heads * head
        found[f"{name}.learnable_registers"] = (128, width)
        for index in range(config["connector_num_layers"]):
            block = f"{name}.transformer_1d_blocks.{index}"
            attention(f"{block}.attn1", width, width, heads, width, config["connector_apply_gated_attention"])
            feed_forward(f"{block}.ff", width, True)

    linear("patchify_proj", video, config["in_channels"])
    linear("audio_patchify_proj", audio, config["audio_in_channels"])
    linear("proj_out", config["in_channels"], video)
    linear("audio_proj_out", config["audio_in_channels"], audio)
    found["scale_shift_table"], found["audio_scale_shift_table"] = (2, video), (2, audio)
    adaln("adaln_single", video, rows)
    adaln("audio_adaln_single", audio, rows)
    adaln("av_ca_video_scale_shift_adaln_single", video, 4)
    adaln("av_ca_audio_scale_shift_adaln_single", audio, 4)
    adaln("av_ca_a2v_gate_adaln_single", video, 1)
    adaln("av_ca_v2a_gate_adaln_single", audio, 1)
    if config["cross_attention_adaln"] and config["use_prompt_adaln_single"]:
        adaln("prompt_adaln_single", video, 2)
        adaln("audio_prompt_adaln_single", audio, 2)
    if config["use_keyframes_abs_pos_embedding"]:
        found["keyframes_abs_pos_embedding"] = (1, video)
    if not config["caption_proj_before_connector"]:
        for name, width in (("caption_projection", video), ("audio_caption_projection", audio)):
            linear(f"{name}.linear_1", width, config["caption_channels"])
            linear(f"{name}.linear_2", width, width)
    elif config["caption_projection_first_linear"]:
        linear("caption_projection.linear_1", video, config["caption_channels"])
        linear("audio_caption_projection.linear_1", audio, config["caption_channels"])
    heads, head = config["connector_num_attention_heads"], config["connector_attention_head_dim"]
    connector("video_embeddings_connector", heads, head)
    connector(
        "audio_embeddings_connector",
        config.get("audio_connector_num_attention_heads", heads),
        config.get("audio_connector_attention_head_dim", head),
    )
    audio_heads, gated = config["audio_num_attention_heads"], config["apply_gated_attention"]
    text, audio_text = config["cross_attention_dim"], config["audio_cross_attention_dim"]
    for index in range(config["num_layers"]):
        block = f"transformer_blocks.{index}"
        attention(f"{block}.attn1", video, video, config["num_attention_heads"], video, gated)
        attention(f"{block}.attn2", video, text, config["num_attention_heads"], video, gated)
        attention(f"{block}.audio_attn1", audio, audio, audio_heads, audio, gated)
        attention(f"{block}.audio_attn2", audio, audio_text, audio_heads, audio, gated)
        attention(f"{block}.audio_to_video_attn", video, audio, audio_heads, audio, gated)
        attention(f"{block}.video_to_audio_attn", audio, video, audio_heads, audio, gated)
        feed_forward(f"{block}.ff", video, config["ff_bias"])
        feed_forward(f"{block}.audio_ff", audio, config["audio_ff_bias"])
        found[f"{block}.scale_shift_table"], found[f"{block}.audio_scale_shift_table"] = (rows, video), (rows, audio)
        found[f"{block}.scale_shift_table_a2v_ca_video"] = (5, video)
        found[f"{block}.scale_shift_table_a2v_ca_audio"] = (5, audio)
        if config["cross_attention_adaln"]:
            found[f"{block}.prompt_scale_shift_table"] = (2, video)
            found[f"{block}.audio_prompt_scale_shift_table"] = (2, audio)
    return found


def check_opens(shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> None:
    """Fail when ComfyUI would find a weight missing, of another shape, or left over."""
    config = detected(shapes, metadata)
    own = {key.removeprefix(PREFIX): shape for key, shape in shapes.items() if key.startswith(PREFIX)}
    assert built(config) == own
    assert config["use_middle_indices_grid"] is True
    assert config["av_ca_timestep_scale_multiplier"] == 1000
    assert config["causal_temporal_positioning"] is True
    assert config["frequencies_precision"] == "float64"
