"""Each check on clips made to fail it, and on real footage, which passes."""

import shutil
import struct
from collections.abc import Callable
from fractions import Fraction

import cv2
import numpy as np
import pytest


def test_real_footage_raises_no_false_alarm(footage, inspection):
    inspection.run(footage)
    assert inspection.flags("bigbuckbunny.mp4") == {}
    assert set(inspection.flags("bikes.mp4")) == {"no_audio", "scene_cut"}
    assert set(inspection.flags("carphone_pristine.mp4")) == {"no_audio", "odd_pixel_aspect"}
    assert inspection.flags("carphone_pristine.mp4")["odd_pixel_aspect"]["severity"] == "note"


def test_a_picture_that_never_moves(inspection, tmp_path, write_clip):
    waves = np.sin(np.linspace(0, 20, 192))[None, :] * np.cos(np.linspace(0, 14, 128))[:, None]
    still = np.repeat((127 + 120 * waves)[..., None], 3, axis=-1).astype(np.uint8)
    write_clip(tmp_path / "clips" / "still.mp4", picture=lambda _index: still)

    def creeping(index: int) -> np.ndarray:
        return np.roll(still, index // 10, axis=1)

    write_clip(tmp_path / "clips" / "creep.mp4", picture=creeping)
    inspection.run(tmp_path / "clips")
    assert inspection.flags("still.mp4")["static"]["severity"] == "warn"
    assert "static" not in inspection.flags("creep.mp4")


def test_black_stretches_are_timed(inspection, tmp_path, write_clip):
    noise = np.random.default_rng(0)

    def picture(index: int) -> np.ndarray:
        if 20 <= index < 40:
            return np.zeros((128, 192, 3), np.uint8)
        return noise.integers(0, 255, (128, 192, 3), np.uint8)

    def night(index: int) -> np.ndarray:
        dark = np.full((128, 192, 3), 10, np.uint8)
        dark[index : index + 30, 20:80] = 120
        return dark

    write_clip(tmp_path / "clips" / "fade.mp4", picture=picture)
    write_clip(tmp_path / "clips" / "night.mp4", picture=night)
    inspection.run(tmp_path / "clips")
    flag = inspection.flags("fade.mp4")["black"]
    assert (flag["start_s"], flag["end_s"]) == (pytest.approx(0.8, abs=0.05), pytest.approx(1.6, abs=0.05))
    assert "black" not in inspection.flags("night.mp4")


def test_sound_that_is_silence(inspection, tmp_path, write_clip, tone):
    folder = tmp_path / "clips"
    write_clip(folder / "mute.mp4", sound=tone(2, level=0.0))
    write_clip(folder / "quiet.mp4", sound=tone(2, level=0.01))
    result = inspection.run(folder)
    assert inspection.flags("mute.mp4")["silent"]["severity"] == "warn"
    assert inspection.clip("mute.mp4")["audio"]["status"] == "silent"
    assert inspection.clip("quiet.mp4")["audio"]["status"] == "ok"
    assert inspection.clip("quiet.mp4")["measures"]["sound_rms_dbfs"] == pytest.approx(-43, abs=1)
    assert result.clips_with_sound == 1


def test_sound_shorter_than_the_pictures(inspection, tmp_path, write_clip, tone):
    folder = tmp_path / "clips"
    write_clip(folder / "half.mp4", frames=75, sound=tone(1.5))
    write_clip(folder / "hardly.mp4", frames=75, sound=tone(0.3))
    inspection.run(folder)
    half, hardly = inspection.clip("half.mp4"), inspection.clip("hardly.mp4")
    assert (half["audio"]["status"], len(half["samples"])) == ("ok", 2)
    assert "2 of its 4 samples" in inspection.flags("half.mp4")["av_length_mismatch"]["message"]
    assert (hardly["audio"]["status"], len(hardly["samples"])) == ("short", 4)


def test_slow_clips_and_varying_rates(inspection, tmp_path, write_clip, footage):
    folder = tmp_path / "clips"
    write_clip(folder / "slow.mp4", frames=30, rate=10)
    shutil.copy(footage / "bikes.mp4", folder / "bikes.mp4")
    inspection.run(folder)
    flag = inspection.flags("slow.mp4")["low_fps"]
    assert (flag["value"], flag["threshold"]) == (10.0, 22.5)
    assert "low_fps" not in inspection.flags("bikes.mp4")


def test_a_varying_rate_is_noted_not_warned(inspection, tmp_path, write_clip, mosaic, tone):
    times_s = [Fraction(index, 25) + (Fraction(1, 50) if index % 3 == 1 else 0) for index in range(60)]
    drift = mosaic((192, 128))

    def picture(index: int) -> np.ndarray:
        return drift(round(50 * times_s[index]))

    write_clip(tmp_path / "clips" / "phone.mp4", frames=60, times_s=times_s, picture=picture, sound=tone(2.4))
    inspection.run(tmp_path / "clips")
    assert inspection.clip("phone.mp4")["vfr"]
    assert [flag["id"] for flag in inspection.clip("phone.mp4")["flags"] if flag["severity"] != "note"] == []
    assert inspection.flags("phone.mp4")["vfr"]["severity"] == "note"


def test_a_header_that_lies(inspection, tmp_path, write_clip):
    path = write_clip(tmp_path / "clips" / "old.avi")
    content = bytearray(path.read_bytes())
    length = content.index(b"strh") + 8 + 32
    assert struct.unpack("<I", content[length : length + 4]) == (50,)
    content[length : length + 4] = struct.pack("<I", 55)
    path.write_bytes(content)
    inspection.run(tmp_path / "clips")
    flag = inspection.flags("old.avi")["header_mismatch"]
    assert (flag["value"], flag["threshold"], flag["severity"]) == (50, 55, "note")
    assert inspection.clip("old.avi")["frames"] == 50


def test_damage_inside_a_clip(inspection, tmp_path, write_clip):
    noise = np.random.default_rng(7)

    def picture(_index: int) -> np.ndarray:
        return noise.integers(0, 255, (128, 192, 3), np.uint8)

    path = write_clip(tmp_path / "clips" / "hole.mp4", frames=60, picture=picture, faststart=True)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20000] = bytes(20000)
    path.write_bytes(content)
    inspection.run(tmp_path / "clips")
    flag = inspection.flags("hole.mp4")["undecodable"]
    assert flag["severity"] == "warn"
    assert flag["value"] >= 1


