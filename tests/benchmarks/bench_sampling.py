"""Sampling against the bare forwards, decode and mux against the VAE's own decode, memory against clip length."""

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import forget_peak, in_a_child, in_turn, kibibytes

from trainer_core.data.batch import Batch, ModalityBatch
from trainer_core.model.ltx import LtxModel
from trainer_core.model.text import TextFeatures, connect
from trainer_core.model.tiny import TinySource
from trainer_core.model.versions import VIDEO_VAE
from trainer_core.objective import objective_of
from trainer_core.sampling.decode import Tiles, decode_video, denormalise_video
from trainer_core.sampling.guidance import Guidance, Scales
from trainer_core.sampling.mux import write_sample
from trainer_core.sampling.sampler import SampleInputs, denoise, draw_noise
from trainer_core.sampling.schedule import dev_sigmas
from trainer_core.sections.strategy import FlexibleStrategy, ModalitySection

pytestmark = pytest.mark.bench

CLIP_FRAMES = 43  # 337 pictures, 14 s at 24 frames per second: four tiles of time
GRID, AUDIO_FRAMES = (7, 8, 14), 51  # 448x256x49 at 24 frames per second
STEPS, REPEATS = 6, 8
GUIDANCE = Guidance(Scales(3.0, 1.0, 3.0, 0.7), Scales(7.0, 1.0, 3.0, 0.7), (1,))
M_MMAP_THRESHOLD = -3  # of malloc.h
SHORT_LATENTS, LONG_LATENTS = 23, 63  # 177 and 497 pictures: two tiles of time, and six


def inputs() -> SampleInputs:
    generator = torch.Generator().manual_seed(0)

    def features() -> TextFeatures:
        return TextFeatures(
            torch.randn(1, 512, 64, generator=generator),
            torch.randn(1, 512, 32, generator=generator),
            (torch.arange(512) > 300).to(torch.int64)[None],
        )

    positive = features()
    side = {"is_generated": True}
    objective = objective_of(
        FlexibleStrategy(
            video=ModalitySection(latents_dir="latents", **side), audio=ModalitySection(latents_dir="audio", **side)
        )
    )
    batch = Batch(
        video=ModalityBatch(torch.zeros(1, 128, *GRID), frame_rate=torch.tensor([24.0])),
        audio=ModalityBatch(torch.zeros(1, 8, AUDIO_FRAMES, 16)),
        video_features=positive.video,
        audio_features=positive.audio,
        text_mask=positive.mask,
        clips=("sample",),
        indices=(0,),
    )
    return SampleInputs(objective, batch, features())


def bare_forwards(model: LtxModel, connectors: object, given: SampleInputs) -> Callable[[], None]:
    """The four forwards of a step on inputs caught from one real step, nothing else."""
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []
    forward = model.forward

    def caught(*args: object, **options: object) -> object:
        calls.append((args, options))
        return forward(*args, **options)  # type: ignore[arg-type]

    model.forward = caught  # type: ignore[method-assign, assignment]
    denoise(model, connectors, given, GUIDANCE, dev_sigmas(STEPS), draw_noise(given, 0))
    model.forward = forward  # type: ignore[method-assign]
    batch = given.batch
    texts = [TextFeatures(batch.video_features, batch.audio_features, batch.text_mask), given.negative]

    @torch.no_grad()
    def run() -> None:
        for text in texts:
            connect(connectors, text)
        for args, options in calls:
            model(*args, **options)

    return run


