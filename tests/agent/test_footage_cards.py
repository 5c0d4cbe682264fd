"""The cards of remedies and of conditioning inputs in a conversation with the real tools: yes, no, and put right."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from agent.context import AgentContext
from agent.session.events import Asked, Returned
from agent.session.session import Session, open_session
from agent.state import DECLINED
from tools.inspect.inputs.ledger import read_inputs
from tools.inspect.remedies.ledger import read_remedied
from tools.inspect.tool import InspectArguments, inspect_clips
from tools.project import Project
from tools.registry import node_tools

REMEDY = {"remedy": "trim", "clips": ["bikes_1.mp4"], "start_s": 0.5}
INPUT = {"column": "reference_video", "kind": "blur", "blur": 0.2}
CALLS = {"remedy_clips": REMEDY, "make_inputs": INPUT}
PUT_RIGHT = {"remedy_clips": {**REMEDY, "start_s": 1.0}, "make_inputs": {**INPUT, "blur": 0.05}}
SHOWN = {"remedy_clips": ("bikes_1.mp4: ", "0.5"), "make_inputs": ("blurred, sigma 0.2 of the height", "2 clips")}
WORDS = "no, make it milder"


@pytest.fixture
def inspected(project: Project, cut_footage: Path, tmp_path: Path) -> Project:
    (tmp_path / "clips").mkdir()
    for clip in cut_footage.glob("bikes*"):
        shutil.copy(clip, tmp_path / "clips")
    inspect_clips(project, InspectArguments())
    return project


def made(project: Project) -> list[str]:
    """What was done so far, in the words of the ledgers."""
    return [one.settings for one in read_remedied(project)] + [one.choice for one in read_inputs(project)]


def asked(session: Session, events: list[Any]) -> list[str]:
    question = session.pending()
    assert question is not None
    assert [event.question for event in events if isinstance(event, Asked)] == [question]
    assert question.approval == "change"
    assert {cost.kind for cost in question.costs} == {"time", "memory", "disk", "money"}
    return [question.question, *question.details]


@pytest.mark.parametrize("tool", CALLS)
def test_a_yes_does_what_the_card_says(
    tool: str, inspected: Project, scripted: Callable[..., AgentContext], call: Callable[..., AIMessage]
) -> None:
    context = replace(scripted(call(tool, **CALLS[tool]), AIMessage("Done.")), tools=node_tools())
    with open_session(context) as session:
        lines = "\n".join(asked(session, list(session.say("mend them"))))
        assert all(part in lines for part in SHOWN[tool])
        assert made(inspected) == []
        events = list(session.answer(True))
        assert [event.refusal for event in events if isinstance(event, Returned)] == [""]
        assert session.pending() is None
    assert made(inspected)
    assert any(path.is_file() for path in inspected.path.rglob("*.mov"))


@pytest.mark.parametrize("tool", CALLS)
def test_a_no_leaves_everything_as_it_was(
    tool: str, inspected: Project, scripted: Callable[..., AgentContext], call: Callable[..., AIMessage]
) -> None:
    report = inspected.report_path.read_bytes()
    context = replace(scripted(call(tool, **CALLS[tool]), AIMessage("Then not.")), tools=node_tools())
    with open_session(context) as session:
        asked(session, list(session.say("mend them")))
        events = list(session.answer(False))
        assert [event.refusal for event in events if isinstance(event, Returned)] == [DECLINED]
    assert made(inspected) == []
    assert not list(inspected.path.rglob("*.mov"))
    assert inspected.report_path.read_bytes() == report


@pytest.mark.parametrize("tool", CALLS)
def test_words_put_it_right_and_it_is_asked_again(
    tool: str, inspected: Project, scripted: Callable[..., AgentContext], call: Callable[..., AIMessage]
) -> None:
    replies = (call(tool, **CALLS[tool]), call(tool, **PUT_RIGHT[tool]), AIMessage("Done."))
    context = replace(scripted(*replies), tools=node_tools())
    with open_session(context) as session:
        first = asked(session, list(session.say("mend them")))
        second = asked(session, list(session.answer(False, WORDS)))
        assert first != second
        assert isinstance(context.model.seen[1][-1], HumanMessage)  # type: ignore[attr-defined]
        assert context.model.seen[1][-1].text == WORDS  # type: ignore[attr-defined]
        assert made(inspected) == []
        list(session.answer(True))
    done = made(inspected)
    assert done
    assert all(("0.05" if tool == "make_inputs" else "1") in words for words in done)
    assert not any("0.2 " in words or "0.5" in words for words in done)
