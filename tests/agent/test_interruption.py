"""A turn that a person interrupts: the tool at work ends promptly, keeps what it did, and the conversation goes on."""

import dataclasses
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict

from agent.context import AgentContext
from agent.session.events import Event, Returned, Said
from agent.ui.tui.conversation import ConversationThread, Ended, Happened, Opened
from tools.project import Progress, Project
from tools.spec import Tool

PATIENCE_S = 30


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Endless:
    """A tool that works until it is stopped and reports all the while; `kept` is what it had done by then."""

    def __init__(self) -> None:
        self.at_work = threading.Event()
        self.kept = 0
        self.ended = False

    def __call__(self, project: Project, arguments: BaseModel, progress: Progress | None = None) -> BaseModel:
        """Look at the clips."""
        assert progress is not None
        try:
            while self.kept < 10**9:
                self.kept += 1
                progress("looking", self.kept, 10**9)
                self.at_work.set()
                threading.Event().wait(0.01)
        finally:
            self.ended = True
        return Nothing()


@pytest.fixture
def endless() -> Endless:
    return Endless()


def test_the_tool_ends_promptly_the_turn_after_it_and_the_next_one_is_heard(
    scripted: Callable[..., AgentContext], call: Callable[..., AIMessage], endless: Endless
) -> None:
    context = scripted(call("inspect_clips"), AIMessage("Here I am again."))
    tools = {**context.tools, "inspect": [Tool("inspect_clips", endless, Nothing)]}
    posted: queue.Queue[Any] = queue.Queue()
    conversation = ConversationThread(lambda: dataclasses.replace(context, tools=tools), posted.put)
    conversation.start()
    try:
        assert isinstance(posted.get(timeout=PATIENCE_S), Opened)
        conversation.take(lambda session: session.say("look at the clips"))
        assert endless.at_work.wait(PATIENCE_S)
        conversation.interrupt()
        events, ended = _until_ended(posted)
        assert ended.interrupted
        assert ended.error is None
        assert endless.ended
        assert endless.kept > 0
        (returned,) = (event for event in events if isinstance(event, Returned))
        assert returned.refusal is not None
        assert "Interrupted by the person" in returned.refusal
        (said,) = (event.text for event in events if isinstance(event, Said))
        assert f"looking: {endless.kept} of {10**9} done" in said, "the tool's own count"
        assert "/inspect goes on" in said
        assert ended.is_told, "a face needs not tell it again"

        conversation.take(lambda session: session.say("are you there?"))
        events, ended = _until_ended(posted)
        assert not ended.interrupted
        assert [event.text for event in events if isinstance(event, Said)] == ["Here I am again."]
    finally:
        assert conversation.close(PATIENCE_S)


def _until_ended(posted: "queue.Queue[Any]") -> tuple[list[Event], Ended]:
    events: list[Event] = []
    while True:
        payload = posted.get(timeout=PATIENCE_S)
        if isinstance(payload, Happened):
            events.append(payload.event)
        if isinstance(payload, Ended):
            return events, payload
