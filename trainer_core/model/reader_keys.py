"""The LoRA keys that upstream, ComfyUI and diffusers read, block numbers written as N.

A stored list, independent of the model library in use: a renamed module shows as a refused save, not as a dead adapter.
"""

_ATTENTIONS = ("attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
_ATTENTION_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "to_gate_logits")
_FEED_FORWARDS = ("ff", "audio_ff")
_FEED_FORWARD_LAYERS = ("net.0.proj", "net.2")
_ADALN = (
    "adaln_single",
    "audio_adaln_single",
    "av_ca_video_scale_shift_adaln_single",
    "av_ca_audio_scale_shift_adaln_single",
    "av_ca_a2v_gate_adaln_single",
    "av_ca_v2a_gate_adaln_single",
    "prompt_adaln_single",
    "audio_prompt_adaln_single",
)
_ADALN_LAYERS = ("linear", "emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2")
_PROJECTIONS = ("patchify_proj", "audio_patchify_proj", "proj_out", "audio_proj_out")
_CAPTION_PROJECTIONS = ("caption_projection", "audio_caption_projection")

LORA_MODULES = (
    *(f"transformer_blocks.N.{module}.{layer}" for module in _ATTENTIONS for layer in _ATTENTION_LAYERS),
    *(f"transformer_blocks.N.{module}.{layer}" for module in _FEED_FORWARDS for layer in _FEED_FORWARD_LAYERS),
    *(f"{module}.{layer}" for module in _ADALN for layer in _ADALN_LAYERS),
    *(f"{module}.linear_{number}" for module in _CAPTION_PROJECTIONS for number in (1, 2)),
    *_PROJECTIONS,
)
LORA_KEYS = frozenset(f"diffusion_model.{module}.lora_{side}.weight" for module in LORA_MODULES for side in "AB")
_OTHER_PARTS = (
    "dora_scale",
    "lora_magnitude_vector",
    *(f"lokr_w{n}{side}" for n in (1, 2) for side in ("", "_a", "_b")),
)
ADAPTER_KEYS = LORA_KEYS | {f"diffusion_model.{module}.{part}" for module in LORA_MODULES for part in _OTHER_PARTS}
"""Those of DoRA and LoKr too: ComfyUI reads all but PEFT's magnitudes, diffusers' pipeline all but LoKr's."""
