"""Inspecting folders: the report, its page, and every bad input in one clear sentence."""

import itertools
import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tools.inspect.report.report import Report
from tools.inspect.tool import INSPECT_TOOL, InspectArguments
from tools.project import ProjectFacts
from tools.registry import node_tools
from trainer_core.data.buckets import parse_buckets
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.media.sounds import read_audio
from trainer_core.errors import ConfigError, DataError


def test_real_clips_are_reported_and_left_alone(real_clips, inspection, untouched):
    untouched(real_clips)
    steps = []
    inspection.project.write_facts(ProjectFacts(sources=[str(real_clips)]))
    tool = INSPECT_TOOL
    result = tool.function(inspection.project, InspectArguments(), lambda *step: steps.append(step))
    assert steps[-1] == ("looking at clips", 5, 5)
    assert (result.clips, result.usable, result.clips_with_sound) == (5, 5, 2)
    assert result.frame_rate == 25
    assert "5 of 5 clips can train" in result.sentence
    assert [problem.split(":")[0] for problem in result.problems] == [
        "2 clips ('bikes_1.mp4', 'bikes_2.mp4')",
        "3 clips ('bikes_1.mp4', 'bikes_2.mp4', 'carphone.mp4')",
    ]
    report = inspection.report()
    assert Report.model_validate(report).model_dump() == report
    assert [clip["path"] for clip in report["clips"]] == sorted(path.name for path in real_clips.iterdir())
    bunny = inspection.clip("bunny wakes.mp4")
    assert (bunny["status"], bunny["frames"], bunny["fps"], bunny["audio"]["status"]) == ("ok", 60, 25.0, "ok")
    assert (bunny["audio"]["channels"], bunny["audio"]["sample_rate_hz"]) == (6, 48000)
    assert bunny["audio"]["loudness_lufs"] == pytest.approx(-39.3, abs=1)
    assert bunny["audio"]["speech_s"] == 0
    assert inspection.clip("bikes_1.mp4")["measures"]["cuts_s"] == [pytest.approx(1.2)]
    assert Path(bunny["source"]) == real_clips
    carphone = inspection.clip("carphone.mp4")
    assert (carphone["width"], carphone["height"], carphone["audio"]["status"]) == (176, 144, "none")
    assert carphone["fps"] == pytest.approx(29.97, abs=0.01)


def test_every_sample_of_the_report_can_be_read(real_clips, inspection):
    """What inspection promises, the encoder gets: pictures of the bucket's shape, and sound where the status is ok."""
    inspection.run(real_clips)
    report = inspection.report()
    samples = [(clip, sample) for clip in report["clips"] for sample in clip["samples"]]
    assert len(samples) == report["summary"]["samples"] >= 10
    kept_s = 0.0
    for clip, sample in samples:
        (bucket,) = parse_buckets(sample["bucket"])
        file = Path(clip["source"]) / clip["path"]
        rate = report["summary"]["frame_rate"]
        frames = read_frames(file, sample["start_s"], bucket.frames, rate, bucket.width, bucket.height)
        assert frames.shape == (bucket.frames, bucket.height, bucket.width, 3)
        assert sample["duration_s"] == pytest.approx(bucket.frames / rate)
        kept_s += sample["duration_s"]
        if clip["audio"]["status"] == "ok":
            sound = read_audio(file, sample["start_s"], sample["duration_s"], 16000)
            assert sound.shape == (2, round(sample["duration_s"] * 16000))
    seconds = report["seconds"]
    assert seconds["kept"] == pytest.approx(kept_s, abs=0.01)
    assert seconds["total"] == pytest.approx(sum(clip["duration_s"] for clip in report["clips"]), abs=0.01)
    assert seconds["discarded"] == pytest.approx(seconds["total"] - seconds["kept"], abs=0.01)


def test_buckets_follow_the_model(footage, inspection):
    tiny = inspection.run(footage)
    real = inspection.run(footage, model="/models/ltx")
    assert tiny.buckets == "96x64x17;96x64x9"
    assert max(bucket.tokens for bucket in parse_buckets(real.buckets)) > 1000
    assert max(bucket["clips"] for bucket in inspection.report()["buckets"]) <= 3


