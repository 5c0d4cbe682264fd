import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from agent.context import AgentContext
from agent.headless.prepare import prepare
from agent.planner.chat_model import Planner, next_move
from agent.planner.objective_talk import footage_words, settle, steered, told
from agent.session.events import Question
from agent.state import note_from_graph
from agent.turn.policies.question_limit import NONE_LEFT, asks
from prompts.fence import fence
from tools.inspect.report.footage import Footage
from tools.project import Project, ProjectFacts
from trainer_core.config import load_config
from trainer_core.errors import ApprovalNeeded

sys.path.insert(0, str(Path(__file__).parents[2] / "scenarios"))

from world import make_project, played_tools

SOUND = Footage(videos=10, with_sound=10)
SILENT = Footage(videos=3)
CAPTION = note_from_graph("Next stage: caption.")


def system_with(stage: str, goal: str, footage: Footage, **state: Any) -> SystemMessage:
    made = {"report": "report.json", **({"captions": "captions.jsonl"} if stage == "draft" else {})}
    known = {"stage": stage, "artifacts": made, "goal": goal, "facts": {}, "plan": {}, "approvals": [], **state}
    return SystemMessage("Rules.\n" + fence("state", json.dumps({**known, "footage": footage.model_dump()})))


def begun(goal: str) -> Any:
    return note_from_graph(f"The person's goal: {goal}\nNext stage: inspect.")


def move(goal: str, *messages: Any, stage: str = "caption", footage: Footage = SOUND, **state: Any) -> Any:
    system = system_with(stage, goal, footage, **state)
    return steered([system, begun(goal), *messages], (), next_move)


def test_a_goal_that_is_understood_goes_on_without_a_word() -> None:
    assert move("the look of my film", CAPTION) == ("caption_clips", {})


def test_the_draft_holds_what_was_said_and_what_was_understood() -> None:
    name, arguments = move("foley for my edit", note_from_graph("Next stage: draft."), stage="draft")
    assert name == "draft_config"
    assert arguments == {"objective": "v2a", "said": "foley for my edit"}


def test_what_is_not_understood_is_asked_before_captions_are_made() -> None:
    question = move("flurb wibble", CAPTION)
    assert isinstance(question, str)
    assert asks(question)
    assert "10 videos, all with sound" in question


@pytest.mark.parametrize(
    ("answer", "objective"),
    [
        ("1", "t2v"),
        ("the first one", "t2v"),
        ("2", "i2v"),
        ("das zweite", "i2v"),
        ("第一个", "t2v"),
        ("you decide", "t2v"),
        ("video to audio", "v2a"),
        ("I want noises under my silent scenes", "v2a"),
    ],
)
def test_an_answer_settles_it(answer: str, objective: str) -> None:
    assert settle("flurb wibble", [answer], SOUND).objective == objective


def test_a_question_is_not_put_twice_in_the_same_words() -> None:
    first = move("flurb wibble", CAPTION)
    second = move("flurb wibble", CAPTION, AIMessage(first), HumanMessage("hm, blorb"))
    third = move(
        "flurb wibble", CAPTION, AIMessage(first), HumanMessage("hm"), AIMessage(second), HumanMessage("hm, blorb")
    )
    assert first != second != third


def test_values_said_meanwhile_leave_the_question_open() -> None:
    assert settle("flurb wibble", ["use 500 steps", "trigger ohwx"], SOUND).verdict == "ask"


def test_when_no_question_is_left_the_likeliest_is_taken() -> None:
    order = note_from_graph(f"{NONE_LEFT}: take the likeliest answer yourself.")
    assert move("flurb wibble", CAPTION, order) == ("caption_clips", {})


def test_a_refusal_names_the_command_and_what_can_be_done_instead() -> None:
    said = told(settle("remove the logo", [], SOUND), SOUND)
    assert "ltx-agent make video-mask" in said
    assert "new shots from a text prompt" in said
    assert settle("remove the logo", ["yes"], SOUND).objective == "t2v"


def test_a_yes_to_the_picture_alone_leaves_the_sound_out() -> None:
    choice = settle("learn this man's face and voice", ["yes"], SILENT)
    assert choice.verdict == "clear"
    assert choice.picture_only


def test_a_fixed_objective_is_not_asked_about() -> None:
    assert move("flurb wibble", CAPTION, fixed={"objective": "v2a"}) == ("caption_clips", {})


def test_a_new_goal_replaces_what_was_drafted_from_an_older_one() -> None:
    older = {"objective": "t2v", "asked": {"said": "the look of my film"}}
    draft = note_from_graph("Next stage: draft.")
    name, arguments = move("foley for my edit", draft, stage="draft", facts=older)
    assert (name, arguments["objective"]) == ("draft_config", "v2a")


def test_footage_in_words() -> None:
    mixed = Footage(videos=10, with_sound=1, images=1, reference_video=10)
    assert footage_words(mixed) == "10 videos, 1 with sound; 1 still; 10 with a reference video"


def test_an_answer_typed_in_prepare_goes_on_to_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path, "4 sound", "wibble flurb")
    monkeypatch.setattr("agent.headless.prepare.AgentContext", partial(AgentContext, tools=played_tools()))
    answers = iter(["hm", "the second"])
    document = prepare(project, Planner(), {}, lambda _: True, lambda _: None, lambda: next(answers))
    assert document["summary"]["draft"]["objective"] == "i2v"
    assert "then: the second" in project.plan_path.read_text()


def test_nobody_to_answer_is_an_approval_that_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path, "4 sound", "wibble flurb")
    monkeypatch.setattr("agent.headless.prepare.AgentContext", partial(AgentContext, tools=played_tools()))
    with pytest.raises(ApprovalNeeded, match="A question is open"):
        prepare(project, Planner(), {}, lambda _: True, lambda _: None)
    assert not project.config_path.exists()


def test_no_to_an_offer_asks_again_and_captions_nothing() -> None:
    first = move("do something with it", CAPTION)
    again = move("do something with it", CAPTION, AIMessage(first), HumanMessage("no"))
    assert isinstance(again, str)
    assert "what should come out" in again


def test_two_wishes_are_told_as_two_trainings() -> None:
    said = move("animate my old photos, plus add foley to my silent clips", CAPTION)
    assert "two trainings" in said
    assert "(i2v)" in said
    assert "(v2a)" in said


def test_one_clip_with_sound_among_ten_does_not_decide_what_trains(one_of_ten_with_sound: Path, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.write_facts(ProjectFacts(sources=[str(one_of_ten_with_sound)], goal="the look of my film"))
    cards: list[str] = []

    def approve(question: Question) -> bool:
        cards.append("\n".join(question.details))
        return True

    prepare(project, Planner(), {"captioner": "measured"}, approve, lambda _: None)
    assert "10 of 10 clips will train." in cards[-1]
    assert "only 1 of 10 clips have sound" in cards[-1]
    assert load_config(project.config_path).training_strategy.audio is None
    assert len(project.dataset_path.read_text().splitlines()) == 10
