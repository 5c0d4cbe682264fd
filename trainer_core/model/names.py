"""Upstream's names of the transformer's modules and diffusers', both ways.

Inside the blocks the linear layers have the same names; outside them, and for norms and tables, they differ
(source: MODEL.md's table, checked against diffusers' own converter by a test).
"""

_DIFFUSERS_TO_UPSTREAM_HEADS = {
    "proj_in": "patchify_proj",
    "audio_proj_in": "audio_patchify_proj",
    "time_embed": "adaln_single",
    "audio_time_embed": "audio_adaln_single",
    "av_cross_attn_video_scale_shift": "av_ca_video_scale_shift_adaln_single",
    "av_cross_attn_audio_scale_shift": "av_ca_audio_scale_shift_adaln_single",
    "av_cross_attn_video_a2v_gate": "av_ca_a2v_gate_adaln_single",
    "av_cross_attn_audio_v2a_gate": "av_ca_v2a_gate_adaln_single",
    "prompt_adaln": "prompt_adaln_single",
    "audio_prompt_adaln": "audio_prompt_adaln_single",
}
_DIFFUSERS_TO_UPSTREAM_INNER = {
    "norm_q": "q_norm",
    "norm_k": "k_norm",
    "video_a2v_cross_attn_scale_shift_table": "scale_shift_table_a2v_ca_video",
    "audio_a2v_cross_attn_scale_shift_table": "scale_shift_table_a2v_ca_audio",
}
_UPSTREAM_TO_DIFFUSERS_HEADS = {upstream: ours for ours, upstream in _DIFFUSERS_TO_UPSTREAM_HEADS.items()}
_UPSTREAM_TO_DIFFUSERS_INNER = {upstream: ours for ours, upstream in _DIFFUSERS_TO_UPSTREAM_INNER.items()}


def to_upstream(name: str) -> str:
    """Return upstream's name of a diffusers transformer parameter or module (no prefix)."""
    return _renamed(name, _DIFFUSERS_TO_UPSTREAM_HEADS, _DIFFUSERS_TO_UPSTREAM_INNER)


def to_diffusers(name: str) -> str:
    """Return diffusers' name of an upstream transformer parameter or module (no prefix)."""
    return _renamed(name, _UPSTREAM_TO_DIFFUSERS_HEADS, _UPSTREAM_TO_DIFFUSERS_INNER)


def _renamed(name: str, heads: dict[str, str], inner: dict[str, str]) -> str:
    head, *rest = name.split(".")
    return ".".join([heads.get(head, head), *(inner.get(part, part) for part in rest)])
