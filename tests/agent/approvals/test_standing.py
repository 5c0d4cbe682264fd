"""A card that is answered in words stands again, whatever the words did; no card that was due is left out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from agent.context import AgentContext
from agent.planner.chat_model import Planner
from agent.session.events import Alerted, Asked, Called, Event, Question, Said
from agent.session.session import Session, open_session
from tools.project import Project, ProjectFacts
from trainer_core.config import load_config
from trainer_core.files import read_jsonl


def question_of(events: Iterator[Event] | list[Event]) -> Question:
    return next(event.question for event in events if isinstance(event, Asked))


def called(events: list[Event]) -> list[str]:
    return [event.tool for event in events if isinstance(event, Called) and event.tool != "go_to"]


@pytest.fixture
def at_start(session: Session) -> Session:
    """The conversation with the card of the start waiting."""
    list(session.begin("", until="monitor"))
    list(session.answer(True))
    assert question_of(list(session.answer(True))).approval == "start"
    return session


def test_a_wish_at_the_start_card_changes_the_plan_and_starts_nothing(at_start: Session, project: Project) -> None:
    events = list(at_start.answer(False, "ok wait, use 9 steps first"))
    assert question_of(events).approval == "change"
    events = list(at_start.answer(True))
    assert '"steps":9' in project.config_path.read_text()
    assert question_of(events).approval == "start"
    assert not (project.path / "started").exists()
    list(at_start.answer(True))
    assert (project.path / "started").exists()
    assert at_start.pending() is None


def test_a_value_without_a_number_is_changed_and_shown_before_anything_starts(real_clips: Path, tmp_path: Path) -> None:
    for clip in sorted(real_clips.iterdir())[2:]:
        clip.unlink()
    project = Project(tmp_path / "real")
    project.path.mkdir()
    project.write_facts(ProjectFacts(sources=[str(real_clips)], goal="the look, use rank 8", model="tiny"))
    with open_session(AgentContext(project, Planner())) as session:
        card = question_of(list(session.begin("the look", until="monitor")))
        while card.approval in ("captions", "inputs"):
            card = question_of(list(session.answer(True)))
        assert card.approval == "plan"
        assert card.details[0].startswith("Trained on ")
        card = question_of(list(session.answer(True)))
        assert card.approval == "rehearse"
        before = load_config(project.config_path).optimization.learning_rate
        card = question_of(list(session.answer(False, "ok wait, lower the learning rate first")))
        assert card.approval == "change"
        card = question_of(list(session.answer(True)))
        assert card.approval == "rehearse"
        assert load_config(project.config_path).optimization.learning_rate == pytest.approx(before / 2)
        assert question_of(list(session.answer(False, "what does rank mean?"))).approval == "rehearse"
        assert question_of(list(session.answer(False))).approval == "start"  # what the rehearsal held back
        assert question_of(list(session.answer(False, "what does rank mean?"))).approval == "start"
        assert not project.runs()


@pytest.mark.parametrize("words", ["what does rank mean?", "go back", "do it tomorrow", "sure, if it is cheap"])
def test_the_start_card_stands_again_after_an_answer(at_start: Session, project: Project, words: str) -> None:
    for _ in range(3):
        events = list(at_start.answer(False, words))
        assert any(isinstance(event, Said) for event in events)
        assert question_of(events).approval == "start"
    assert not (project.path / "started").exists()
    list(at_start.answer(False))
    assert at_start.pending() is None


@pytest.mark.parametrize("place", range(3))
def test_every_card_stands_again_after_a_question(session: Session, place: int) -> None:
    events = list(session.begin("", until="monitor"))
    for _ in range(place):
        events = list(session.answer(True))
    card = question_of(events)
    again = question_of(list(session.answer(False, "what does rank mean?")))
    assert again == card
    assert question_of(list(session.answer(False, "what does a seed mean?"))) == card


def test_a_yes_after_a_question_goes_on_as_if_it_had_come_at_once(session: Session, project: Project) -> None:
    list(session.begin("", until="monitor"))
    list(session.answer(False, "what does rank mean?"))
    assert question_of(list(session.answer(True))).approval == "plan"
    list(session.answer(False, "what does rank mean?"))
    assert question_of(list(session.answer(True))).approval == "start"
    list(session.answer(False, "what does rank mean?"))
    list(session.answer(True))
    assert (project.path / "started").read_text() == "x"


def test_an_order_to_start_leaves_no_review_out(session: Session, project: Project) -> None:
    list(session.begin("", until="monitor"))
    list(session.answer(True))
    events = list(session.answer(False, "start training"))
    assert question_of(events).approval == "plan"
    events = list(session.answer(True))
    assert question_of(events).approval == "start"
    list(session.answer(True))
    assert (project.path / "started").read_text() == "x"


def test_a_review_that_is_due_before_a_start_can_be_declined_and_changed(session: Session, project: Project) -> None:
    list(session.begin("", until="monitor"))
    list(session.answer(True))
    list(session.answer(False, "start training"))
    events = list(session.answer(False, "use 77 steps"))
    assert '"steps":77' in project.config_path.read_text()
    assert question_of(events).approval == "plan"
    list(session.answer(False))
    assert session.pending() is None
    assert not (project.path / "started").exists()


def test_what_was_said_before_a_card_came_is_no_answer_to_it(at_start: Session, project: Project) -> None:
    events = list(at_start.say("yes"))
    assert any(isinstance(event, Alerted) and "before this was asked" in event.message for event in events)
    assert question_of(events).approval == "start"
    assert question_of(list(at_start.say("what does rank mean?"))).approval == "start"
    assert not (project.path / "started").exists()


def test_a_language_model_that_only_talks_does_not_lose_the_card(
    scripted: Callable[..., AgentContext], call: Any, project: Project
) -> None:
    replies = []
    for tool in ("inspect_clips", "caption_clips", "draft_config"):
        replies += [call(tool), AIMessage("Done.")]
    replies += [call("start_training"), AIMessage("It takes an hour."), AIMessage("Started.")]
    context = scripted(*replies)
    with open_session(context) as session:
        list(session.begin("", until="monitor"))
        list(session.answer(True))
        list(session.answer(True))
        events = list(session.answer(False, "how long will it take?"))
        assert Said("It takes an hour.") in events
        assert question_of(events).approval == "start"
        list(session.answer(True))
    assert (project.path / "started").read_text() == "x"


@pytest.mark.parametrize(
    ("words", "caption"),
    [
        ("the first caption is wrong, it's a fox", "A fox."),
        ("the second one is wrong: it's a fox", "A fox."),
        ("caption 1 should read: A fox crosses the snow", "A fox crosses the snow."),
    ],
)
def test_a_caption_is_corrected_by_words(real_clips: Path, tmp_path: Path, words: str, caption: str) -> None:
    for clip in sorted(real_clips.iterdir())[2:]:
        clip.unlink()
    project = Project(tmp_path / "real")
    project.path.mkdir()
    project.write_facts(ProjectFacts(sources=[str(real_clips)]))
    with open_session(AgentContext(project, Planner())) as session:
        card = question_of(list(session.begin("the look", until="caption")))
        assert card.details[1].startswith("1. bikes_1.mp4 (measured): ")
        card = question_of(list(session.answer(False, words)))
        assert card.approval == "captions"
        assert any(caption in line for line in card.details)
    assert caption in [row["caption"] for row in read_jsonl(project.captions_path)]


@pytest.mark.parametrize("tool", ["inspect_clips", "start_training"])
def test_a_command_leaves_no_card_out(session: Session, project: Project, tool: str) -> None:
    list(session.begin("", until="monitor"))
    assert question_of(list(session.answer(True))).approval == "plan"
    assert question_of(list(session.order(tool, f"/{tool}"))).approval == "plan"
    assert not (project.path / "started").exists()
    assert question_of(list(session.answer(True))).approval == "start"
    assert question_of(list(session.order("run_status", "/status"))).approval == "start"
    list(session.answer(True))
    assert (project.path / "started").read_text() == "x"