def test_a_person_may_set_the_frame_rate(real_clips, inspection):
    assert inspection.run(real_clips, frame_rate=12.0).frame_rate == 12
    with pytest.raises(ValueError, match="greater than or equal"):
        InspectArguments(frame_rate=0)


def test_objectives_name_what_is_missing(real_clips, inspection):
    result = inspection.run(real_clips)
    assert {"t2v", "i2v", "v2a", "a2v", "t2a"} <= set(result.objectives_possible)
    assert result.objectives_missing["av2av_ic"] == ["reference_audio", "reference_video"]
    assert len(inspection.report()["objectives"]) == 13
    for clip in real_clips.glob("bunny*"):
        clip.unlink()
    silent = inspection.run(real_clips)
    assert silent.objectives_missing["t2v"] == ["audio"]
    assert "v2v_ic" not in silent.objectives_possible


def test_the_page_stands_alone_and_escapes_names(real_clips, inspection):
    (real_clips / "bikes_1.mp4").rename(real_clips / "<script>alert('x')<\u202e&.mp4")
    inspection.run(real_clips)
    page = inspection.project.report_html_path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;\\u202e&amp;.mp4" in page
    assert page.count('src="data:image/jpeg;base64,') == 5
    assert "http" not in page.replace("charset", "")


def test_names_of_any_bytes_survive(footage, inspection, tmp_path):
    folder = tmp_path / "clips"
    names = ["with space.mp4", 'it\'s "quoted".mp4', "🎬 film.mp4", "two\nlines.mp4", os.fsdecode(b"b\xff\xfe.mp4")]
    for name in names:
        (folder / "sub dir").mkdir(parents=True, exist_ok=True)
        shutil.copy(footage / "carphone_pristine.mp4", folder / "sub dir" / name)
    result = inspection.run(folder)
    assert result.usable == len(names)
    clips = inspection.report()["clips"]
    assert {clip["path"] for clip in clips} == {f"sub dir/{name}" for name in names}
    for clip in clips:
        assert (Path(clip["source"]) / clip["path"]).is_file()
        assert len(clip["sha256"]) == 64
    shown = json.dumps(result.model_dump())
    assert "two\\\\nlines" in shown
    shown.encode("utf-8")
    result.model_dump_json()


