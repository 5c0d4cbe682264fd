"""Upstream's names of the transformer's and the connectors' modules and diffusers', both ways.

Inside the blocks the linear layers have the same names; outside them, and for norms and tables, they differ
(source: MODEL.md's table, checked against diffusers' own converter by a test).
"""

TRANSFORMER_PREFIX = "model.diffusion_model."
"""In front of the transformer's keys, and the connectors', in a file of upstream's."""
PROJECTION_PREFIX = "text_embedding_projection."
"""In front of the keys of what takes the text encoder's hidden states; a split pack keeps it with the text encoder."""
OTHER_PREFIXES = ("vae.", "audio_vae.", "vocoder.")
"""In front of the keys of a unified file's other parts."""
CONNECTOR_HEADS = ("video_embeddings_connector.", "audio_embeddings_connector.", PROJECTION_PREFIX)

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
_CONNECTORS = (
    ("video_embeddings_connector.", "video_connector."),
    ("audio_embeddings_connector.", "audio_connector."),
    (f"{PROJECTION_PREFIX}video_aggregate_embed.", "video_text_proj_in."),
    (f"{PROJECTION_PREFIX}audio_aggregate_embed.", "audio_text_proj_in."),
    (f"{PROJECTION_PREFIX}aggregate_embed.", "text_proj_in."),
)
_CONNECTORS_INNER = (("transformer_1d_blocks.", "transformer_blocks."), ("q_norm.", "norm_q."), ("k_norm.", "norm_k."))
_UPSTREAM_TO_DIFFUSERS_HEADS = {upstream: ours for ours, upstream in _DIFFUSERS_TO_UPSTREAM_HEADS.items()}
_UPSTREAM_TO_DIFFUSERS_INNER = {upstream: ours for ours, upstream in _DIFFUSERS_TO_UPSTREAM_INNER.items()}


def to_upstream(name: str) -> str:
    """Return upstream's name of a diffusers transformer parameter or module (no prefix)."""
    return _renamed(name, _DIFFUSERS_TO_UPSTREAM_HEADS, _DIFFUSERS_TO_UPSTREAM_INNER)


def to_diffusers(name: str) -> str:
    """Return diffusers' name of an upstream transformer parameter or module (no prefix)."""
    return _renamed(name, _UPSTREAM_TO_DIFFUSERS_HEADS, _UPSTREAM_TO_DIFFUSERS_INNER)


def beside_the_transformer(key: str) -> bool:
    """True if a key of upstream's files is of another part than the transformer: connectors, projections, VAEs, …"""
    return key.startswith(OTHER_PREFIXES) or key.removeprefix(TRANSFORMER_PREFIX).startswith(CONNECTOR_HEADS)


def connectors_to_diffusers(key: str) -> str:
    """Return diffusers' name of a connector's or text projection's weight, from its key in a file of upstream's."""
    name = key.removeprefix(TRANSFORMER_PREFIX)
    for upstream, ours in (*_CONNECTORS, *_CONNECTORS_INNER):
        name = name.replace(upstream, ours)
    return name


def connectors_to_upstream(name: str) -> str:
    """Return the key of a connector's or text projection's weight in a file of upstream's, from diffusers' name."""
    for upstream, ours in _CONNECTORS:
        if name.startswith(ours):
            key = upstream + name.removeprefix(ours)
            break
    else:
        raise KeyError(name)
    for upstream, ours in _CONNECTORS_INNER:
        key = key.replace(ours, upstream)
    return key if key.startswith(PROJECTION_PREFIX) else f"{TRANSFORMER_PREFIX}{key}"


def _renamed(name: str, heads: dict[str, str], inner: dict[str, str]) -> str:
    head, *rest = name.split(".")
    return ".".join([heads.get(head, head), *(inner.get(part, part) for part in rest)])
