"""A language model that only babbles, over real HTTP: after three useless replies rules take over, with consent."""

import json
from typing import Any

import pytest

from agent.context import AgentContext
from agent.headless.prepare import prepare
from agent.llm.choose import choose_model
from agent.session.events import Asked, Called, Question
from agent.session.session import open_session
from tools.project import Project
from trainer_core.errors import ExternalError

BABBLE = (200, {"content": "Certainly! Film is a wonderful medium."})
EMPTY = (200, {"content": ""})


def calling(name: str, arguments: str = "{}") -> tuple[int, dict[str, Any]]:
    function = {"name": name, "arguments": arguments}
    return 200, {"tool_calls": [{"id": "c1", "type": "function", "function": function}]}


USELESS: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "words": [BABBLE],
    "nothing": [EMPTY],
    "no such tool": [calling(f"tool_{number}") for number in range(9)],
    "another node's tool": [calling("start_training")],
    "wrong arguments": [calling("inspect_clips", json.dumps({f"x{number}": 1})) for number in range(9)],
    "no json": [calling("inspect_clips", "not json")],
    "a bit of each": [BABBLE, BABBLE, calling("tool"), calling("inspect_clips", "[]")],
}


def fallback_card(events: list[Any]) -> Question | None:
    found = [event.question for event in events if isinstance(event, Asked)]
    return next((question for question in found if question.approval == "fallback"), None)


@pytest.mark.parametrize("kind", USELESS)
def test_three_useless_replies_offer_the_planner_which_does_the_work(
    kind: str, endpoint: Any, context: AgentContext, project: Project
) -> None:
    endpoint.answers = list(USELESS[kind])
    with open_session(AgentContext(project, choose_model("auto"), context.tools)) as session:
        events = list(session.begin("the look of my film, 7 steps", until="monitor"))
        for _ in range(3):
            if fallback_card(events) is None:
                events += session.say("go on")
        card = fallback_card(events)
        assert card is not None
        assert "m led nowhere 3 times in a row" in card.details[0]
        assert not project.report_path.exists()
        asked = len(endpoint.requests)
        events = list(session.answer(True))
        while session.pending() is not None:
            events += session.answer(True)
        assert len(endpoint.requests) == asked
    assert [event.tool for event in events if isinstance(event, Called)][:3] == [
        "inspect_clips",
        "caption_clips",
        "draft_config",
    ]
    assert (project.path / "started").read_text() == "x"


def test_a_no_lets_the_model_try_again(endpoint: Any, context: AgentContext, project: Project) -> None:
    endpoint.answers = [BABBLE]
    with open_session(AgentContext(project, choose_model("auto"), context.tools)) as session:
        assert fallback_card(list(session.begin("the look of my film", until="monitor"))) is not None
        list(session.answer(False))
        assert session.model_name == "m"
        endpoint.answers = [calling("inspect_clips"), (200, {"content": "Two clips."}), calling("caption_clips")]
        events = list(session.say("go on"))
    assert "inspect_clips" in [event.tool for event in events if isinstance(event, Called)]


def test_a_model_that_works_or_talks_is_never_given_up(endpoint: Any, context: AgentContext, project: Project) -> None:
    """Answers to questions, questions of its own, an empty word after work: none of them is useless."""
    endpoint.answers = [
        calling("inspect_clips"),
        EMPTY,
        BABBLE,
        BABBLE,
        calling("caption_clips"),
        (200, {"content": "One caption."}),
    ]
    with open_session(AgentContext(project, choose_model("auto"), context.tools)) as session:
        list(session.begin("the look of my film", until="caption"))
        assert session.state["useless"] == 0
        assert project.captions_path.exists()
        list(session.answer(True))
        endpoint.answers = [(200, {"content": "Rank is how much it can hold."})]
        for _ in range(4):
            assert fallback_card(list(session.say("what does rank mean?"))) is None
        endpoint.answers = [(200, {"content": "How many steps shall it be?"})]
        for _ in range(4):
            assert fallback_card(list(session.say("start"))) is None


def test_prepare_names_the_model_not_the_person(endpoint: Any, project: Project) -> None:
    endpoint.answers = [calling("inspect_clips", '{"colour": 1}')]
    with pytest.raises(ExternalError, match="ended without a plan"):
        prepare(project, choose_model("auto"), {}, lambda _: False, lambda _: None)