def test_bad_files_are_named_and_the_others_still_processed(real_clips, inspection, write_clip):
    whole = (real_clips / "bunny wakes.mp4").read_bytes()
    (real_clips / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (real_clips / "text.mp4").write_text("this is no film\n" * 100)
    (real_clips / "empty.mov").touch()
    (real_clips / "gone.mp4").symlink_to(real_clips / "nowhere.mp4")
    (real_clips / "loop.mp4").symlink_to(real_clips / "loop.mp4")
    os.mkfifo(real_clips / "pipe.mp4")
    (real_clips / "folder.mp4").mkdir()
    (real_clips / "around").symlink_to(real_clips)
    write_clip(real_clips / "blink.mp4", frames=7)
    (real_clips / "notes.txt").write_text("a sidecar")
    (real_clips / "budget.xlsx").write_bytes(b"PK\x03\x04 not media")
    (real_clips / ".hidden.mp4").write_text("never looked at")
    result = inspection.run(real_clips)
    statuses = {clip["path"]: (clip["kind"], clip["status"]) for clip in inspection.report()["clips"]}
    unreadable = {"truncated.mp4", "text.mp4", "empty.mov", "gone.mp4", "loop.mp4", "pipe.mp4"}
    assert {path for path, (_, status) in statuses.items() if status == "unreadable"} == unreadable
    assert statuses["blink.mp4"] == ("video", "unusable")
    assert statuses["notes.txt"][0] == statuses["budget.xlsx"][0] == "other"
    assert len(statuses) == 5 + 6 + 1 + 2
    assert (result.usable, result.unreadable, result.unusable, result.other_files) == (5, 6, 1, 2)
    for path in (*unreadable, "blink.mp4"):
        (blocking,) = [flag for flag in inspection.clip(path)["flags"] if flag["severity"] == "block"]
        assert blocking["message"].endswith((".", ")."))
        assert blocking["remedy"]
        assert any(path in problem for problem in result.problems)
    assert inspection.flags("blink.mp4")["too_short"]["value"] == 7


def test_files_and_folders_that_may_not_be_read(real_clips, inspection):
    (real_clips / "bikes_1.mp4").chmod(0)
    (real_clips / "locked").mkdir(mode=0)
    if os.access(real_clips / "bikes_1.mp4", os.R_OK):
        pytest.skip("this user may read everything")
    result = inspection.run(real_clips)
    (real_clips / "locked").chmod(0o700)
    assert result.unreadable == 2
    assert any("Permission denied" in problem for problem in result.problems)


def test_a_clip_cut_off_at_its_end_keeps_what_decodes(inspection, tmp_path, write_clip, tone):
    folder = tmp_path / "clips"
    whole = write_clip(tmp_path / "whole.mp4", frames=100, sound=tone(4), faststart=True)
    folder.mkdir()
    content = whole.read_bytes()
    (folder / "cut.mp4").write_bytes(content[: len(content) * 6 // 10])
    inspection.run(folder)
    clip = inspection.clip("cut.mp4")
    flag = inspection.flags("cut.mp4")["corrupt_tail"]
    assert clip["status"] == "flagged"
    assert 9 <= clip["frames"] < 90
    assert flag["value"] == pytest.approx(clip["frames"] / 25, abs=0.01)
    assert clip["samples"]
    assert clip["samples"][-1]["start_s"] + clip["samples"][-1]["duration_s"] <= clip["duration_s"] + 0.01


def test_a_missing_folder_is_wrong_usage(inspection, tmp_path):
    with pytest.raises(ConfigError, match=r"There is no folder .*nowhere") as caught:
        inspection.run(tmp_path / "nowhere")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda _folder: None, "is empty"),
        (lambda folder: (folder / ".DS_Store").touch(), "is empty"),
        (lambda folder: (folder / "read me.md").write_text("hello"), "no video, image or sound in .* 1 other file"),
        (
            lambda folder: (folder / "a.mp4").write_text("hello"),
            r"None of the 1 clip can train\. 'a\.mp4' can't be decoded",
        ),
    ],
)
def test_folders_with_nothing_to_train_on_block(inspection, tmp_path, fill, said):
    folder = tmp_path / "clips"
    folder.mkdir()
    fill(folder)
    with pytest.raises(DataError, match=said) as caught:
        inspection.run(folder)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_project_that_cannot_be_written_is_one_sentence(real_clips, inspection, monkeypatch):
    inspection.project.write_facts(ProjectFacts(sources=[str(real_clips)]))
    inspection.project.report_html_path.mkdir()
    with pytest.raises(Exception, match=r"report\.html could not be written") as caught:
        INSPECT_TOOL.function(inspection.project, InspectArguments())
    assert caught.value.exit_code == 6
    assert sorted(path.name for path in inspection.project.path.iterdir()) == [
        ".looks.sqlite",
        "project.json",
        "report.html",
    ]


