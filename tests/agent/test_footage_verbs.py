"""remedy, make and encode --check as a person types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.cli.verbs.table import app


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    return run


def test_from_a_remedy_and_a_mask_to_a_look_at_what_was_encoded(typed, real_clips, tmp_path):
    project = str(tmp_path / "p")
    said = typed("inspect", str(real_clips), "--project", project, "--buckets", "96x64x9", "--json").stdout
    assert json.loads(said)["buckets"] == "96x64x9"
    said = typed("remedy", "window", project, "--clip", "bikes_*", "--seconds", "1").stdout
    assert "2 clips remedied, 4 copies made." in said
    assert "remedied clips replaced by 4 of these" in said
    said = typed("make", "video-mask", "boxes", project, "--box", "0,0,1,0.5", "--clip", "bunny*").stdout
    assert "video_mask of 2 of 2 clips: generated inside 1 box(es)." in said
    assert typed("caption", project).exit_code == 0
    assert typed("draft", project, "--objective", "video_inpainting").exit_code == 0
    found = json.loads(typed("encode", project, "--check", "--json").stdout)
    assert found["samples"] == found["encoded"] / 3 > 0
    assert Path(found["check"]["picture"]).is_file()
    assert "noise" in found["check"]["note"]
    said = typed("encode", project, "--check").stdout
    assert "0 files encoded" in said
    assert all(f"  {number}: {name}\n" in said for number, name in enumerate(found["check"]["samples"], start=1))


def test_a_box_that_is_none_and_a_choice_that_is_missing_are_wrong_usage(typed, real_clips, tmp_path):
    project = str(tmp_path / "p")
    typed("inspect", str(real_clips), "--project", project)
    for words, said in (
        (("make", "video-mask", "boxes", project, "--box", "1,2"), "is not 4 numbers"),
        (("make", "video-mask", "random-boxes", project), "needs share"),
        (("remedy", "rotate", project, "--clip", "bikes_1.mp4"), "by how much"),
        (("inspect", project, "--buckets", "100x64x9"), "Use 96 or 128"),
    ):
        result = typed(*words)
        assert said in str(result.exception)
