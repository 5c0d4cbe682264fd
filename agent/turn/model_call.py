"""One question to the chat model, the whole turn on a screen: policies, model, policies, and where it leads."""

import dataclasses
import json
from typing import Any

from langchain_core.messages import AnyMessage, SystemMessage
from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.approvals.calls import calls_of, error_json
from agent.approvals.waiting import first_unapproved
from agent.context import AgentContext
from agent.llm.choose import ask, is_endpoint
from agent.state import FROM_RULES, STAGES, AgentState, Stage
from agent.turn.policies.active import POLICIES
from agent.turn.state_block import state_block
from agent.turn.tool_output import fenced
from agent.turn.turn import Request, Turn, begin_turn, settled
from prompts.fence import fence
from prompts.render import render
from tools.project import ToolStopped
from trainer_core.errors import ApprovalNeeded, ExternalError

GO_TO: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "go_to",
        "description": "Go on in another stage of the work, whose tools are then at hand.",
        "parameters": {
            "type": "object",
            "properties": {"stage": {"type": "string", "enum": list(STAGES)}},
            "required": ["stage"],
            "additionalProperties": False,
        },
    },
}


def call_model(stage: Stage, state: AgentState, runtime: Runtime[AgentContext]) -> Command[Any]:
    """Ask the chat model for its next move: calls go to the stage's tools (or to the approval one needs), words end."""
    turn = begin_turn(stage, state, runtime)
    try:
        turn = _before_model(turn)
        while turn.jump_to is None:
            turn = _after_model(turn if turn.reply else _asked(turn))
        if (
            turn.jump_to == "tools"
            and turn.reply is not None
            and first_unapproved(turn.reply, turn.state, turn.context)
        ):
            turn = turn.to("approve_call")
    except (ExternalError, ApprovalNeeded) as error:
        turn = turn.replying(None).to("approve_fallback", error=error_json(error))
    except ToolStopped:
        turn = turn.replying(None).to("__end__")
    return settled(turn, [turn.reply] if turn.reply is not None else [])


def _before_model(turn: Turn) -> Turn:
    for policy in POLICIES:
        turn = policy.before_model(turn)
        if turn.jump_to is not None:
            break
    return turn


def _after_model(turn: Turn) -> Turn:
    for policy in reversed(POLICIES):
        turn = policy.after_model(turn)
        if turn.jump_to is not None or turn.reply is None:
            return turn
    if turn.reply is not None and calls_of(turn.reply):
        return turn.to("tools")
    return turn.to("route" if turn.state["finished"] else "__end__")


def _asked(turn: Turn) -> Turn:
    """The turn with the model's reply to what it is shown: the stage's prompt, the state, the messages."""
    model = turn.context.model
    if turn.state.get("fallback"):
        from agent.planner.chat_model import Planner

        model = Planner()
    state = fence("state", json.dumps(state_block(turn.stage, turn.state, turn.context)))
    messages = [SystemMessage(render(turn.stage, state=state)), *turn.messages]
    if is_endpoint(model):
        messages = [_in_fence(message) for message in messages]

    def stream(text: str) -> None:
        if turn.context.stop.is_set():
            raise ToolStopped
        turn.write({"streamed": text})

    tools = [tool.schema() for tool in turn.context.tools[turn.stage]] + [GO_TO]
    reply = ask(model, tools, messages, stream, tool=turn.tool_choice)
    return dataclasses.replace(turn, reply=reply, request=Request(tuple(messages), reply))


def _in_fence(message: AnyMessage) -> AnyMessage:
    """What rules said in an earlier turn quotes files: it mustn't stand there as the language model's own words."""
    if message.additional_kwargs.get("origin") != FROM_RULES or not message.text:
        return message
    return message.model_copy(update={"content": fenced(message.text)})
