"""Finding files: folders walked whole, metadata files in upstream's columns."""

import json
import shutil
import wave

import pytest

from tools.inspect.discover.sources import find_files
from trainer_core.data.buckets import parse_buckets
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.media.sounds import read_audio
from trainer_core.errors import ConfigError, DataError


def test_folders_are_walked_whole_and_in_order(tmp_path):
    for name in ("b.mp4", "a/2.mp4", "a/1.mp4", ".git/x.mp4", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    assert [found.path for found in find_files([str(tmp_path)])] == ["a/1.mp4", "a/2.mp4", "a/self", "b.mp4"]


def test_a_linked_folder_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "clip.mp4").touch()
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "card").symlink_to(tmp_path / "disk")
    assert [found.path for found in find_files([str(tmp_path / "clips")])] == ["card/clip.mp4"]


def test_a_file_in_two_sources_is_one_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "clip.mp4").touch()
    (found,) = find_files([str(tmp_path), str(tmp_path / "sub")])
    assert (found.source, found.path) == (str(tmp_path), "sub/clip.mp4")


ROWS = [
    {"media_path": "a b.mp4", "caption": "One", "ref_media_path": "ref/a.mp4"},
    {"video": "./c.mp4", "caption": "Two, with a comma", "video_mask": "masks/c.mp4"},
    {"audio": "d.wav", "caption": "Three"},
]


