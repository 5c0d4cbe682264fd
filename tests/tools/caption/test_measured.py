import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tools.caption.captioners.captioner import ClipFile
from tools.caption.captioners.measured import measured_draft
from tools.caption.media.pictures import measure_pictures
from tools.caption.media.sound import measure_sound
from trainer_core.errors import DataError

MakeClip = Callable[..., ClipFile]
MAX_WORDS = 60


def _write_video(path: Path, frames: list[np.ndarray], rate: int = 24) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
        container.mux(stream.encode())


def _write_sound(path: Path, samples: np.ndarray, rate: int = 48000) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _flat(bgr: tuple[int, int, int], size: tuple[int, int] = (64, 96)) -> np.ndarray:
    return np.full((*size, 3), bgr, dtype=np.uint8)


def test_real_clips_get_different_plain_short_descriptions(originals: Path, clip_file: MakeClip) -> None:
    captions = {
        name: measured_draft(clip_file(originals / name))
        for name in ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
    }
    bunny, bikes, phone = captions.values()
    assert "5.3 seconds, 1280 by 720 pixels" in bunny.caption
    assert "green" in bunny.caption
    assert "The sound is" in bunny.caption
    assert "10.0 seconds, 640 by 272 pixels" in bikes.caption
    assert "no usable sound" in bikes.caption
    assert len({draft.caption for draft in captions.values()}) == 3
    for draft in captions.values():
        assert len(draft.caption.split()) <= MAX_WORDS
        assert draft.caption.endswith("Measured description.")
        assert draft.needs_review
        assert draft.frames_s[0] == 0.0
        assert draft.frames_s == sorted(draft.frames_s)
    assert phone.source == "measured"


def test_cut_colour_light_and_motion_are_what_was_drawn(tmp_path: Path, clip_file: MakeClip) -> None:
    path = tmp_path / "drawn.mp4"
    _write_video(path, [_flat((220, 0, 0))] * 24 + [_flat((0, 0, 220))] * 24)
    measures = measure_pictures(path)
    assert measures is not None
    assert measures.cuts_s == [pytest.approx(1.0, abs=0.05)]
    assert sorted(measures.colours) == ["blue", "red"]
    assert measures.motion < 0.5
    assert measures.duration_s == pytest.approx(2.0, abs=0.05)
    assert measures.light_change > 10  # red is brighter than blue to the eye


@pytest.mark.parametrize("pixels_a_frame", [0, 6])
def test_motion_tells_a_still_clip_from_a_moving_one(tmp_path: Path, clip_file: MakeClip, pixels_a_frame: int) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (8, 12), dtype=np.uint8)
    texture = cv2.cvtColor(cv2.resize(noise, (384, 256), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    path = tmp_path / "pan.mp4"
    _write_video(path, [np.roll(texture, pixels_a_frame * index, axis=1) for index in range(36)])
    caption = measured_draft(clip_file(path)).caption
    assert ("almost no motion" in caption) is (pixels_a_frame == 0)


def test_sound_is_measured_where_it_is(tmp_path: Path, clip_file: MakeClip) -> None:
    path = tmp_path / "tone.wav"
    time_s = np.arange(96000) / 48000
    _write_sound(path, np.where(time_s < 1, 0.5 * np.sin(2 * np.pi * 440 * time_s), 0))
    measures = measure_sound(path)
    assert measures is not None
    assert measures.pitch_hz == pytest.approx(440, abs=20)
    assert measures.silence_share == pytest.approx(0.5, abs=0.05)
    assert measures.level_dbfs == pytest.approx(-12, abs=0.5)
    caption = measured_draft(clip_file(path, "audio")).caption
    assert caption.startswith("The sound of 2.0 seconds is loud")
    assert "pixels" not in caption


def test_silence_and_still_pictures_are_called_so(tmp_path: Path, clip_file: MakeClip) -> None:
    sound, picture = tmp_path / "silent.wav", tmp_path / "still.png"
    _write_sound(sound, np.zeros(48000))
    cv2.imwrite(str(picture), _flat((0, 200, 0), (96, 64)))
    assert measured_draft(clip_file(sound, "audio")).caption.startswith("The sound of 1.0 seconds is silent.")
    assert measured_draft(clip_file(picture, "image")).caption == (
        "A tall still picture, 64 by 96 pixels, evenly lit, mostly green. Measured description."
    )


def test_damaged_tail_ends_the_measuring_and_a_vanished_clip_is_named(
    tmp_path: Path, originals: Path, clip_file: MakeClip
) -> None:
    path = tmp_path / "cut.mp4"
    whole = (originals / "carphone_pristine.mp4").read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(2000) + whole[middle + 2000 :])
    assert "176 by 144 pixels" in measured_draft(clip_file(path)).caption
    path.unlink()
    with pytest.raises(DataError, match=r"cut\.mp4 can't be read any more"):
        measured_draft(clip_file(path))


def test_what_inspection_measured_of_speech_and_music_is_said(cut_footage: Path) -> None:
    clip = ClipFile(cut_footage / "bunny wakes.mp4", "bunny", "video", has_sound=True)
    assert "music" not in measured_draft(clip).caption
    heard = dataclasses.replace(clip, speech_s=1.25, music_likely=True)
    assert ", with 1.2 seconds of speech and likely music." in measured_draft(heard).caption
    quiet = dataclasses.replace(clip, speech_s=0.0, music_likely=False)
    assert ", without speech and no music." in measured_draft(quiet).caption
