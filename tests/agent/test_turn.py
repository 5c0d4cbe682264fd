"""A turn: its policies, a stage that breaks off, and session files from before each stage was a graph of its own."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from agent.context import AgentContext
from agent.graph import build_graph
from agent.session.events import Asked, Called
from agent.session.session import open_session
from agent.turn.policies.active import POLICIES, state_schema
from tools.project import Project
from trainer_core.errors import ConfigError

HERE = Path(__file__).parent


def test_each_policy_is_one_file_and_has_its_own_part_of_the_state() -> None:
    files = {path.stem for path in (HERE.parents[1] / "agent/turn/policies").glob("*.py")} - {"__init__", "active"}
    assert {type(policy).__module__.rpartition(".")[2] for policy in POLICIES} == files
    parts = [set(policy.state_schema.__annotations__) for policy in POLICIES if policy.state_schema is not None]
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert set().union(*parts) <= set(state_schema().__annotations__)


def test_the_drawing_is_small() -> None:
    drawn = build_graph().get_graph()
    assert len(drawn.edges) <= 20
    assert {"route", "inspect", "caption", "draft", "monitor", "approve_call"} <= set(drawn.nodes)


def test_a_stage_that_broke_off_hands_on_what_it_did(
    scripted: Callable[..., AgentContext], call: Any, project: Project
) -> None:
    with open_session(scripted(call("inspect_clips"))) as session, pytest.raises(IndexError):
        list(session.begin("", until="monitor"))  # the script has no second reply: the model breaks off
    context = scripted(AIMessage("Where were we?"))
    with open_session(context) as session:
        assert session.is_unfinished
        list(session.say("are you there?"))
        assert not session.is_unfinished
        assert session.state["artifacts"] == {"report": "report.json"}
        list(session.undo())
    shown = context.model.seen[0]  # type: ignore[attr-defined]
    assert [message.name for message in shown if isinstance(message, ToolMessage)] == ["inspect_clips"]
    assert shown[-1].text == "are you there?"


def test_a_slash_command_calls_its_tool_without_asking_the_model(
    scripted: Callable[..., AgentContext], project: Project
) -> None:
    context = scripted(AIMessage("Two clips."), AIMessage("Captions are next."), AIMessage("It trains."))
    with open_session(context) as session:
        events = list(session.order("inspect_clips", "/inspect"))
        assert [event.tool for event in events if isinstance(event, Called)] == ["inspect_clips"]
        assert context.model.seen[0][-1].name == "inspect_clips"  # type: ignore[attr-defined]
        list(session.order("run_status", "/status"))
        assert session.state["stage"] == "monitor"


def test_an_ordered_start_waits_for_its_approval_and_begins_what_is_missing(
    context: AgentContext, project: Project
) -> None:
    with open_session(context) as session:
        events = list(session.order("start_training", "/start"))
        assert next(event.tool for event in events if isinstance(event, Called)) == "inspect_clips"
        project.config_path.write_text('{"steps":25}')
        events = list(session.order("start_training", "/start"))
        assert [event.question.approval for event in events if isinstance(event, Asked)] == ["captions"]  # due first
        events = list(session.answer(True, until="monitor"))
        assert [event.question.approval for event in events if isinstance(event, Asked)] == ["start"]
        assert not (project.path / "started").exists()
        list(session.answer(True, until="monitor"))
    assert (project.path / "started").read_text() == "x"


def test_an_order_for_a_tool_that_no_stage_has_is_refused(context: AgentContext) -> None:
    with open_session(context) as session, pytest.raises(ConfigError, match="/fly can't be done"):
        session.order("fly", "/fly")


@pytest.fixture
def older(project: Project) -> Project:
    """A project whose session file was written when a stage's model and tools were nodes of the whole graph.

    Its conversation `plan` waits for the plan's approval; `cut` was killed before it ran caption_clips.
    """
    project.session_path.write_bytes(gzip.decompress((HERE / "sessions/before_stages.sqlite.gz").read_bytes()))
    project.report_path.write_text('{"clips": []}')
    project.captions_path.write_text('{"path": "a.mp4", "source": "auto", "caption": "Rain.", "needs_review": true}\n')
    project.config_path.write_text('{"steps":25}')
    return project


def test_an_older_session_is_answered_and_undone(older: Project, context: AgentContext) -> None:
    with open_session(replace(context, conversation="plan")) as session:
        pending = session.pending()
        assert pending is not None
        assert pending.approval == "plan"
        events = list(session.answer(True))  # to the card of the old file: asked again, for the plan as it now is
        assert [event.question.approval for event in events if isinstance(event, Asked)]
        session.undo()
        undone = session.pending()
        assert undone is not None
        assert undone.approval == "plan"


def test_a_turn_that_an_older_version_left_in_its_tools_goes_on_by_words(older: Project, context: AgentContext) -> None:
    with open_session(replace(context, conversation="cut")) as session:
        assert not session.is_unfinished
        events = list(session.say("caption the clips"))
        assert "caption_clips" in [event.tool for event in events if isinstance(event, Called)]
        answered = {message.tool_call_id for message in session.state["messages"] if isinstance(message, ToolMessage)}
        called = {call["id"] for message in session.state["messages"] for call in getattr(message, "tool_calls", [])}
        assert called == answered