@pytest.mark.parametrize("name", ["set.csv", "set.json", "set.jsonl"])
def test_metadata_in_every_format(tmp_path, name):
    path = tmp_path / name
    if name.endswith("csv"):
        header = ["media_path", "video", "audio", "caption", "ref_media_path", "video_mask"]
        lines = [",".join(header)] + [",".join(f'"{row.get(key, "")}"' for key in header) for row in ROWS]
        path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    elif name.endswith("jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        path.write_text(json.dumps(ROWS))
    found = find_files([str(path)])
    assert [entry.path for entry in found] == ["a b.mp4", "c.mp4", "d.wav", "ref/a.mp4", "masks/c.mp4"]
    assert [entry.role for entry in found] == ["clip", "clip", "clip", "reference_video", "video_mask"]
    assert {entry.source for entry in found} == {str(tmp_path)}
    assert [entry.columns for entry in found] == [
        {"reference_video": "ref/a.mp4"},
        {"video_mask": "masks/c.mp4"},
        {},
        {},
        {},
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "has no rows"),
        ("{}", "no list of rows"),
        ("[1]", "row 1 is no object"),
        ("[", "is damaged"),
        ('[{"caption": "x"}]', "row 1 names neither video nor audio"),
        ('[{"video": 3}]', "row 1: the column video holds 3"),
        ('[{"video": "../up.mp4"}]', r"video `\.\./up\.mp4` lies outside"),
        ('[{"video": "/etc/passwd"}]', "lies outside"),
        ('[{"video": "a/../../up.mp4"}]', "lies outside"),
        ('[{"video": "a.mp4"}, {"video": "./a.mp4"}]', "row 2 names `a.mp4` a second time"),
    ],
)
def test_wrong_metadata_is_one_sentence(tmp_path, text, said):
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        find_files([str(tmp_path / "set.json")])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("set.csv", "video,caption\na.mp4,it wakes, and yawns\n", "row 1 has more fields .* ` and yawns` is too much"),
        ("set.csv", "vidoe,caption\na.mp4,b\n", "row 1 names neither video nor audio; its columns are vidoe, caption"),
        ("set.csv", "", "has no rows"),
        ("set.jsonl", '{"video": "a.mp4"}\n{"video": }\n', "line 2, character 11: Expecting value"),
        ("set.json", "[" * 100_000, "is damaged: maximum recursion depth"),
    ],
)
def test_wrong_rows_are_named(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        find_files([str(tmp_path / name)])
    assert caught.value.hint


@pytest.mark.parametrize(
    "raw",
    [
        b"video;caption\na.mp4;One, two\nb.mp4;\n",
        "video\tcaption\r\na.mp4\tOne\r\nb.mp4\tTwo\r\n".encode("utf-16"),
        "video, caption ,\na.mp4,One\u2028two\x85three,,\nb.mp4,Two\n".encode(),
    ],
)
def test_csv_as_spreadsheets_write_it(tmp_path, raw):
    (tmp_path / "set.csv").write_bytes(raw)
    found = find_files([str(tmp_path / "set.csv")])
    assert [entry.path for entry in found] == ["a.mp4", "b.mp4"]
    assert all(entry.unread_columns == () for entry in found)


def test_an_absolute_path_inside_the_folder_is_one_of_its_files(tmp_path):
    rows = [{"video": str(tmp_path / "sub" / "a.mp4"), "video_mask": f"{tmp_path}/sub/../m.png"}]
    (tmp_path / "set.json").write_text(json.dumps(rows))
    clip, mask = find_files([str(tmp_path / "set.json")])
    assert (clip.path, clip.columns, mask.path) == ("sub/a.mp4", {"video_mask": "m.png"}, "m.png")


def test_columns_that_nothing_reads_are_named_once(real_clips, inspection):
    rows = "video,caption,vide_mask,Ref_Media_Path,fps\n"
    rows += "carphone.mp4,A car,bikes_1.mp4,bikes_2.mp4,30\nbikes_2.mp4,A,,,25\n"
    (real_clips / "set.csv").write_text(rows)
    result = inspection.run(real_clips / "set.csv")
    (said,) = (problem for problem in result.problems if "columns that nothing reads" in problem)
    assert "`vide_mask` (meant to be video_mask?), `Ref_Media_Path` (meant to be ref_media_path?), `fps`. " in said
    assert said in inspection.report()["notes"]
    (real_clips / "set.csv").write_text("video,caption,video_mask\ncarphone.mp4,A car,bikes_1.mp4\n")
    assert "nothing reads" not in " ".join(inspection.run(real_clips / "set.csv").problems)


def test_a_row_of_a_missing_file_says_that_it_is_missing(real_clips, inspection):
    rows = [
        {"video": "bikes_1.mp4", "video_mask": "bikes_2.mp4"},
        {"video": "carphone.mp4", "video_mask": "nowhere.mp4"},
        {"video": "gone.mp4"},
        {"video": "bunny wakes.mp4"},
    ]
    (real_clips / "set.json").write_text(json.dumps(rows))
    inspection.run(real_clips / "set.json")
    assert "'gone.mp4' can't be read: No such file" in inspection.flags("gone.mp4")["undecodable"]["message"]
    said = inspection.flags("bunny wakes.mp4")["unpaired"]["message"]
    assert said == "It has no video_mask; 1 other clip has one."
    summary = inspection.report()["summary"]
    assert (summary["files"], summary["unreadable"], summary["other"]) == (6, 1, 2)


def test_a_single_clip_is_a_source_and_a_text_is_none(tmp_path):
    (tmp_path / "clip.mp4").touch()
    assert [entry.path for entry in find_files([str(tmp_path / "clip.mp4")])] == ["clip.mp4"]
    (tmp_path / "clip.txt").touch()
    with pytest.raises(ConfigError, match="neither a folder, nor a film"):
        find_files([str(tmp_path / "clip.txt")])


def test_metadata_decides_what_is_inspected(real_clips, inspection):
    rows = [
        {"video": "bunny wakes.mp4", "reference_video": "bikes_1.mp4", "reference_audio": "nowhere.wav"},
        {"video": "bikes_2.mp4", "audio": "bunny's hole.mp4"},
        {"video": "not there.mp4"},
    ]
    (real_clips / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = inspection.run(real_clips / "set.jsonl")
    assert (result.clips, result.usable, result.unreadable, result.other_files) == (3, 2, 1, 3)
    assert inspection.clip("bunny wakes.mp4")["columns"] == {"reference_video": "bikes_1.mp4"}
    assert "nowhere.wav, does not exist" in inspection.flags("bunny wakes.mp4")["unpaired"]["message"]
    assert inspection.clip("nowhere.wav")["status"] == "unreadable"
    assert "v2v_ic" in result.objectives_possible
    assert result.objectives_missing["av2av_ic"] == ["reference_audio"]
    verdict = inspection.report()["objectives"]["v2v_ic"]
    assert (verdict["clips"], verdict["lacking"]) == (1, {"reference_video": 1})


def test_sound_in_a_file_of_its_own_is_the_clips_sound(real_clips, inspection):
    (real_clips / "set.jsonl").write_text(json.dumps({"video": "bikes_2.mp4", "audio": "bunny's hole.mp4"}) + "\n")
    inspection.run(real_clips / "set.jsonl")
    clip = inspection.clip("bikes_2.mp4")
    assert (clip["audio"]["status"], clip["audio"]["channels"]) == ("ok", 6)
    assert clip["audio"]["loudness_lufs"] is not None
    assert "no_audio" not in inspection.flags("bikes_2.mp4")
    assert clip["columns"] == {"audio": "bunny's hole.mp4"}
    assert (clip["paired_by"], inspection.clip("bunny's hole.mp4")["role"]) == ("metadata", "audio")


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["shot.mp4", "shot_ref.mp4"], {"reference_video": "shot_ref.mp4"}),
        (["shot.mp4", "Shot-Reference.MOV"], {"reference_video": "Shot-Reference.MOV"}),
        (["shot.mp4", "shot_mask.png", "shot.wav"], {"video_mask": "shot_mask.png", "audio": "shot.wav"}),
        (["shot.mp4", "shot_ref.wav"], {"reference_audio": "shot_ref.wav"}),
        (["shot.mp4", "references/shot.mkv", "masks/shot_mask.mp4"], None),
        (["videos/a/shot.mp4", "control/a/shot.mp4"], {"reference_video": "control/a/shot.mp4"}),
        (["shot.mp4", "shot.txt", "shot_ref.txt"], {}),
        (["a_ref.mp4", "b_mask.mp4"], {}),
        (["shot.wav", "shot_ref.wav"], {"reference_audio": "shot_ref.wav"}),
        (["audio/shot.wav", "audio/other.wav"], {}),
        (["shot.mp4", "shot.mov"], {}),
    ],
)
def test_files_are_paired_by_name_and_folder(tmp_path, names, columns):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {entry.path: entry for entry in find_files([str(tmp_path)])}
    assert len(found) == len(names)
    if columns is None:
        columns = {"reference_video": "references/shot.mkv", "video_mask": "masks/shot_mask.mp4"}
    owners = [entry for entry in found.values() if entry.columns]
    assert [entry.columns for entry in owners] == ([columns] if columns else [])
    for column, path in columns.items():
        assert found[path].role == column
    assert {entry.path for entry in found.values() if entry.role == "clip"} == set(names) - set(columns.values())


