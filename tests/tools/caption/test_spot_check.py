"""Three captions first, changed until they are right, then the rest; and nothing is done twice, whatever interrupts."""

import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_openai import Answer, ScriptedOpenAI

from tools.caption.store.captions import read_captions
from tools.caption.store.history import add_to_journal, captions_locked, journal_path
from tools.caption.tool import (
    CAPTION_TOOLS,
    CaptionArguments,
    RetuneArguments,
    caption_clips,
    caption_rest,
    estimate_captions,
    preview_rest,
    retune_captions,
)
from tools.project import Project
from trainer_core.errors import ConfigError
from trainer_core.files import read_jsonl

WORDS = (
    "rides along a narrow street past parked cars, leans into a slow turn and waves at somebody, then "
    "rolls to a stop beside a low stone wall under grey, even daylight while the camera follows at walking pace."
)


@pytest.fixture
def clips_folder(tmp_path: Path, cut_footage: Path) -> Path:
    """Seven short silent clips of different content."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(7):
        path = folder / f"clip{number}.mp4"
        shutil.copy(cut_footage / "carphone.mp4", path)
        with path.open("ab") as file:
            file.write(bytes([number]))
    return folder


@pytest.fixture
def numbered(endpoint: ScriptedOpenAI, write_report: Callable[[], None]) -> ScriptedOpenAI:
    """A server that numbers its captions and repeats the last note it was given."""
    write_report()
    lock, count = threading.Lock(), [0]

    def script(request: dict[str, Any]) -> Answer:
        with lock:
            count[0] += 1
            note = request["messages"][0]["content"].rsplit("\n- ", 1)[-1]
            subject = "A taxi" if "taxi" in note else "A cyclist"
            return Answer(f"{subject}, number {count[0]}, {WORDS}", tokens=(1000, 80))

    endpoint.script = script
    return endpoint


def test_three_are_shown_in_full_changed_and_then_the_rest_is_written(
    project: Project, numbered: ScriptedOpenAI
) -> None:
    ahead = estimate_captions(project, CaptionArguments())
    assert ahead is not None
    assert (ahead.clips, ahead.measured) == (7, False)
    assert ahead.prompt_tokens > 7 * 300
    first = caption_clips(project, CaptionArguments())
    assert (first.written, first.remaining) == (3, 4)
    assert [check.path for check in first.spot_check] == ["clip0.mp4", "clip3.mp4", "clip6.mp4"]
    assert all(check.caption.startswith("A cyclist") for check in first.spot_check)
    assert first.estimate is not None
    assert (first.estimate.clips, first.estimate.prompt_tokens, first.estimate.measured) == (4, 4000, True)
    assert first.estimate.seconds is not None

    tuned = retune_captions(project, RetuneArguments(note="It is a taxi."))
    assert [check.path for check in tuned.spot_check] == [check.path for check in first.spot_check]
    assert all(check.caption.startswith("A taxi") for check in tuned.spot_check)
    assert project.facts.caption_notes == ["It is a taxi."]
    assert tuned.instruction_version != first.instruction_version

    card = preview_rest(project, CaptionArguments())
    assert card is not None
    assert sum(line.count("A taxi") for line in card.lines) == 3
    assert {cost.kind for cost in card.costs} == {"time", "memory", "disk", "money"}

    rest = caption_rest(project, CaptionArguments())
    assert (rest.written, rest.kept, rest.remaining) == (4, 3, 0)
    assert len(numbered.requests) == 3 + 3 + 4
    rows = read_jsonl(project.captions_path)
    assert {row["instruction_version"] for row in rows} == {tuned.instruction_version}
    assert len({row["caption"] for row in rows}) == 7
    assert preview_rest(project, CaptionArguments()) is None

    nothing = caption_rest(project, CaptionArguments())
    assert (nothing.written, nothing.kept) == (0, 7)
    assert len(numbered.requests) == 10


def test_auto_is_free_where_nothing_costs_anything(project: Project, write_report: Callable[[], None]) -> None:
    write_report()
    assert estimate_captions(project, CaptionArguments()) is None
    result = caption_clips(project, CaptionArguments())
    assert (result.remaining, result.by_source) == (0, {"measured": 7})


def test_a_person_s_caption_outlives_notes_styles_and_again(project: Project, numbered: ScriptedOpenAI) -> None:
    caption_clips(project, CaptionArguments(clips="all"))
    text = project.captions_path.read_text().replace("A cyclist, number", "My own cyclist, number", 1)
    project.captions_path.write_text(text)
    mine = next(row for row in read_captions(project.captions_path) if row.source == "person")
    assert mine.edited_from == "endpoint"
    retune_captions(project, RetuneArguments(note="It is a taxi."))
    for arguments in ({"style": "short"}, {"again": True}, {"captioner": "measured"}):
        result = caption_clips(project, CaptionArguments.model_validate({"clips": "all", **arguments}))
        assert result.by_source["person"] == 1
        assert mine.caption in project.captions_path.read_text()


def test_a_style_told_once_stays_and_rewrites_only_machine_captions(project: Project, numbered: ScriptedOpenAI) -> None:
    caption_clips(project, CaptionArguments(clips="all"))
    result = caption_clips(project, CaptionArguments(style="tags", clips="all"))
    assert (result.style, result.written) == ("tags", 7)
    assert "separated by commas" in numbered.requests[-1]["messages"][0]["content"]
    assert caption_clips(project, CaptionArguments(clips="all")).kept == 7


@pytest.mark.parametrize(
    ("objective", "style"), [("t2a", "audio"), ("audio_extension", "audio"), ("v2v_ic", "edit"), ("i2v", "ltx")]
)
def test_the_objective_chooses_the_style(
    project: Project, numbered: ScriptedOpenAI, objective: str, style: str
) -> None:
    project.write_facts(project.facts.model_copy(update={"objective": objective}))
    assert caption_clips(project, CaptionArguments()).style == style


def test_what_an_interruption_left_in_the_journal_is_not_made_again(project: Project, numbered: ScriptedOpenAI) -> None:
    caption_clips(project, CaptionArguments(clips="all"))
    rows = read_captions(project.captions_path)
    project.captions_path.unlink()
    for row in rows[:5]:
        add_to_journal(project, row)
    with journal_path(project).open("a") as file:
        file.write('{"path": "clip5.mp4", "capt')  # the row that was being written when the power went
    asked = len(numbered.requests)
    result = caption_clips(project, CaptionArguments(clips="all"))
    assert (result.kept, result.written) == (5, 2)
    assert len(numbered.requests) == asked + 2
    assert not journal_path(project).exists()


def test_ctrl_c_keeps_what_was_answered(project: Project, numbered: ScriptedOpenAI) -> None:
    answered = []

    def interrupted(what: str, done: int, total: int) -> None:
        if done == 2:
            answered.append(done)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        caption_clips(project, CaptionArguments(clips="all"), interrupted)
    assert answered
    kept = len(read_captions(project.captions_path))
    assert kept >= 2
    result = caption_clips(project, CaptionArguments(clips="all"))
    assert (result.kept, result.written) == (kept, 7 - kept)


def test_two_processes_never_caption_the_same_project(project: Project, numbered: ScriptedOpenAI) -> None:
    with captions_locked(project), pytest.raises(ConfigError, match="Another ltx-agent"):
        caption_clips(project, CaptionArguments())


def test_progress_counts_tokens_while_it_works(project: Project, numbered: ScriptedOpenAI) -> None:
    seen: list[str] = []
    caption_clips(project, CaptionArguments(clips="all"), lambda what, done, total: seen.append(what))
    assert seen[-1] == "captions · 7,560 tokens"


def test_a_note_must_say_something(project: Project, numbered: ScriptedOpenAI) -> None:
    with pytest.raises(ConfigError, match="no note"):
        retune_captions(project, RetuneArguments(note=" \x1b[0m "))
    assert retune_captions(project, RetuneArguments(forget=True)).written == 3


def test_tools_that_cost_or_fetch_need_a_person(project: Project) -> None:
    needs = {tool.name: tool.needs_approval for tool in CAPTION_TOOLS}
    assert needs["caption_rest"] == "captions"
    assert needs["download_captioner"] == "download"
    assert needs["caption_clips"] is None


def test_time_is_guessed_before_any_clip_was_timed_then_measured_and_remembered_for_other_projects(
    project: Project, numbered: ScriptedOpenAI, tmp_path: Path
) -> None:
    told: list[str] = []
    first = caption_clips(project, CaptionArguments(), lambda what, done, total: told.append(what))
    assert told[0].startswith("7 to caption: a guess: ")
    assert "tokens per second read" in told[0]
    assert "4 clips at a time" in told[0]
    assert len(numbered.requests) == 3
    assert first.estimate is not None
    assert (first.estimate.basis, first.estimate.clips, first.estimate.assumptions) == ("here", 4, "")

    other = Project(tmp_path / "other")
    other.write_facts(project.facts)
    shutil.copy(project.report_path, other.report_path)
    ahead = estimate_captions(other, CaptionArguments())
    assert ahead is not None
    assert (ahead.basis, ahead.measured, ahead.completion_tokens) == ("earlier", True, 7 * 80)
    assert "vision-1 took" in ahead.sentence()
    in_other_words = estimate_captions(other, CaptionArguments(style="short"))
    assert in_other_words is not None
    assert in_other_words.basis == "guess"  # other captions take another time


def test_the_choice_of_who_transcribes_holds_for_the_rest_too(project: Project, numbered: ScriptedOpenAI) -> None:
    caption_clips(project, CaptionArguments(speech="none"))
    assert project.facts.speech == "none"
    caption_rest(project, CaptionArguments())
    assert project.facts.speech == "none"
    caption_clips(project, CaptionArguments(speech="auto"))
    assert project.facts.speech is None
    with pytest.raises(ConfigError, match="no speech recogniser"):
        caption_clips(project, CaptionArguments(speech="everybody"))
