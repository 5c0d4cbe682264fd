"""Tiles of time: the right pictures at the right place, one stream whatever the tiles; files that say what they are."""

import threading
import wave
import weakref
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from trainer_core.data.encoding.latents import normalise_audio, normalise_video
from trainer_core.model.tiny import TinySource
from trainer_core.sampling.decode import (
    Tiles,
    _levels_by_opencv,
    _levels_by_torch,
    decode_audio,
    decode_video,
    denormalise_audio,
    denormalise_video,
)
from trainer_core.sampling.mux import write_sample

SOURCE = TinySource("2.3")


@pytest.fixture(scope="module")
def vae() -> torch.nn.Module:
    return SOURCE.video_vae(torch.float32)


def test_normalising_is_undone(vae) -> None:
    latents = torch.randn(1, 128, 2, 2, 2)
    torch.testing.assert_close(denormalise_video(normalise_video(latents, vae), vae), latents)
    audio = SOURCE.audio_vae(torch.float32)
    sound = torch.randn(1, 8, 5, 16)
    torch.testing.assert_close(denormalise_audio(normalise_audio(sound, audio), audio), sound)


@pytest.mark.parametrize("frames", [1, 2, 9, 13, 14, 23, 24])
def test_every_length_gives_each_picture_once(vae, frames: int) -> None:
    latents = torch.randn(128, frames, 1, 1, generator=torch.Generator().manual_seed(0))
    for tiles in (Tiles(), Tiles(5, 2)):
        made = sum(len(stretch) for stretch in decode_video(vae, latents, tiles))
        assert made == (frames - 1) * 8 + 1


def test_tiles_stand_where_the_whole_clip_has_them(vae) -> None:
    """One picture off would cost more than any seam: the tiled clip is nearest the whole one at no shift."""
    latents = torch.randn(128, 24, 2, 2, generator=torch.Generator().manual_seed(0))
    whole = np.concatenate(list(decode_video(vae, latents, Tiles(100, 3)))).astype(int)
    tiled = np.concatenate(list(decode_video(vae, latents, Tiles(9, 3)))).astype(int)
    apart = {shift: np.abs(np.roll(tiled, shift, axis=0) - whole)[8:-8].mean() for shift in (-2, -1, 0, 1, 2)}
    assert min(apart, key=lambda shift: apart[shift]) == 0
    assert apart[0] < 0.6 * min(apart[1], apart[-1])
    # the middle of a tile, away from its ends, is the whole clip's own
    assert np.abs(tiled[:25] - whole[:25]).mean() < 2


def test_pictures_with_sound_alone_and_still(vae, tmp_path: Path) -> None:
    latents = torch.randn(128, 3, 1, 2, generator=torch.Generator().manual_seed(0))
    sound = decode_audio(SOURCE.audio_vae(torch.float32), SOURCE.vocoder(torch.float32), torch.randn(8, 18, 16))
    assert sound[0].shape[0] == 2
    said = {"title": "t", "comment": "noise", "prompt": "ünïcode, <b>"}
    video = write_sample(tmp_path / "a", decode_video(vae, latents), 17, sound, 24.0, said)
    assert video.suffix == ".mp4"
    with av.open(str(video)) as opened:
        assert {key: opened.metadata[key] for key in said} == said
        picture, heard = opened.streams.video[0], opened.streams.audio[0]
        assert (picture.frames, picture.average_rate, picture.width, picture.height) == (17, 24, 64, 32)
        assert heard.rate == 48_000
        first = next(opened.decode(video=0)).to_ndarray(format="rgb24")
    wanted = next(decode_video(vae, latents))[0]
    assert np.abs(first.astype(int) - wanted.astype(int)).mean() < 30, "compressed, but the same picture"
    still = write_sample(tmp_path / "b", decode_video(vae, latents[:, :1]), 1, None, 24.0, said)
    assert still.suffix == ".png"
    with Image.open(still) as image:
        assert image.text["prompt"] == said["prompt"]  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(image), next(decode_video(vae, latents[:, :1]))[0])
    alone = write_sample(tmp_path / "c", None, 0, sound, 24.0, said)
    assert alone.suffix == ".wav"
    with wave.open(str(alone)) as opened_wave:
        assert (opened_wave.getframerate(), opened_wave.getnchannels()) == (48_000, 2)
        assert opened_wave.getnframes() == sound[0].shape[1]
    silent = write_sample(tmp_path / "d", decode_video(vae, latents), 17, None, 30000 / 1001, said)
    with av.open(str(silent)) as opened:
        assert not opened.streams.audio
        assert float(opened.streams.video[0].average_rate) == pytest.approx(29.97, abs=1e-3)
    assert not list(tmp_path.glob(".part-*"))