def test_metadata_inside_a_folder_tells_of_its_files(real_clips, inspection):
    (real_clips / "masks").mkdir()
    (real_clips / "bikes_1.mp4").rename(real_clips / "masks" / "any name.mp4")
    (real_clips / "metadata.csv").write_text("video,video_mask\nbikes_2.mp4,masks/any name.mp4\n")
    result = inspection.run(real_clips)
    assert inspection.clip("bikes_2.mp4")["columns"] == {"video_mask": "masks/any name.mp4"}
    assert (result.clips, result.usable, result.other_files) == (4, 4, 2)
    assert "It has no video_mask; 1 other clip has one." in inspection.flags("carphone.mp4")["unpaired"]["message"]
    assert "video_inpainting" in result.objectives_possible


def test_a_file_that_a_clip_cannot_train_with_is_found_before_encoding(real_clips, inspection, write_clip):
    write_clip(real_clips / "blink.mp4", frames=8)
    (real_clips / "text.mp4").write_text("no film")
    rows = [
        {"video": "bunny wakes.mp4", "reference_video": "bikes_1.mp4"},
        {"video": "bunny's hole.mp4", "reference_video": "blink.mp4"},
        {"video": "bikes_2.mp4", "reference_video": "text.mp4", "reference_audio": "carphone.mp4"},
    ]
    (real_clips / "set.json").write_text(json.dumps(rows))
    result = inspection.run(real_clips / "set.json")
    names = ("bunny wakes.mp4", "bunny's hole.mp4", "bikes_2.mp4")
    short, blink, other = (inspection.clip(name) for name in names)
    said = {
        clip["path"]: [flag["message"] for flag in clip["flags"] if flag["id"] == "unpaired"]
        for clip in (short, blink, other)
    }
    assert "Its reference_video, bikes_1.mp4, lasts 2.00 s: 1 of 4 samples are left out." in said["bunny wakes.mp4"]
    assert short["columns"] == {"reference_video": "bikes_1.mp4"}
    rate = result.frame_rate
    for sample in short["samples"]:
        (bucket,) = parse_buckets(sample["bucket"])
        read_frames(real_clips / "bikes_1.mp4", sample["start_s"], bucket.frames, rate, bucket.width, bucket.height)
    assert len(short["samples"]) == 3
    assert "lasts 0.32 s: less than any sample, and isn't used." in said["bunny's hole.mp4"][0]
    assert (blink["columns"], len(blink["samples"])) == ({}, 4)
    assert "Its reference_video, text.mp4, holds no pictures that can be decoded." in said["bikes_2.mp4"]
    assert "Its reference_audio, carphone.mp4, holds no sound that can be decoded." in said["bikes_2.mp4"]
    assert other["columns"] == {}
    assert inspection.report()["objectives"]["v2v_ic"]["clips"] == 1


