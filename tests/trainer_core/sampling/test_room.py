"""What samples may take: the estimate against counted tensors, smaller tiles where room is short, a named refusal."""

import pytest
import torch

from trainer_core.memory.live import LiveBytes
from trainer_core.model.ltx import LtxModel
from trainer_core.model.tiny import TinySource
from trainer_core.model.versions import VIDEO_VAE
from trainer_core.sampling.decode import Tiles, decode_video
from trainer_core.sampling.memory_budget import (
    TILE_CHOICES,
    NoRoom,
    Room,
    decode_bytes,
    denoise_bytes,
    held_bytes,
    room_for_samples,
    tiles_that_fit,
)
from trainer_core.sections.own import MemorySection

CPU = torch.device("cpu")


def wide_vae():
    """Wide enough that its feature maps, not the pictures, are the most."""
    from diffusers import AutoencoderKLLTX2Video

    return AutoencoderKLLTX2Video(
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_block_out_channels=(64, 128, 256),
        decoder_layers_per_block=(1, 1, 1, 1),
        **VIDEO_VAE["2.0"],
    ).requires_grad_(False)


@pytest.mark.parametrize("make", [lambda: TinySource("2.3").video_vae(torch.float32), wide_vae])
@pytest.mark.parametrize("tiles", [Tiles(), Tiles(5, 2)])
def test_decoding_takes_what_is_estimated(make, tiles):
    vae, grid = make(), (17, 2, 3)
    with LiveBytes() as counted:
        for _ in decode_video(vae, torch.randn(128, *grid), tiles):
            pass
    estimated = decode_bytes(vae.config, grid, tiles, 4)
    assert 0.9 * counted.peak < estimated < 1.6 * counted.peak


def test_a_forward_takes_no_more_than_is_estimated():
    transformer = TinySource("2.3").transformer(torch.float32)
    model = LtxModel(transformer)
    config, tokens = transformer.config, 2000
    width = config.num_attention_heads * config.attention_head_dim
    block = transformer.transformer_blocks[0].ff
    with torch.no_grad(), LiveBytes() as counted:
        block(torch.randn(1, tokens, width))
    assert counted.peak < denoise_bytes(tokens, width, 4) < 4 * counted.peak
    assert model.device == CPU


def test_smaller_tiles_where_room_is_short_and_a_refusal_where_there_is_none():
    vae, grid = TinySource("2.3").video_vae(torch.float32), (25, 24, 40)  # 1280x768x193
    held = held_bytes(CPU, vae.parameters())
    needs = [held + decode_bytes(vae.config, grid, tiles, 4) for tiles in TILE_CHOICES]
    assert needs == sorted(needs, reverse=True)
    for tiles, need in zip(TILE_CHOICES, needs, strict=True):
        chosen = tiles_that_fit(vae.config, grid, 4, Room(need, "the test"), held)
        assert decode_bytes(vae.config, grid, chosen, 4) <= decode_bytes(vae.config, grid, tiles, 4)
    with pytest.raises(NoRoom, match=r"needs about \d+\.\d\d GB, the test is 0\.00 GB"):
        tiles_that_fit(vae.config, grid, 4, Room(1000, "the test"), held)


def test_the_rehearsed_figure_counts_more_than_the_limit_and_that_more_than_the_machine():
    assert room_for_samples(MemorySection(samples_gb=3, limit_gb=5), CPU) == Room(
        3_300_000_000, "ltx_agent.memory.samples_gb"
    )
    assert room_for_samples(MemorySection(limit_gb=5), CPU).source == "ltx_agent.memory.limit_gb"
    assert room_for_samples(MemorySection(), CPU).total > 10**8


def test_a_parameter_that_two_names_share_is_held_once():
    tensor = torch.zeros(10)
    assert held_bytes(CPU, [tensor, tensor[:5]]) == 40
