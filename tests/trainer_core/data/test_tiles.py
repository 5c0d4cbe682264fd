"""Encoding in tiles is what the VAE itself does in tiles, whatever arrives how, and holds no more than a tile."""

import numpy as np
import pytest
import torch

from trainer_core.data.encoding.tiles import Tiling, encode_pictures
from trainer_core.model.tiny import tiny_source

SMALL = Tiling(frames=24, stride_frames=16, side_px=96, stride_px=64)


@pytest.fixture(scope="module")
def vae():
    return tiny_source("tiny").video_vae(torch.float32)


def pictures(frames: int, height: int = 64, width: int = 160) -> np.ndarray:
    return np.random.default_rng(frames).integers(0, 255, (frames, height, width, 3), np.uint8)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 9, 25, 33, 41, 49, 65])
def test_tiles_are_the_vaes_own(vae, frames):
    pixels = pictures(frames)
    ours = encode_pictures(vae, iter(pixels), SMALL)
    vae.use_framewise_decoding = frames > SMALL.frames + 1  # this is what the library asks when it encodes, too
    vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames = SMALL.frames, SMALL.stride_frames
    scaled = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    theirs = vae.encode(scaled).latent_dist.mode()
    vae.use_framewise_decoding = False
    assert torch.equal(ours, theirs)


@torch.no_grad()
def test_what_fits_is_encoded_whole(vae):
    pixels = pictures(17, 64, 96)
    vae.disable_tiling()
    scaled = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    assert torch.equal(encode_pictures(vae, pixels, SMALL), vae.encode(scaled).latent_dist.mode())


@torch.no_grad()
def test_no_more_than_a_tile_of_pictures_is_held_at_once(vae, monkeypatch):
    seen = []
    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda x, **options: seen.append(x.shape[2]) or encode(x, **options))
    taken = iter(pictures(65, 32, 32))
    latents = encode_pictures(vae, taken, SMALL)
    assert latents.shape == (1, 128, 9, 1, 1)
    assert max(seen) == SMALL.frames + 1
    assert next(taken, None) is None