def ratio_of(ours: Callable[[], object], bare: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """(ratio, our seconds): lower quartiles over pairs measured in turn and in both orders."""
    for run in (ours, bare):
        run()
    return in_turn(ours, bare, repeats)


def test_a_sampling_step_against_the_bare_forwards(record_ratio):
    source = TinySource("2.3")
    model, connectors, given = LtxModel(source.transformer(torch.float32)), source.connectors(torch.float32), inputs()
    bare = bare_forwards(model, connectors, given)
    noise = draw_noise(given, 0)
    ratio, seconds = ratio_of(lambda: denoise(model, connectors, given, GUIDANCE, dev_sigmas(STEPS), noise), bare)
    note = (
        f"tiny 2.3, 784 + {AUDIO_FRAMES} tokens, 4 forwards a step, {STEPS} steps {seconds:.2f} s; quartiles, in turn"
    )
    record_ratio("sampling step against the bare model's forwards", ratio, 1.05, note)


def tiny_vae() -> Any:
    return TinySource("2.3").video_vae(torch.float32)


def mid_size_vae() -> Any:
    """LTX-2's decoder as released, block for block, at a quarter of its width; random weights."""
    from diffusers import AutoencoderKLLTX2Video

    vae = AutoencoderKLLTX2Video(
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_block_out_channels=(64, 128, 256),
        decoder_layers_per_block=(5, 5, 5, 5),
        **VIDEO_VAE["2.0"],
    )
    return vae.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "make", "cells", "repeats"),
    [("tiny decoder", tiny_vae, (7, 12), 5), ("mid-size decoder", mid_size_vae, (5, 8), 3)],
)
@pytest.mark.timeout(1800)
def test_decode_and_mux_against_the_vae(name, make, cells, repeats, tmp_path, record_ratio):
    vae, tiles, frames = make(), Tiles(), (CLIP_FRAMES - 1) * 8 + 1
    latents = torch.randn(128, CLIP_FRAMES, *cells, generator=torch.Generator().manual_seed(0))
    sound = (torch.randn(2, 48_000 * frames // 24, generator=torch.Generator().manual_seed(1)) * 0.1).numpy()
    numbers = iter(range(10_000))

    def ours() -> None:
        stem = tmp_path / str(next(numbers))
        write_sample(stem, decode_video(vae, latents, tiles), frames, (sound, 48_000), 24.0, {"title": "x"})

    @torch.no_grad()
    def bare() -> None:
        vae.use_tiling = False
        for start in tiles.starts(CLIP_FRAMES):
            vae.decode(denormalise_video(latents[None, :, start : start + tiles.frames], vae))

    ratio, seconds = ratio_of(ours, bare, repeats)
    weights, size = sum(one.numel() for one in vae.decoder.parameters()), f"{cells[1] * 32}x{cells[0] * 32}x{frames}"
    note = (
        f"{weights / 1e6:.1f} M random weights, {size} of noise with sound in {seconds:.1f} s; "
        f"bare: the VAE's decode of the same {len(tiles.starts(CLIP_FRAMES))} tiles"
    )
    record_ratio(f"decode and mux against the VAE's own decode, {name}", ratio, 1.1, note)


def test_memory_of_decoding_does_not_grow_with_the_clip(tmp_path, record_ratio):
    grown = {}
    for latent_frames in (SHORT_LATENTS, LONG_LATENTS):
        grown[latent_frames] = int(in_a_child(__file__, str(latent_frames), str(tmp_path))[-1])
    sizes = [f"{grown[frames] / 2**20:.0f} MiB" for frames in (LONG_LATENTS, SHORT_LATENTS)]
    note = (
        f"497 pictures against 177, 256x256: {sizes[0]} and {sizes[1]}; freed blocks of a MiB and more go back to the "
        "system: left to itself, glibc's heap keeps up to a quarter more of them, at random"
    )
    record_ratio(
        "peak memory of tiled decode, long clip against short", grown[LONG_LATENTS] / grown[SHORT_LATENTS], 1.1, note
    )


def print_grown_memory(latent_frames: int, folder: Path) -> None:
    """Print the bytes of peak resident memory that decoding and writing a clip add."""
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)
    vae = TinySource("2.3").video_vae(torch.float32)
    warm = torch.randn(128, 2, 8, 8)
    list(decode_video(vae, warm))
    latents = torch.randn(128, latent_frames, 8, 8)
    forget_peak()
    before = kibibytes("VmRSS")
    write_sample(folder / f"m{latent_frames}", decode_video(vae, latents), (latent_frames - 1) * 8 + 1, None, 24.0, {})
    print((kibibytes("VmHWM") - before) * 1024)


if __name__ == "__main__":
    print_grown_memory(int(sys.argv[1]), Path(sys.argv[2]))