def test_images_and_sound_files(inspection, tmp_path, mosaic, tone):
    folder = tmp_path / "clips"
    folder.mkdir()
    cv2.imwrite(str(folder / "still.png"), mosaic((300, 200))(0))
    with av.open(str(folder / "voice.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray((tone(2.0) * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
    result = inspection.run(folder)
    assert result.usable == 2
    still, voice = inspection.clip("still.png"), inspection.clip("voice.wav")
    assert (still["kind"], still["frames"], still["samples"][0]["bucket"]) == ("image", 1, "96x64x1")
    assert still["flags"] == []
    assert (voice["kind"], voice["audio"]["status"]) == ("audio", "ok")
    assert voice["samples"]
    assert {sample["bucket"] for sample in voice["samples"]} == {None}
    assert set(result.objectives_possible) == {"t2a", "audio_extension", "video_outpainting"}
    assert result.objectives_missing["i2v"] == ["audio", "video"]


def test_what_damage_took_makes_footage_neither_slow_nor_irregular(inspection, tmp_path, write_clip):
    """A sixth of the file zeroed in its middle, and far less of footage that is slow or irregular by itself."""
    folder = tmp_path / "clips"
    times = [Fraction(index * 40 + (20 if index % 3 else 0), 1000) for index in range(400)]
    for path in (
        write_clip(folder / "damaged.mp4", frames=120),
        write_clip(folder / "slow.mp4", frames=120, rate=12),
        write_clip(folder / "irregular.mp4", frames=400, times_s=times),
    ):
        content = bytearray(path.read_bytes())
        length = len(content) // (6 if path.stem == "damaged" else 2000)
        content[len(content) // 2 : len(content) // 2 + length] = bytes(length)
        path.write_bytes(content)
    for name in ("ok 1.mp4", "ok 2.mp4", "ok 3.mp4"):
        write_clip(folder / name, size=(208, 144))
    inspection.run(folder, frame_rate=25.0)
    damaged = inspection.flags("damaged.mp4")
    assert damaged["undecodable"]["value"] >= 10
    assert not {"vfr", "low_fps"} & damaged.keys()
    assert {"undecodable", "low_fps"} <= inspection.flags("slow.mp4").keys()
    assert {"undecodable", "vfr"} <= inspection.flags("irregular.mp4").keys()


def test_transparent_pictures_and_names_that_promise_something_else_are_noted(inspection, tmp_path, mosaic):
    folder = tmp_path / "clips"
    folder.mkdir()
    picture = mosaic((320, 192))(0)
    holes = np.full(picture.shape[:2], 255, np.uint8)
    cv2.imwrite(str(folder / "opaque.png"), np.dstack([picture, holes]))
    holes[:, :80] = 0
    cv2.imwrite(str(folder / "holes.png"), np.dstack([picture, holes]))
    cv2.imwrite(str(folder / "plain.png"), mosaic((336, 192))(0))
    shutil.copy(folder / "plain.png", folder / "still.mp4")
    inspection.run(folder)
    flag = inspection.flags("holes.png")["transparent"]
    assert (flag["severity"], flag["value"]) == ("note", pytest.approx(0.25, abs=0.02))
    assert not any("transparent" in inspection.flags(name) for name in ("opaque.png", "plain.png"))
    flag = inspection.flags("still.mp4")["header_mismatch"]
    assert flag["message"] == "Its name ends like that of a video, but it holds a still picture."
    assert "header_mismatch" not in inspection.flags("plain.png")


def test_the_tool_as_a_model_sees_it():
    tool, *others = node_tools()["inspect"]
    assert {other.name: other.needs_approval for other in others} == {
        "remedy_clips": "change",
        "undo_remedies": "change",
        "make_inputs": "change",
        "project_facts": None,
    }
    schema = tool.schema()["function"]
    assert schema["name"] == "inspect_clips"
    assert list(schema["parameters"]["properties"]) == ["frame_rate", "buckets", "max_tokens"]
    assert schema["parameters"]["additionalProperties"] is False
    assert "never writes into the clips folder" in schema["description"]


def test_a_ledger_that_loses_a_file_stops_the_command(real_clips, inspection, monkeypatch):
    """A loss on the way to the report, as a defect would cause one: nothing is written, the missing file is named."""
    monkeypatch.setattr("tools.inspect.report.build_report.with_groups", lambda clips: clips[:-1])
    lost = sorted(path.name for path in real_clips.iterdir())[-1]
    with pytest.raises(DataError, match=rf"5 files were found, 4 are listed, 4 have a status; missing: {lost}"):
        inspection.run(real_clips)
    assert not inspection.project.report_path.exists()
    assert not inspection.project.report_html_path.exists()


def test_samples_of_a_film_lie_within_its_shots(inspection, tmp_path, write_clip, mosaic):
    shots = [mosaic((192 + 16 * number, 128)) for number in range(3)]
    lengths = [40, 31, 29]
    starts = [0, 40, 71]

    def picture(index):
        number = sum(index >= start for start in starts) - 1
        return np.ascontiguousarray(shots[number](index)[:, :192])

    film = write_clip(tmp_path / "film.mp4", frames=sum(lengths), picture=picture)
    inspection.run(film)
    clip = inspection.clip("film.mp4")
    assert clip["measures"]["cuts_s"] == [pytest.approx(start / 25, abs=0.05) for start in starts[1:]]
    edges = [0.0, *clip["measures"]["cuts_s"], 4.0]
    assert len(clip["samples"]) >= 3
    for sample in clip["samples"]:
        end_s = sample["start_s"] + sample["duration_s"] - 1 / 25
        assert any(a - 1e-6 <= sample["start_s"] and end_s < b for a, b in itertools.pairwise(edges)), sample
    assert "share one caption" in next(flag["message"] for flag in clip["flags"] if flag["id"] == "scene_cut")
