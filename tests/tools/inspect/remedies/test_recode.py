"""Copies of stretches, decoded again: the right pictures at the right times, the sound where it was."""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tools.inspect.remedies.recode import write_copies
from tools.inspect.remedies.tracks import Crop, MediaChange, Stretch
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.media.probe import probe
from trainer_core.data.media.sounds import read_audio
from trainer_core.errors import DataError

WIDTH, HEIGHT, RATE = 96, 64, 25


def numbered(index: int) -> np.ndarray:
    """A picture whose grey says its number."""
    return np.full((HEIGHT, WIDTH, 3), 20 + 4 * (index % 50), np.uint8)


def numbers_of(pictures: np.ndarray) -> list[int]:
    return [round((float(picture.mean()) - 20) / 4) for picture in pictures]


@pytest.fixture
def clip(tmp_path, write_clip, tone) -> Path:
    """Two seconds of numbered pictures with a tone whose level says the second."""
    sound = tone(2.0)
    sound[48_000:] *= 0.5
    return write_clip(tmp_path / "clip.mp4", frames=50, size=(WIDTH, HEIGHT), picture=numbered, sound=sound)


def test_pieces_share_the_clip_out_without_a_gap(clip, tmp_path):
    cut_s = 21 / RATE
    first, second = write_copies(
        clip, [Stretch(tmp_path / "a.mov", 0, cut_s), Stretch(tmp_path / "b.mov", cut_s)], MediaChange()
    )
    assert (first.frames, second.frames) == (21, 29)
    assert numbers_of(read_frames(first.path, 0, 21, RATE, 32, 32)) == list(range(21))
    assert numbers_of(read_frames(second.path, 0, 29, RATE, 32, 32)) == list(range(21, 50))
    for piece, start_s in ((first, 0.0), (second, cut_s)):
        source, copy = (read_audio(path, at, 0.8, 16_000) for path, at in ((clip, start_s), (piece.path, 0.0)))
        assert np.abs(source - copy)[:, 80:].max() < 0.01  # the resampler has nothing before a copy's first sample


def test_a_constant_rate_shows_at_each_tick_what_the_clip_showed(tmp_path, write_clip, tone):
    shown_for = [1, 1, 3, 1, 2, 1, 1, 4, 1, 1] * 4
    times = [Fraction(sum(shown_for[:index]), 25) for index in range(len(shown_for))]
    clip = write_clip(
        tmp_path / "vfr.mp4", frames=40, size=(WIDTH, HEIGHT), picture=numbered, times_s=times, sound=tone(2.4)
    )
    assert probe(clip).vfr
    made = write_copies(clip, [Stretch(tmp_path / "cfr.mov")], MediaChange(frame_rate=24))[0]
    seen = probe(made.path)
    assert (seen.vfr, round(seen.fps or 0, 6)) == (False, 24)
    assert seen.audio is not None
    assert seen.audio.duration_s == pytest.approx(2.4, abs=0.03)
    count = math.floor(float(times[-1]) * 24)
    assert numbers_of(read_frames(made.path, 0, count, 24, 32, 32)) == numbers_of(
        read_frames(clip, 0, count, 24, 32, 32)
    )


def test_bars_are_cropped_and_a_turn_is_clockwise(tmp_path, write_clip):
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[16:48] = (40, 160, 40)
    picture[16:48, :24] = (220, 40, 40)  # red at the left
    clip = write_clip(tmp_path / "clip.mp4", frames=9, size=(WIDTH, HEIGHT), picture=lambda _: picture)
    cropped = write_copies(clip, [Stretch(tmp_path / "c.mov")], MediaChange(crop=Crop(0, 0.25, 1, 0.5)))[0]
    seen = probe(cropped.path)
    assert (seen.width, seen.height, seen.frames) == (WIDTH, 32, 9)
    assert read_frames(cropped.path, 0, 1, 25, 96, 32).min() > 20
    turned = write_copies(clip, [Stretch(tmp_path / "t.mov")], MediaChange(quarter_turns=3))[0]
    assert (probe(turned.path).width, probe(turned.path).height) == (HEIGHT, WIDTH)
    upright = read_frames(turned.path, 0, 1, 25, HEIGHT, WIDTH)[0]
    assert upright[8, 32, 0] > 150 > upright[60, 32, 0]  # clockwise, the left side is at the top


def test_gain_is_what_was_asked_for(clip, tmp_path):
    made = write_copies(clip, [Stretch(tmp_path / "quiet.mov")], MediaChange(gain_db=-6.0206))[0]
    source, copy = (read_audio(path, 0.0, 0.9, 16_000) for path in (clip, made.path))
    assert np.abs(copy - source / 2).max() < 0.005


def test_sound_that_begins_late_stays_late(tmp_path, write_clip, tone):
    sound = tone(2.0)
    path = write_clip(tmp_path / "late.mp4", frames=50, size=(WIDTH, HEIGHT), picture=numbered, sound=sound)
    late = tmp_path / "later.mkv"
    with av.open(str(path)) as source, av.open(str(late), "w") as made:
        streams = {stream.index: made.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            shift = round(0.5 / packet.time_base) if packet.stream.type == "audio" else 0
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, streams[packet.stream.index]
            made.mux(packet)
    copy = write_copies(late, [Stretch(tmp_path / "copy.mov")], MediaChange())[0]
    heard = read_audio(copy.path, 0.0, 1.5, 16_000)
    assert heard is not None
    assert np.abs(heard[:, :7200]).max() < 0.01
    assert np.abs(heard[:, 9000:]).max() > 0.2


def test_sound_alone_is_cut_too(tmp_path, tone):
    import wave

    samples = (tone(2.0) * 32767).astype("<i2")
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    made = write_copies(tmp_path / "voice.wav", [Stretch(tmp_path / "part.mov", 0.5, 1.25)], MediaChange())[0]
    assert (made.frames, round(made.duration_s, 3)) == (0, 0.75)


def test_nothing_is_left_when_a_copy_can_not_be_made(clip, tmp_path):
    with pytest.raises(DataError, match="has nothing from 9 s on"):
        write_copies(
            clip, [Stretch(tmp_path / "out" / "a.mov", 0, 1), Stretch(tmp_path / "out" / "b.mov", 9)], MediaChange()
        )
    assert list((tmp_path / "out").iterdir()) == []