def test_colours_come_back_and_the_file_says_how_they_are_meant(tmp_path: Path) -> None:
    colours = np.array(
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255], [200, 120, 40], [30, 90, 160], [128] * 3],
        np.uint8,
    )
    film = np.repeat(np.repeat(colours[:, None, None], 64, axis=1), 96, axis=2)
    made = write_sample(tmp_path / "a", iter([film]), len(film), None, 24.0, {})
    with av.open(str(made)) as opened:
        context = opened.streams.video[0].codec_context
        said = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
        assert said == (Colorspace.ITU709, ColorRange.MPEG, ColorPrimaries.BT709, ColorTrc.BT709)
        shown = [frame.to_ndarray(format="rgb24")[16:-16, 16:-16].mean((0, 1)) for frame in opened.decode(video=0)]
    assert np.abs(np.array(shown) - colours).max() < 6


def test_an_encoder_that_fails_surfaces_and_leaves_no_half_file(tmp_path: Path) -> None:
    def pictures() -> Iterator[np.ndarray]:
        yield np.zeros((2, 32, 32, 3), np.uint8)
        yield np.zeros((2, 32, 32), np.uint8)  # no picture: the thread meets it, the caller hears of it
        yield np.zeros((2, 32, 32, 3), np.uint8)

    with pytest.raises(cv2.error, match="transform"):
        write_sample(tmp_path / "a", pictures(), 6, None, 24.0, {})
    assert not list(tmp_path.iterdir())


def test_an_interruption_between_tiles_leaves_no_half_file(tmp_path: Path) -> None:
    def pictures() -> Iterator[np.ndarray]:
        yield np.zeros((2, 32, 32, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "a", pictures(), 6, None, 24.0, {})
    assert not list(tmp_path.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encoder")]


def test_of_a_long_clip_two_stretches_are_held(tmp_path: Path) -> None:
    held: list[weakref.ref[np.ndarray]] = []

    def pictures() -> Iterator[np.ndarray]:
        for _ in range(6):
            assert sum(one() is not None for one in held) <= 1, "the one being encoded, while the next is made"
            stretch = np.zeros((8, 32, 32, 3), np.uint8)
            held.append(weakref.ref(stretch))
            yield stretch
            del stretch

    write_sample(tmp_path / "a", pictures(), 48, None, 24.0, {})


def test_sound_stands_beside_its_pictures_in_the_file(tmp_path: Path) -> None:
    """Packets of both in turn: a reader needn't seek, and the muxer needn't keep the pictures until sound comes."""
    sound = np.zeros((2, 48_000 * 2), np.float32)
    stretches = [np.zeros((8, 32, 32, 3), np.uint8) for _ in range(6)]
    path = write_sample(tmp_path / "a", stretches, 48, (sound, 48_000), 24.0, {})
    with av.open(str(path)) as opened:
        packets = sorted((packet for packet in opened.demux() if packet.size), key=lambda packet: packet.pos)
        starts = [(packet.stream.type, float(packet.pts * packet.time_base)) for packet in packets]
    latest = {"video": 0.0, "audio": 0.0}
    for kind, start_s in starts:
        latest[kind] = max(latest[kind], start_s)
        assert abs(latest["video"] - latest["audio"]) < 1.2, starts


def test_levels_are_the_same_on_a_card_and_without_one() -> None:
    planes = torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(0)) * 1.2  # some beyond -1..1
    planes[0, 0, :4] = torch.tensor([-1.0, 1.0, -2.0, 2.0])
    by_torch, by_opencv = (np.stack(levels(planes)) for levels in (_levels_by_torch, _levels_by_opencv))
    assert by_opencv.dtype == np.uint8
    assert np.abs(by_torch.astype(int) - by_opencv).max() <= 1, "a half may go either way"
    assert (by_torch != by_opencv).mean() < 0.001
    assert by_opencv[0, 0, :4].tolist() == [0, 255, 0, 255]