def write_sound(path, samples):
    with wave.open(str(path), "wb") as made:
        made.setparams((1, 2, 48000, 0, "NONE", ""))
        made.writeframes((samples * 32767).astype("<i2").tobytes())


def test_a_reference_of_sound_reaches_as_far_as_it_sounds(real_clips, inspection, tone):
    write_sound(real_clips / "voice.wav", tone(1.3))
    rows = [{"video": "bunny wakes.mp4", "reference_audio": "voice.wav"}]
    (real_clips / "set.json").write_text(json.dumps(rows))
    inspection.run(real_clips / "set.json")
    clip = inspection.clip("bunny wakes.mp4")
    said = inspection.flags("bunny wakes.mp4")["unpaired"]["message"]
    assert said == "Its reference_audio, voice.wav, lasts 1.30 s: 2 of 4 samples are left out."
    for sample in clip["samples"]:
        assert read_audio(real_clips / "voice.wav", sample["start_s"], sample["duration_s"], 16000) is not None
    assert [round(sample["start_s"], 2) for sample in clip["samples"]] == [0.0, 0.68]


def test_a_sound_lacks_no_picture(real_clips, inspection, tone):
    write_sound(real_clips / "voice.wav", tone(2.0))
    rows = [
        {"video": "bikes_1.mp4", "video_mask": "bikes_2.mp4", "audio_mask": "bunny wakes.mp4"},
        {"audio": "voice.wav"},
    ]
    (real_clips / "set.json").write_text(json.dumps(rows))
    inspection.run(real_clips / "set.json")
    said = [flag["message"] for flag in inspection.clip("voice.wav")["flags"] if flag["id"] == "unpaired"]
    assert said == ["It has no audio_mask; 1 other clip has one."]


def test_a_mask_without_its_clip_is_named(real_clips, inspection):
    (real_clips / "masks").mkdir()
    shutil.copy(real_clips / "bikes_1.mp4", real_clips / "masks" / "bikes_2.mp4")
    (real_clips / "bikes_1.mp4").rename(real_clips / "masks" / "lost.mp4")
    result = inspection.run(real_clips)
    lost = inspection.clip("masks/lost.mp4")
    assert (lost["role"], lost["status"], lost["samples"]) == ("video_mask", "flagged", [])
    said = inspection.flags("masks/lost.mp4")["unpaired"]["message"]
    assert "no clip has its name" in said
    assert f"'masks/lost.mp4': {said}" in result.problems
    assert any(problem.startswith("3 clips ('bunny") and "has no video_mask" in problem for problem in result.problems)
    assert inspection.clip("masks/bikes_2.mp4")["status"] == "ok"
