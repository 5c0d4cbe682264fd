"""Upstream's module names against diffusers' own converter, for every layer of the three versions."""

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_ltx2_lora_to_diffusers
from torch import nn

from trainer_core.adapters import block_free
from trainer_core.model.names import to_diffusers, to_upstream
from trainer_core.model.reader_keys import LORA_KEYS
from trainer_core.model.source import Version
from trainer_core.model.tiny import TinySource

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")


def _linears(version: Version) -> list[str]:
    transformer = TinySource(version).transformer(torch.float32)
    return [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("version", VERSIONS)
def test_diffusers_converter_maps_our_upstream_names_back(version: Version) -> None:
    names = _linears(version)
    assert len(names) > 80
    for name in names:
        key = f"diffusion_model.{to_upstream(name)}.lora_A.weight"
        converted = _convert_non_diffusers_ltx2_lora_to_diffusers({key: torch.zeros(1)})
        assert list(converted) == [f"transformer.{name}.lora_A.weight"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_parameter_survives_the_round_trip(version: Version) -> None:
    names = list(TinySource(version).transformer(torch.float32).state_dict())
    upstream = [to_upstream(name) for name in names]
    assert len(set(upstream)) == len(names)
    assert [to_diffusers(name) for name in upstream] == names


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stored_list_of_reader_keys_holds_every_layer(version: Version) -> None:
    for name in _linears(version):
        for side in "AB":
            assert block_free(f"diffusion_model.{to_upstream(name)}.lora_{side}.weight") in LORA_KEYS, name


@pytest.mark.parametrize(
    ("diffusers", "upstream"),
    [
        ("proj_in", "patchify_proj"),
        ("audio_proj_in.weight", "audio_patchify_proj.weight"),
        ("time_embed.linear", "adaln_single.linear"),
        ("audio_time_embed.emb.timestep_embedder.linear_1", "audio_adaln_single.emb.timestep_embedder.linear_1"),
        ("av_cross_attn_video_scale_shift.linear", "av_ca_video_scale_shift_adaln_single.linear"),
        ("av_cross_attn_audio_scale_shift.linear", "av_ca_audio_scale_shift_adaln_single.linear"),
        ("av_cross_attn_video_a2v_gate.linear", "av_ca_a2v_gate_adaln_single.linear"),
        ("av_cross_attn_audio_v2a_gate.linear", "av_ca_v2a_gate_adaln_single.linear"),
        ("prompt_adaln.linear", "prompt_adaln_single.linear"),
        ("audio_prompt_adaln.linear", "audio_prompt_adaln_single.linear"),
        ("transformer_blocks.7.attn1.norm_q.weight", "transformer_blocks.7.attn1.q_norm.weight"),
        ("transformer_blocks.7.audio_to_video_attn.norm_k", "transformer_blocks.7.audio_to_video_attn.k_norm"),
        (
            "transformer_blocks.0.video_a2v_cross_attn_scale_shift_table",
            "transformer_blocks.0.scale_shift_table_a2v_ca_video",
        ),
        (
            "transformer_blocks.0.audio_a2v_cross_attn_scale_shift_table",
            "transformer_blocks.0.scale_shift_table_a2v_ca_audio",
        ),
        ("transformer_blocks.3.audio_ff.net.0.proj", "transformer_blocks.3.audio_ff.net.0.proj"),
        ("proj_out", "proj_out"),
    ],
)
def test_the_table_of_renames(diffusers: str, upstream: str) -> None:
    assert to_upstream(diffusers) == upstream
    assert to_diffusers(upstream) == diffusers
