"""Finding files: folders walked whole, metadata files in upstream's columns."""

import json

import pytest

from tools.inspect.sources import find_files
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
    assert [entry.path for entry in found] == ["a b.mp4", "c.mp4", "d.wav"]
    assert {entry.source for entry in found} == {str(tmp_path)}
    assert [entry.columns for entry in found] == [{"reference_video": "ref/a.mp4"}, {"video_mask": "masks/c.mp4"}, {}]


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


def test_a_single_clip_is_no_source(tmp_path):
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(ConfigError, match="neither a folder nor a metadata file"):
        find_files([str(tmp_path / "clip.mp4")])


def test_metadata_decides_what_is_inspected(real_clips, inspection):
    rows = [
        {"video": "bunny wakes.mp4", "reference_video": "bikes_1.mp4", "reference_audio": "nowhere.wav"},
        {"video": "bikes_2.mp4", "audio": "bunny's hole.mp4"},
        {"video": "not there.mp4"},
    ]
    (real_clips / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = inspection.run(real_clips / "set.jsonl")
    assert (result.clips, result.usable, result.unreadable) == (3, 2, 1)
    assert inspection.clip("bunny wakes.mp4")["columns"] == {"reference_video": "bikes_1.mp4"}
    assert "nowhere.wav, does not exist" in inspection.flags("bunny wakes.mp4")["unpaired"]["message"]
    assert "is not used" in inspection.flags("bikes_2.mp4")["unpaired"]["message"]
    assert "v2v_ic" in result.objectives_possible
    assert result.objectives_missing["av2av_ic"] == ["reference_audio"]
