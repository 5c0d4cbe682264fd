"""Decoding: the right picture at the right time, sound on the same clock, and honest refusals."""

import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from trainer_core.data.media import pictures
from trainer_core.data.media.decode import timed_pictures
from trainer_core.data.media.pictures import ClipReader, read_frames
from trainer_core.data.media.probe import probe
from trainer_core.data.media.sounds import read_audio
from trainer_core.errors import DataError

RATE_HZ = 48000
LEVELS = 8
"""Test pictures encode their number as one of this many grey levels, far apart enough to survive H.264."""


def grey(number: int) -> int:
    return 20 + 30 * (number % LEVELS)


def numbered_clip(
    path: Path,
    times: Sequence[Fraction],
    *,
    size: tuple[int, int] = (64, 64),
    sound: np.ndarray | None = None,
    sound_starts_s: Fraction = Fraction(0),
    picture: Callable[[int], np.ndarray] | None = None,
    gop: int = 12,
    time_base: Fraction = Fraction(1, 90000),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    """Write pictures at exact times (grey by number unless `picture` draws them) and stereo sound."""
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.gop_size, video.codec_context.time_base = gop, time_base
        audio = container.add_stream("aac", rate=RATE_HZ, layout="stereo") if sound is not None else None
        for number, time_s in enumerate(times):
            drawn = picture(number) if picture else np.full((size[1], size[0], 3), grey(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame.time_base, frame.pts = time_base, round(time_s / time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
            frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            frame.pts = round(sound_starts_s * RATE_HZ)
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def regular(count: int, rate: Fraction | int = 25) -> list[Fraction]:
    return [Fraction(index) / Fraction(rate) for index in range(count)]


def shown(frames: np.ndarray) -> list[int]:
    """The grey level's number of each picture."""
    return [round((float(frame.mean()) - 20) / 30) for frame in frames]


def clicks(count: int, every_s: float, length_s: float) -> np.ndarray:
    """Stereo sound with a short loud click at each multiple of `every_s`."""
    sound = np.zeros((2, round(length_s * RATE_HZ)), np.float32)
    for index in range(count):
        start = round(index * every_s * RATE_HZ)
        sound[:, start : start + 480] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(480) / RATE_HZ)
    return sound


@pytest.fixture
def bunny(footage: Path) -> Path:
    return footage / "bigbuckbunny.mp4"


@pytest.fixture(scope="session")
def bunny_pictures(footage: Path) -> np.ndarray:
    """All pictures of Big Buck Bunny at a quarter of their size, by swscale alone: an independent reference."""
    with av.open(str(footage / "bigbuckbunny.mp4")) as container:
        return np.stack(
            [
                frame.to_ndarray(format="rgb24", width=320, height=180, interpolation="AREA")
                for frame in container.decode(video=0)
            ]
        )


@pytest.mark.parametrize(
    ("start_s", "frames", "frame_rate"),
    [(0.0, 132, 25.0), (4.0, 32, 25.0), (0.4, 60, 24.0), (3.0, 28, 12.5), (1, 9, 60)],
)
def test_pictures_are_those_shown_at_their_times(bunny, bunny_pictures, start_s, frames, frame_rate):
    taken = read_frames(bunny, start_s, frames, frame_rate, 320, 180)
    assert taken.shape == (frames, 180, 320, 3)
    assert taken.dtype == np.uint8
    wanted = [int((start_s + index / frame_rate) * 25 + 1e-6) for index in range(frames)]
    for picture, number in zip(taken, wanted, strict=True):
        errors = {
            near: float(np.abs(picture.astype(int) - bunny_pictures[near]).mean())
            for near in range(max(0, number - 2), min(132, number + 3))
        }
        assert errors[number] < 3
        assert errors[number] == min(errors.values())


def test_seeking_gives_the_same_pictures_as_decoding_from_the_start(tmp_path):
    clip = numbered_clip(tmp_path / "long.mp4", regular(300), gop=25)
    whole = read_frames(clip, 0.0, 300, 25, 32, 32)
    assert shown(whole) == [number % LEVELS for number in range(300)]
    for start in (60, 101, 124, 125, 240, 283):
        np.testing.assert_array_equal(read_frames(clip, start / 25, 17, 25, 32, 32), whole[start : start + 17])


@pytest.mark.parametrize("ending", ["mp4", "h264"])
def test_an_open_reader_gives_what_a_fresh_one_does(tmp_path, ending):
    """Windows that follow each other, overlap, leave gaps, go back, come from another file, or are left half-read."""
    clip = numbered_clip(tmp_path / f"long.{ending}", regular(300), gop=25)
    other = numbered_clip(tmp_path / "other.mp4", regular(20), size=(32, 64))
    whole = read_frames(clip, 0.0, 300, 25, 32, 32)
    with ClipReader() as reader:
        for start in (0, 17, 34, 40, 58, 130, 100, 299, 0, 60, 240):
            count = min(17, 300 - start)
            taken = list(reader.window(clip, start / 25, count, 25, 32, 32))
            np.testing.assert_array_equal(taken, whole[start : start + count], str(start))
            if start == 58:
                np.testing.assert_array_equal(list(reader.window(other, 0, 9, 25, 32, 32))[3], whole[3])
                next(reader.window(clip, 5.0, 17, 25, 32, 32))


def test_an_open_reader_decodes_on(tmp_path, monkeypatch):
    clip = numbered_clip(tmp_path / "long.mp4", regular(200), gop=200)
    taken = []
    monkeypatch.setattr(
        pictures, "timed_pictures", lambda *given: (taken.append(one) or one for one in timed_pictures(*given))
    )
    with ClipReader() as reader:
        for start in range(0, 187, 17):
            assert len(list(reader.window(clip, start / 25, 17, 25, 32, 32))) == 17
    assert len(taken) <= 200, "no picture is decoded twice"


def test_a_file_that_cannot_be_sought_is_decoded_from_its_start(tmp_path):
    clip = numbered_clip(tmp_path / "raw.h264", regular(150), gop=25)
    numbers = shown(read_frames(clip, 4.0, 9, 25, 32, 32))
    assert numbers == [number % LEVELS for number in range(100, 109)]


def test_variable_frame_rate_is_resampled_by_timestamps(tmp_path):
    times = [Fraction(0), Fraction(1, 10), Fraction(5, 10), Fraction(6, 10), Fraction(7, 10), Fraction(12, 10)]
    times += [Fraction(13 + index, 10) for index in range(6)]
    clip = numbered_clip(tmp_path / "vfr.mp4", times)
    expected = [
        max(number for number, time_s in enumerate(times) if time_s <= Fraction(index, 20)) for index in range(36)
    ]
    assert shown(read_frames(clip, 0.0, 36, 20, 32, 32)) == [number % LEVELS for number in expected]
    found = probe(clip)
    assert found.vfr
    assert found.frames == 12


def test_times_rounded_to_milliseconds_repeat_no_picture(tmp_path):
    clip = numbered_clip(tmp_path / "ntsc.mkv", regular(90, 30))
    assert shown(read_frames(clip, 0.0, 90, 30, 32, 32)) == [number % LEVELS for number in range(90)]
    found = probe(clip)
    assert not found.vfr
    assert found.fps == pytest.approx(30, abs=0.02)


def test_the_last_picture_is_held_for_one_interval_and_no_longer(bunny):
    assert read_frames(bunny, 4.0, 33, 25, 32, 32).shape[0] == 33
    with pytest.raises(DataError, match=r"bigbuckbunny\.mp4.*33 of 34 frames"):
        read_frames(bunny, 4.0, 34, 25, 32, 32)


@pytest.mark.parametrize(
    ("source", "target", "kept"),
    [((64, 64), (32, 32), (1.0, 1.0)), ((128, 64), (32, 32), (0.5, 1.0)), ((64, 128), (64, 32), (1.0, 0.25))],
)
def test_the_picture_is_covered_and_cropped_in_the_centre(tmp_path, source, target, kept):
    across = np.linspace(0, 255, source[0])[None, :].repeat(source[1], 0)
    down = np.linspace(0, 255, source[1])[:, None].repeat(source[0], 1)
    drawn = np.stack([across, down, across], axis=-1).astype(np.uint8)
    clip = numbered_clip(tmp_path / "ramp.mp4", regular(9), size=source, picture=lambda _number: drawn)
    picture = read_frames(clip, 0.0, 1, 25, *target)[0].astype(float)
    for channel, axis, share in ((0, 0, kept[0]), (1, 1, kept[1])):
        line = picture[..., channel].mean(axis=axis)
        assert line.max() - line.min() == pytest.approx(255 * share, abs=20)
        assert line.mean() == pytest.approx(127.5, abs=5)


def rotate_header(path: Path) -> None:
    """Turn the display matrix of the first track by 90 degrees, as phones do."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    assert struct.unpack(">3i", content[matrix : matrix + 12]) == (0x10000, 0, 0)
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    path.write_bytes(content)


def test_a_picture_filmed_sideways_is_shown_upright(tmp_path):
    drawn = np.zeros((64, 128, 3), np.uint8)
    drawn[:, :64] = 255
    clip = numbered_clip(tmp_path / "phone.mp4", regular(12), size=(128, 64), picture=lambda _number: drawn)
    rotate_header(clip)
    found = probe(clip)
    assert (found.width, found.height) == (64, 128)
    # The matrix turns the stored picture clockwise, so its left half is on top.
    picture = read_frames(clip, 0.0, 1, 25, 32, 64)[0]
    assert picture[:28].mean() > 240
    assert picture[36:].mean() < 15


def test_pixels_that_are_not_square_are_made_so(footage):
    found = probe(footage / "carphone_pristine.mp4")
    assert (found.width, found.height) == (193, 144)
    assert found.sample_aspect == pytest.approx(128 / 117)


def test_colours_follow_the_tag_of_the_stream(tmp_path):
    colour = np.zeros((64, 64, 3), np.uint8)
    colour[:] = (200, 60, 40)
    path = tmp_path / "bt709.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        video.codec_context.colorspace = 1
        for _ in range(9):
            frame = av.VideoFrame.from_ndarray(colour, format="rgb24")
            container.mux(video.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(video.encode(None))
    assert np.abs(read_frames(path, 0, 1, 25, 32, 32)[0].astype(int) - (200, 60, 40)).max() <= 4


def test_sound_is_mixed_to_stereo_at_the_asked_rate(bunny):
    sound = read_audio(bunny, 0.0, 5.28, 16000)
    assert sound is not None
    assert sound.shape == (2, 84480)
    assert sound.dtype == np.float32
    assert 0.01 < np.abs(sound).max() < 1


def test_a_window_of_sound_equals_that_part_of_the_whole(bunny):
    whole = read_audio(bunny, 0.0, 5.28, RATE_HZ)
    for start_s, duration_s in ((0.5, 0.7083333), (3.0, 1.0), (4.28, 1.0)):
        part = read_audio(bunny, start_s, duration_s, RATE_HZ)
        begin = round(start_s * RATE_HZ)
        assert part.shape[1] == round(duration_s * RATE_HZ)
        np.testing.assert_allclose(part, whole[:, begin : begin + part.shape[1]], atol=1e-5)


def loud_moments(sound: np.ndarray, rate_hz: int) -> list[float]:
    """When each click begins, in seconds."""
    loud = np.flatnonzero(np.abs(sound).max(axis=0) > 0.2)
    return [float(loud[0]) / rate_hz] + [
        float(after) / rate_hz for before, after in pairwise(loud) if after - before > 600
    ]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_sound_and_pictures_share_one_clock(tmp_path, ending):
    """Clicks fall on the pictures they were recorded with, in containers that start anywhere on their own clock."""
    clip = numbered_clip(tmp_path / f"clicks.{ending}", regular(100), sound=clicks(8, 0.5, 4.0))
    sound = read_audio(clip, 0.0, 3.9, 16000)
    assert loud_moments(sound, 16000) == [pytest.approx(0.5 * index, abs=0.004) for index in range(8)]
    later = read_audio(clip, 2.25, 1.5, 16000)
    assert loud_moments(later, 16000) == [pytest.approx(0.25 + 0.5 * index, abs=0.004) for index in range(3)]


def test_sound_that_starts_late_is_preceded_by_silence(tmp_path):
    sound = clicks(4, 0.5, 2.0)
    clip = numbered_clip(tmp_path / "late.mkv", regular(75), sound=sound, sound_starts_s=Fraction(1))
    heard = read_audio(clip, 0.0, 2.9, 16000)
    assert np.abs(heard[:, : 16000 - 400]).max() < 1e-3
    assert loud_moments(heard, 16000) == [pytest.approx(1 + 0.5 * index, abs=0.004) for index in range(4)]


def test_pictures_that_start_late_move_the_clock(tmp_path):
    times = [Fraction(1, 2) + time_s for time_s in regular(50)]
    clip = numbered_clip(tmp_path / "late.mkv", times, sound=clicks(5, 0.5, 2.5))
    assert shown(read_frames(clip, 0.0, 9, 25, 32, 32)) == [*range(8), 0]
    assert loud_moments(read_audio(clip, 0.0, 1.9, 16000), 16000)[:3] == [
        pytest.approx(0.5 * index, abs=0.004) for index in range(3)
    ]
    assert probe(clip).audio.start_s == pytest.approx(-0.5, abs=0.03)


def test_a_short_tail_is_padded_a_long_one_refused(tmp_path):
    clip = numbered_clip(tmp_path / "short.mkv", regular(50), sound=clicks(3, 0.5, 1.5))
    ends_s = probe(clip).audio.end_s
    padded = read_audio(clip, 0.0, ends_s + 0.09, 16000)
    assert padded.shape == (2, round((ends_s + 0.09) * 16000))
    assert np.abs(padded[:, -1400:]).max() < 0.02
    with pytest.raises(DataError, match=r"short\.mkv.*ends 0\.3\d s early"):
        read_audio(clip, 0.0, ends_s + 0.3, 16000)


def test_mono_sound_and_sound_alone(tmp_path):
    path = tmp_path / "mono.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        tone = (12000 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sound = read_audio(path, 0.25, 0.5, 16000)
    assert sound.shape == (2, 8000)
    np.testing.assert_allclose(sound[0], sound[1], atol=1e-6)
    assert np.abs(np.fft.rfft(sound[0])).argmax() == 220
    found = probe(path)
    assert (found.kind, found.frames, found.audio.channels) == ("audio", 0, 1)
    assert found.duration_s == pytest.approx(1.0, abs=0.001)
    with pytest.raises(DataError, match="no pictures"):
        read_frames(path, 0, 1, 24, 32, 32)


def test_a_clip_without_sound(footage):
    assert read_audio(footage / "bikes.mp4", 0, 1, 16000) is None


def test_probe_counts_by_decoding(footage):
    bunny, bikes = probe(footage / "bigbuckbunny.mp4"), probe(footage / "bikes.mp4")
    assert (bunny.kind, bunny.frames, bunny.width, bunny.height, bunny.vfr) == ("video", 132, 1280, 720, False)
    assert (bunny.fps, bunny.duration_s) == (pytest.approx(25), pytest.approx(5.28))
    assert (bunny.audio.channels, bunny.audio.sample_rate_hz) == (6, 48000)
    assert bunny.audio.duration_s == pytest.approx(5.312)
    assert (bikes.frames, bikes.audio) == (250, None)


def test_observers_see_every_picture_and_hear_all_sound(footage):
    class Watcher:
        def __init__(self) -> None:
            self.times: list[float] = []
            self.sizes: set[tuple[int, int]] = set()
            self.samples = 0

        def see(self, time_s: float, frame: av.VideoFrame) -> None:
            self.times.append(time_s)
            self.sizes.add((frame.width, frame.height))

        def hear(self, time_s: float, frame: av.AudioFrame) -> None:
            assert time_s == pytest.approx(self.samples / 48000)
            self.samples += frame.samples

    watcher = Watcher()
    found = probe(footage / "bigbuckbunny.mp4", [watcher])
    assert watcher.times == [pytest.approx(index / 25) for index in range(132)]
    assert watcher.sizes == {(1280, 720)}
    assert watcher.samples == round(found.audio.duration_s * 48000)
    assert (found.codec, found.pixel_format, found.bit_depth) == ("h264", "yuv420p", 8)
    assert (found.transfer, found.interlaced, found.sizes) == ("sdr", False, 1)


@pytest.mark.parametrize("name", ["still.png", "still.jpg", "still%03d.png"])
def test_an_image_is_one_picture(tmp_path, name):
    import cv2

    cv2.imwrite(str(tmp_path / name), np.full((48, 80, 3), (0, 0, 255), np.uint8))
    cv2.imwrite(str(tmp_path / "still001.png"), np.zeros((16, 16, 3), np.uint8))
    found = probe(tmp_path / name)
    assert (found.kind, found.frames, found.width, found.height, found.duration_s) == ("image", 1, 80, 48, 0.0)
    picture = read_frames(tmp_path / name, 0.0, 1, 24.0, 32, 32)[0, 16, 16]
    assert picture.tolist() == [pytest.approx(255, abs=3), pytest.approx(0, abs=3), pytest.approx(0, abs=3)]


@pytest.mark.parametrize(("progressive", "share"), [(0, 0.5), (0, 0.99), (1, 0.7)])
def test_a_jpeg_that_ends_in_the_middle_is_damaged(tmp_path, progressive, share):
    """The decoder fills the rest with grey and says nothing."""
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    written = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    (tmp_path / "whole.jpg").write_bytes(written + b"\0\0trailing")
    (tmp_path / "cut.jpg").write_bytes(written[: int(len(written) * share)])
    whole, cut = probe(tmp_path / "whole.jpg"), probe(tmp_path / "cut.jpg")
    assert (whole.kind, whole.damaged_packets) == ("image", 0)
    assert (cut.kind, cut.damaged_packets, cut.frames) == ("image", 1, 1)


def damaged(source: Path, target: Path, keep_share: float) -> Path:
    """A copy that ends in the middle; its header stands in front and still promises all of it."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * keep_share)])
    return target


@pytest.fixture
def header_first(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0)
    return numbered_clip(
        tmp_path / "whole.mp4",
        regular(100),
        picture=lambda _number: noise.integers(0, 255, (64, 64, 3), np.uint8),
        options={"movflags": "faststart"},
    )


def test_a_cut_off_file_is_reported_up_to_where_it_decodes(tmp_path, header_first):
    found = probe(damaged(header_first, tmp_path / "cut.mp4", 0.5))
    assert 30 < found.frames < 70
    assert found.header_frames == 100
    assert found.header_duration_s == pytest.approx(4.0)
    assert found.duration_s == pytest.approx(found.frames / 25)
    with pytest.raises(DataError, match=r"cut\.mp4.* ends too early"):
        read_frames(tmp_path / "cut.mp4", 0.0, 100, 25, 32, 32)


def test_what_probe_counts_can_be_read(tmp_path, header_first):
    """A damaged clip gives exactly the pictures that were promised for it."""
    for share in (0.3, 0.55, 0.8):
        clip = damaged(header_first, tmp_path / "cut.mp4", share)
        found = probe(clip)
        assert read_frames(clip, 0.0, found.frames, 25, 32, 32).shape[0] == found.frames


def test_garbage_inside_a_file_is_counted_not_shown(tmp_path, header_first):
    content = bytearray(header_first.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    broken = tmp_path / "hole.mp4"
    broken.write_bytes(content)
    found = probe(broken)
    assert found.damaged_packets > 0
    assert 9 <= found.frames < 100


def unreadable_files(folder: Path) -> Iterator[tuple[Path, str]]:
    import os

    text = folder / "text.mp4"
    text.write_text("not a film\n" * 50)
    yield text, "no media file"
    empty = folder / "empty.mp4"
    empty.touch()
    yield empty, "no media file"
    playlist = folder / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:10,\n/etc/hostname\n#EXT-X-ENDLIST\n")
    yield playlist, "no media file"
    dangling = folder / "gone.mp4"
    dangling.symlink_to(folder / "nowhere.mp4")
    yield dangling, "No such file"
    pipe = folder / "pipe.mp4"
    os.mkfifo(pipe)
    yield pipe, "not a regular file"
    directory = folder / "folder.mp4"
    directory.mkdir()
    yield directory, "not a regular file"


@pytest.mark.timeout(20)
def test_files_that_are_no_media_are_refused_by_name(tmp_path):
    for path, reason in unreadable_files(tmp_path):
        for read in (
            probe,
            lambda path: read_frames(path, 0, 9, 24, 32, 32),
            lambda path: read_audio(path, 0, 1, 16000),
        ):
            with pytest.raises(DataError, match=reason) as caught:
                read(path)
            assert path.name in caught.value.message


def test_names_of_any_bytes(tmp_path, footage):
    name = b"a \"b\" \xff\xfe \xf0\x9f\x8e\xac\n'c'.mp4".decode("utf-8", errors="surrogateescape")
    clip = tmp_path / name
    shutil.copy(footage / "carphone_pristine.mp4", clip)
    assert probe(clip).frames == 120
    assert read_frames(clip, 0, 9, 25, 32, 32).shape[0] == 9


def test_damaged_sound_is_neither_silenced_nor_shortened(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4 * RATE_HZ)).astype(np.float32)
    clip = numbered_clip(tmp_path / "whole.mp4", regular(100), sound=noise)
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pos is not None and packet.size]
    content = bytearray(clip.read_bytes())
    for packet in packets[80:110]:
        content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    assert probe(clip).audio.decodable
    assert not probe(broken).audio.decodable
    with pytest.raises(DataError, match=r"sound of 'broken\.mp4' can't be decoded for 0\.\d+ s"):
        read_audio(broken, 1.0, 2.0, 16000)
    assert read_audio(broken, 0.0, 1.0, 16000) is not None
