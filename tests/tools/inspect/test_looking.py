"""What was seen is kept by content: reruns, changes, renames, interruptions, and a cache that is damaged."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.inspect.discover.media_file import FoundFile
from tools.inspect.report.report import Report
from tools.inspect.scan import scan_all as looking
from tools.inspect.scan.decode_pool import DecodeJob
from tools.inspect.scan.scan_file import Look
from tools.inspect.scan.store import look_store
from tools.inspect.tool import InspectArguments, InspectResult, inspect_clips
from tools.project import Project, ProjectFacts


@pytest.fixture
def clips(cut_footage: Path, tmp_path: Path) -> Path:
    """Three clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("bikes_1.mp4", "bikes_2.mp4", "carphone.mp4"):
        shutil.copy(cut_footage / name, folder / name)
    return folder


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The files that processes were asked to look at since, and whether only for their hash."""
    asked: list[tuple[str, bool]] = []
    real = looking.work_off

    def watched(jobs: list[DecodeJob], *arguments):
        asked.extend((job.file.name, job.hash_only) for job in jobs)
        return real(jobs, *arguments)

    monkeypatch.setattr(looking, "work_off", watched)
    return asked


def look(folder: Path, progress=None) -> dict[str, Look]:
    found = [FoundFile(str(folder), path.name) for path in sorted(folder.iterdir())]
    with look_store(folder.parent / "looks.sqlite") as store:
        looks = looking.look_at_all(found, store, progress)
    return {entry.path: each for entry, each in zip(found, looks, strict=True)}


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files' times are believed, as those of files are that were changed a while ago."""
    monkeypatch.setattr("tools.inspect.scan.store.SETTLED_NS", -(10**12))


def settled(folder: Path, worked: list[tuple[str, bool]]) -> dict[str, Look]:
    """Look for the first time."""
    looks = look(folder)
    worked.clear()
    return looks


def test_an_unchanged_file_is_neither_decoded_nor_read(clips, old, worked):
    first = settled(clips, worked)
    again = look(clips)
    assert worked == []
    assert again == first
    assert all(each.sheet is None and each.probe.frames for each in again.values())


def test_a_changed_file_is_looked_at_alone(clips, old, worked, cut_footage):
    before = settled(clips, worked)
    shutil.copy(cut_footage / "bunny wakes.mp4", clips / "bikes_2.mp4")
    after = look(clips)
    assert worked == [("bikes_2.mp4", True), ("bikes_2.mp4", False)]
    assert after["bikes_1.mp4"] == before["bikes_1.mp4"]
    assert after["bikes_2.mp4"].probe.audio is not None


def test_a_renamed_or_touched_file_is_only_hashed(clips, old, worked):
    before = settled(clips, worked)
    (clips / "bikes_1.mp4").rename(clips / "a bike.mp4")
    os.utime(clips / "carphone.mp4")
    after = look(clips)
    assert worked == [("a bike.mp4", True), ("carphone.mp4", True)]
    assert after["a bike.mp4"] == before["bikes_1.mp4"]


def test_a_file_changed_a_moment_ago_is_read_again(clips, worked):
    for clip in clips.iterdir():
        clip.touch()
    look(clips)
    worked.clear()
    look(clips)
    assert worked == [(name, True) for name in ("bikes_1.mp4", "bikes_2.mp4", "carphone.mp4")]


def test_an_interrupted_look_continues(clips, old, worked):
    def interrupt(_what: str, done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(clips, interrupt)
    worked.clear()
    assert len(look(clips)) == 3
    assert len([name for name, hash_only in worked if not hash_only]) == 1


def test_a_damaged_cache_is_made_anew(clips, old, worked):
    before = settled(clips, worked)
    (clips.parent / "looks.sqlite").write_bytes(b"SQLite format 3\x00 and then nothing of the kind" * 100)
    assert look(clips) == before
    assert len(worked) == 3


def test_another_version_of_the_checks_looks_again(clips, old, worked, monkeypatch):
    settled(clips, worked)
    monkeypatch.setattr("tools.inspect.scan.store.measures_version", lambda: "another")
    look(clips)
    assert {name for name, hash_only in worked if not hash_only} == {path.name for path in clips.iterdir()}


def test_undecodable_files_keep_their_own_names(clips, old, worked):
    (clips / "one.mp4").write_bytes(b"no film")
    first = settled(clips, worked)
    assert "one.mp4" in first["one.mp4"].error
    (clips / "one.mp4").rename(clips / "two.mp4")
    assert "two.mp4" in look(clips)["two.mp4"].error


@pytest.fixture
def inspected(clips, old, tmp_path) -> Callable[[], tuple[InspectResult, list[int]]]:
    """Inspect the clips; returns the result and when the report and the page were written."""
    project = Project(tmp_path / "project")
    project.write_facts(ProjectFacts(sources=[str(clips)]))

    def run(**arguments):
        result = inspect_clips(project, InspectArguments(**arguments))
        return result, [path.stat().st_mtime_ns for path in (project.report_path, project.report_html_path)]

    return run


def test_nothing_is_made_anew_when_nothing_changed(clips, inspected, worked):
    first = inspected()
    worked.clear()
    assert inspected() == first
    assert worked == []


@pytest.mark.parametrize("change", ["touch", "rename", "remove", "add", "note", "page", "rate", "buckets"])
def test_the_report_is_made_anew_when_anything_it_follows_from_changed(clips, inspected, tmp_path, cut_footage, change):
    _, before = inspected()
    arguments: dict[str, object] = {}
    if change == "touch":
        os.utime(clips / "carphone.mp4")
    elif change == "rename":
        (clips / "carphone.mp4").rename(clips / "phone.mp4")
    elif change == "remove":
        (clips / "carphone.mp4").unlink()
    elif change == "add":
        shutil.copy(cut_footage / "bunny wakes.mp4", clips / "bunny.mp4")
    elif change == "note":
        (clips / "carphone.txt").write_text("A man talks in a car.")
    elif change == "page":
        (tmp_path / "project" / "report.html").unlink()
    elif change == "rate":
        arguments["frame_rate"] = 30.0
    else:
        arguments["buckets"] = "96x64x9"
    _, after = inspected(**arguments)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert inspected(**arguments)[1] == after


def test_the_report_is_read_back_as_it_was_made(clips, inspected, tmp_path):
    inspected()
    text = (tmp_path / "project" / "report.json").read_text()
    report = Report.model_validate_json(text)
    assert [clip.path for clip in report.clips] == ["bikes_1.mp4", "bikes_2.mp4", "carphone.mp4"]
    assert "".join(report.pieces()) == text
    assert json.loads(text) == report.model_dump()