def test_a_picture_too_small_for_any_bucket(inspection, tmp_path, write_clip):
    for index in range(3):
        write_clip(tmp_path / "clips" / f"large{index}.mp4", size=(192, 128 + 64 * index))
    write_clip(tmp_path / "clips" / "speck.mp4", size=(30, 30))
    result = inspection.run(tmp_path / "clips")
    assert inspection.flags("speck.mp4")["low_resolution"]["severity"] == "block"
    assert inspection.clip("speck.mp4")["status"] == "unusable"
    assert inspection.clip("speck.mp4")["samples"] == []
    assert result.usable == 3


def test_names_that_other_programs_would_mix_up(inspection, tmp_path, write_clip):
    folder = tmp_path / "clips"
    for name in ("shot.mp4", "shot.mkv", "Shot.mov", "shot.2.mp4", "sub/shot.mp4"):
        write_clip(folder / name, frames=20)
    inspection.run(folder)
    colliding = {
        clip["path"] for clip in inspection.report()["clips"] if "name_collision" in inspection.flags(clip["path"])
    }
    assert colliding == {"shot.mp4", "shot.mkv", "Shot.mov"}
    assert inspection.flags("shot.mp4")["name_collision"]["message"].endswith("only in its ending or its capitals.")


def test_half_a_jpeg_is_not_passed_as_whole(inspection, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    picture = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8), (192, 128))
    cv2.imwrite(str(folder / "whole.jpg"), picture)
    content = (folder / "whole.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(content[: len(content) // 2])
    inspection.run(folder)
    assert "undecodable" not in inspection.flags("whole.jpg")
    assert "shows grey" in inspection.flags("half.jpg")["undecodable"]["message"]
    assert inspection.clip("half.jpg")["status"] == "flagged"


def test_the_page_passes_no_clips_remedy_off_as_that_of_all(inspection, tmp_path, write_clip, mosaic):
    def barred(bar: int) -> Callable[[int], np.ndarray]:
        def picture(index: int) -> np.ndarray:
            drawn = mosaic((192, 128))(index).copy()
            drawn[:bar] = drawn[-bar:] = 0
            return drawn

        return picture

    for name, bar in (("one.mp4", 16), ("two.mp4", 24)):
        write_clip(tmp_path / "clips" / name, picture=barred(bar))
    inspection.run(tmp_path / "clips")
    page = inspection.project.report_html_path.read_text()
    assert "Each is told what to do, for example: Crop it to 192 × " in page
