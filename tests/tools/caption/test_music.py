"""A caption's claims of music against what inspection measured, from report.json to captions.jsonl."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_openai import Answer, ScriptedOpenAI

from tools.caption.lint.fix import FixArguments, fix_captions
from tools.caption.store.captions import read_captions
from tools.caption.tool import CaptionArguments, caption_clips
from tools.inspect.tool import InspectArguments, inspect_clips
from tools.project import Project, ProjectFacts
from trainer_core.files import read_json, write_json

CAPTION = (
    "A large rabbit steps out of his burrow into the morning sun, stretches both arms and looks around over the green "
    "meadow while the camera holds still at the height of his eyes. A gentle orchestra plays. Birds are heard nearby."
)


@pytest.fixture
def project(tmp_path: Path, cut_footage: Path) -> Project:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "bunny.mp4").write_bytes((cut_footage / "bunny wakes.mp4").read_bytes())
    project = Project(tmp_path / "project")
    project.write_facts(ProjectFacts(sources=[str(clips)]))
    inspect_clips(project, InspectArguments())
    return project


@pytest.fixture
def measured_as(project: Project) -> Callable[[bool | None], None]:
    def change(music_likely: bool | None) -> None:
        report = read_json(project.report_path)
        report["clips"][0]["audio"]["music_likely"] = music_likely
        write_json(project.report_path, report)

    return change


@pytest.mark.parametrize(("likely", "flagged"), [(False, True), (True, False), (None, False)])
def test_music_that_the_measurement_denies_is_flagged_and_can_be_left_out(
    project: Project,
    endpoint: ScriptedOpenAI,
    measured_as: Callable[[bool | None], None],
    likely: bool | None,
    flagged: bool,
) -> None:
    measured_as(likely)
    endpoint.script = lambda request: Answer(CAPTION)
    caption_clips(project, CaptionArguments(clips="all"))
    words = endpoint.requests[0]["messages"][1]["content"][-1]["text"]
    assert ("no music" in words) is flagged
    row = read_captions(project.captions_path)[0]
    assert ("claims_music" in {flag.id for flag in row.flags}) is flagged
    if flagged:
        fix_captions(project, FixArguments())
        row = read_captions(project.captions_path)[0]
        assert "orchestra" not in row.caption
        assert row.caption.endswith("Birds are heard nearby.")


def test_a_report_from_before_music_was_measured_is_read(project: Project, endpoint: ScriptedOpenAI) -> None:
    report = read_json(project.report_path)
    assert "music_likely" in report["clips"][0]["audio"]
    del report["clips"][0]["audio"]["music_likely"]
    write_json(project.report_path, report)
    endpoint.script = lambda request: Answer(CAPTION)
    assert caption_clips(project, CaptionArguments(clips="all")).findings.get("claims_music") is None
