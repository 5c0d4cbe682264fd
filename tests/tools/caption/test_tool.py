import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.caption.tool import CAPTION_TOOLS, CaptionArguments, CaptionResult, caption_clips
from tools.project import Project
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import read_jsonl, write_jsonl, write_text

CONTRACT_FIELDS = {
    "path",
    "sha256",
    "caption",
    "source",
    "model",
    "instruction_version",
    "frames_s",
    "needs_review",
    "flags",
    "edited_at",
}
CAR = 'car "phone" 🎬\n1.mp4'


@pytest.fixture
def caption(project: Project, write_report: Callable[[], None]) -> Callable[..., CaptionResult]:
    def run(**arguments: object) -> CaptionResult:
        write_report()
        return caption_clips(project, CaptionArguments.model_validate(arguments))

    return run


def _captions(project: Project) -> dict[str, dict[str, object]]:
    return {row["path"]: row for row in read_jsonl(project.captions_path)}


def test_auto_takes_what_exists_and_measures_the_rest(
    project: Project, clips_folder: Path, caption: Callable[..., CaptionResult]
) -> None:
    (clips_folder / "bikes.txt").write_text("Two cyclists pass a red barn.")
    before = {path: path.stat().st_mtime_ns for path in clips_folder.iterdir()}
    result = caption()
    assert (result.clips, result.by_source, result.needs_review) == (2, {"existing": 1, "measured": 1}, 1)
    assert [check.path for check in result.spot_check] == ["bikes.mp4", CAR]
    assert result.spot_check[0].caption == "Two cyclists pass a red barn."
    assert any("1 of 2 captions are measured descriptions" in note for note in result.notes)
    rows = _captions(project)
    assert set(rows[CAR]) >= CONTRACT_FIELDS
    assert rows[CAR]["instruction_version"] == "measured-2"
    assert {path: path.stat().st_mtime_ns for path in clips_folder.iterdir()} == before


def test_second_time_nothing_is_made_again(project: Project, caption: Callable[..., CaptionResult]) -> None:
    assert caption().written == 2
    before = project.captions_path.read_bytes()
    result = caption()
    assert (result.written, result.kept) == (0, 2)
    assert project.captions_path.read_bytes() == before


def test_caption_edited_in_the_file_is_a_persons_and_stays(
    project: Project, clips_folder: Path, caption: Callable[..., CaptionResult]
) -> None:
    caption()
    rows = read_jsonl(project.captions_path)
    rows[0]["caption"] = "My own words."
    write_jsonl(project.captions_path, rows)
    (clips_folder / "bikes.txt").write_text("The sidecar came later.")
    for captioner in ("auto", "measured"):
        result = caption(captioner=captioner)
        row = _captions(project)["bikes.mp4"]
        assert (row["caption"], row["source"], row["needs_review"]) == ("My own words.", "person", False)
        assert isinstance(row["edited_at"], float)
        assert result.by_source == {"person": 1, "measured": 1}


def test_persons_caption_follows_the_clip_and_survives_its_absence(
    project: Project, clips_folder: Path, tmp_path: Path, caption: Callable[..., CaptionResult]
) -> None:
    caption()
    rows = read_jsonl(project.captions_path)
    rows[0]["caption"] = "My own words."
    write_jsonl(project.captions_path, rows)
    (clips_folder / "bikes.mp4").rename(tmp_path / "bikes.mp4")
    result = caption()
    assert result.clips == 1
    assert any("kept: bikes.mp4" in note for note in result.notes)
    (tmp_path / "bikes.mp4").rename(clips_folder / "renamed.mp4")
    caption()
    assert _captions(project)["renamed.mp4"]["caption"] == "My own words."


def test_changed_sidecar_is_read_again(
    project: Project, clips_folder: Path, caption: Callable[..., CaptionResult]
) -> None:
    sidecar = clips_folder / "bikes.txt"
    for text in ("First words.", "Better words."):
        sidecar.write_text(text)
        caption()
        assert _captions(project)["bikes.mp4"]["caption"] == text
    sidecar.unlink()
    caption()
    assert _captions(project)["bikes.mp4"]["source"] == "measured"


def test_empty_sidecar_is_said(project: Project, clips_folder: Path, caption: Callable[..., CaptionResult]) -> None:
    (clips_folder / "bikes.txt").write_text(" \n\x1b[0m")
    caption()
    row = _captions(project)["bikes.mp4"]
    assert row["source"] == "measured"
    assert "sidecar_empty" in json.dumps(row["flags"])


def test_only_existing_captions_names_the_clips_without_one(
    project: Project, clips_folder: Path, caption: Callable[..., CaptionResult]
) -> None:
    (clips_folder / "bikes.txt").write_text("Two cyclists.")
    with pytest.raises(DataError, match=r'1 of 2 clips have no caption: car "phone" 🎬\\n1\.mp4') as caught:
        caption(captioner="existing")
    assert caught.value.exit_code == 3
    assert not project.captions_path.exists()


def test_trigger_is_stored_once_and_never_written_into_captions(
    project: Project, clips_folder: Path, caption: Callable[..., CaptionResult]
) -> None:
    (clips_folder / "bikes.txt").write_text("Ohwx rides a bike.")
    result = caption(trigger=" ohwx\x1b[0m ")
    assert (result.trigger, project.facts.trigger) == ("ohwx", "ohwx")
    assert [row["caption"].count("ohwx") for row in read_jsonl(project.captions_path)] == [0, 0]
    assert any("it stands once: bikes.mp4" in note for note in result.notes)
    assert caption().trigger == "ohwx"
    for bad in ("", "\x07", "word " * 40):
        with pytest.raises(ConfigError, match="1 to 64 are allowed"):
            caption(trigger=bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"path": "a", "sha256": "b", "caption": 5, "source": "person"}\n', "row 1: caption"),
        ('{"path": "a", "sha256": "b", "caption": "c", "source": "person"}', "ends in the middle of a row"),
        ("nonsense\n", "line 1 is not valid JSON"),
    ],
)
def test_broken_captions_file_is_refused_and_left_alone(
    project: Project, caption: Callable[..., CaptionResult], content: str, message: str
) -> None:
    write_text(project.captions_path, content)
    with pytest.raises(ConfigError, match=message):
        caption()
    assert project.captions_path.read_text() == content


def test_name_that_is_no_text_is_kept_to_the_byte(
    project: Project, clips_folder: Path, caption: Callable[..., CaptionResult]
) -> None:
    odd = os.fsdecode(b"\xff\xfe odd.mp4")
    (clips_folder / "bikes.mp4").rename(clips_folder / odd)
    assert caption().clips == 2
    assert odd in _captions(project)
    assert b"\xff\xfe odd.mp4" in project.captions_path.read_bytes()


def test_before_inspection_it_says_so(project: Project) -> None:
    with pytest.raises(ConfigError, match="were not inspected yet"):
        caption_clips(project, CaptionArguments())


def test_model_sees_a_described_strict_schema() -> None:
    schema = CAPTION_TOOLS[0].schema()["function"]
    assert "never overwritten" in schema["description"]
    assert schema["parameters"]["additionalProperties"] is False
    assert set(schema["parameters"]["properties"]) == {
        "captioner",
        "style",
        "trigger",
        "speech",
        "clips",
        "again",
        "unusable",
    }
