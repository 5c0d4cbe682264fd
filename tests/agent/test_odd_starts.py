"""Single files, folders without media, and what a CI is told of clips that a plan leaves out."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from agent.headless.ci_report import summary_text, write_junit, write_sarif
from agent.session.projects import current_project, project_of
from tools.draft.coverage import coverage_of, read_coverage, write_coverage
from tools.draft.heldout import split_off
from tools.inspect.discover.sources import find_files
from tools.inspect.report.report import Audio, Clip, Flag, Report, Sample, Seconds, Summary
from tools.project import Project, ProjectFacts
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import read_json, write_json


def test_a_folder_without_media_leaves_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("nothing to see")
    (tmp_path / "texts" / "README").write_text("no suffix either")
    with pytest.raises(DataError, match="There is no video, image or sound in texts, only 2 other files"):
        project_of(Path("texts"), None)
    assert not (tmp_path / "ltx-projects").exists()
    assert current_project() is None


def test_media_under_any_name_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "unnamed").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(64))
    assert project_of(Path("clips"), None).path == tmp_path / "ltx-projects" / "clips"


def test_a_film_in_the_current_folder_is_a_project_named_as_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(64))
    (tmp_path / "other.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(64))
    project = project_of(Path("film.mp4"), None)
    assert project.path == tmp_path / "ltx-projects" / "film"
    assert [entry.path for entry in find_files(project.facts.sources)] == ["film.mp4"]
    assert project_of(Path("film.mp4"), None).path == project.path
    (tmp_path / "words.txt").write_text("hello")
    with pytest.raises(ConfigError, match="neither a folder, nor a film"):
        project_of(Path("words.txt"), None)


def _clip(path: str, audio: str = "ok", **changes: object) -> Clip:
    entry = {
        "source": "/footage",
        "path": path,
        "sha256": f"sha-{path}",
        "kind": "video",
        "status": "ok",
        "duration_s": 8.0,
        "audio": Audio(status=audio),  # type: ignore[arg-type]
        "samples": [Sample(start_s=0, duration_s=4, bucket="96x64x17")],
    }
    return Clip.model_validate({**entry, **changes})


def test_report_junit_sarif_and_summary_tell_the_same_counts(tmp_path: Path) -> None:
    short = Flag(id="too_short", severity="block", message="It has 5 frames.", remedy="Use a longer one.")
    loud, mute, other = _clip("loud.mp4"), _clip("mute<b>.mp4", "none"), _clip("quiet.mp4", "silent")
    stub = _clip("stub.mp4", status="unusable", samples=[], flags=[short])
    clips = [loud, mute, other, stub]
    counts = dict.fromkeys(("flagged", "unreadable", "other", "videos", "images", "audio_files", "samples"), 0)
    report = Report(
        summary=Summary(files=4, ok=3, unusable=1, frame_rate=24.0, **counts),
        objectives={},
        buckets=[],
        seconds=Seconds(total=32, kept=12, discarded=20),
        clips=clips,
    )
    project = Project(tmp_path)
    project.write_facts(ProjectFacts(sources=["/footage"]))
    write_json(project.report_path, report.model_dump())
    left_out = [(stub, "It has 5 frames."), (mute, "it has no sound"), (other, "its sound is silent")]
    made = coverage_of(report, [loud], split_off([loud]).heldout, left_out)
    assert made.sentence == "1 of 4 clips, 4 of 32 s; 1 can't be used; 1 has no sound; 1 is silent"
    write_coverage(project, made)
    assert read_coverage(project) == made

    write_junit(tmp_path / "junit.xml", project)
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "2")
    skipped = {case.get("name"): found.get("message") for case in suite for found in case.findall("skipped")}
    assert skipped["quiet.mp4"] == "It does not train: its sound is silent."

    write_sarif(tmp_path / "found.sarif", project)
    results = read_json(tmp_path / "found.sarif")["runs"][0]["results"]
    assert [(one["ruleId"], one["level"]) for one in results] == [
        ("too_short", "error"),
        ("left_out", "note"),
        ("left_out", "note"),
    ]
    told = summary_text(project, {"exit_code": 0, "artifacts": {}})
    assert f"The plan trains on {made.sentence}." in told.replace("\\'", "'")
    assert "3 of 4 clips can be used." in told
    assert "mute&lt;b>.mp4" in told or "mute<b>.mp4" in told
