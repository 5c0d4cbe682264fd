"""Differences of the LTX-2 versions, as arguments of the model library's classes. Sizes are not here: files show them.

Source: MODEL.md's version switches and diffusers' conversion of the official files.
"""

from typing import Any

from trainer_core.model.source import Version

# frames, rows and columns a latent cell, where the checkpoint does not say otherwise
USUAL_FACTORS = (8, 32, 32)
_TRANSFORMER_SINCE_2_3: dict[str, Any] = {
    "gated_attn": True,
    "cross_attn_mod": True,
    "audio_gated_attn": True,
    "audio_cross_attn_mod": True,
    "perturbed_attn": True,
    "use_prompt_embeddings": False,
}
TRANSFORMER: dict[Version, dict[str, Any]] = {
    "2.0": {"rope_type": "split"},
    "2.3": {"rope_type": "split", **_TRANSFORMER_SINCE_2_3},
    "2.5": {
        "rope_type": "split",
        **_TRANSFORMER_SINCE_2_3,
        "ff_bias": False,
        "use_keyframes_abs_pos_embedding": True,
    },
}
_VIDEO_VAE: dict[str, Any] = {
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
    "decoder_causal": False,
}
_VIDEO_VAE_SINCE_2_3: dict[str, Any] = {
    **_VIDEO_VAE,
    "decoder_spatial_padding_mode": "zeros",
    "decoder_spatio_temporal_scaling": (True,) * 4,
    "decoder_inject_noise": (False,) * 5,
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "upsample_residual": (False,) * 4,
    "upsample_factor": (2, 2, 1, 2),
}
VIDEO_VAE: dict[Version, dict[str, Any]] = {
    "2.0": {**_VIDEO_VAE, "decoder_spatial_padding_mode": "reflect"},
    "2.3": _VIDEO_VAE_SINCE_2_3,
    "2.5": _VIDEO_VAE_SINCE_2_3,
}
