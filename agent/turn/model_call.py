"""One turn of a node: ask the chat model with this node's tools, and send its reply where it belongs."""

import json
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage, SystemMessage
from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.context import AgentContext, context_of
from agent.llm.choose import ask, is_endpoint, name_of
from agent.state import FROM_RULES, STAGES, AgentState, Stage, is_from_person, note_from_graph
from agent.turn.policies.budget import charge, refuse_overspending
from agent.turn.policies.compaction import compacted
from agent.turn.policies.fallback import MOST_USELESS, given_up, is_useless
from agent.turn.policies.question_limit import NONE_LEFT, asks, assume_instead, is_one_too_many
from agent.turn.policies.rehearse_first import rehearsal_first, said_again
from agent.turn.state_block import seen
from agent.turn.tool_calls import calls_of, error_json, first_unapproved
from agent.turn.tool_output import fenced
from prompts.fence import fence
from prompts.render import render
from tools.project import Stopped
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
TOOL_OF: dict[Stage, str] = {"inspect": "inspect_clips", "caption": "caption_clips", "draft": "draft_config"}


def take_turn(stage: Stage, state: AgentState, runtime: Runtime[AgentContext]) -> Command[Any]:
    """Ask the chat model for its next move: calls go to the stage's tools (or to the approval one needs), words end."""
    context = context_of(state, runtime)
    if context.stop.is_set():
        return Command(goto=END)
    counted = is_endpoint(context.model) and not state.get("fallback")
    if counted and state.get("useless", 0) >= MOST_USELESS:
        return _give_up(context)
    kept, earlier, forgotten = compacted(state, context.settings.llm.context_tokens)
    remembered: AgentState = {**state, "earlier": earlier}
    held: list[Any] = []
    reply = said_again(state, context)
    try:
        if reply is None:
            reply, held = rehearsal_first(_reply(stage, remembered, kept, runtime, context), state, context)
    except (ExternalError, ApprovalNeeded) as error:
        return Command(goto="approve_fallback", update={"error": error_json(error)})
    except Stopped:
        return Command(goto=END)
    if is_one_too_many(reply, state):
        return _assumed(stage, state, context, reply, forgotten, earlier)
    calls = calls_of(reply)
    due = stage in TOOL_OF and not _is_made(stage, state)
    if counted and not calls and is_useless(reply, state, tool_is_due=due):
        again = due and state["messages"][-1].type == "human" and not is_from_person(state["messages"][-1])
        order = note_from_graph(f"This stage begins with a call of {TOOL_OF[stage]}.") if again else None
        return _useless(state, context, [*_removed(forgotten), reply], earlier, order)
    if not calls:
        goto = "route" if state["finished"] else END
    else:
        goto = "approve_call" if first_unapproved(reply, state, context) is not None else f"{stage}_tools"
    asked = not calls and asks(reply.text)
    messages = [*_removed(forgotten), reply]
    questions = state.get("questions", 0) + asked
    update: dict[str, Any] = {"messages": messages, "earlier": earlier, "questions": questions, "held": held}
    if not calls:  # what calls are good for shows when they run
        update["useless"] = 0
    return Command(goto=goto, update=update)


def _useless(
    state: AgentState, context: AgentContext, messages: list[Any], earlier: list[str], order: AnyMessage | None
) -> Command[Any]:
    """Count a reply that led nowhere; with an `order` the stage is begun again, else the person has heard it."""
    count = state.get("useless", 0) + 1
    if count >= MOST_USELESS:
        return _give_up(context)
    update = {"messages": [*messages, *([order] if order else [])], "earlier": earlier, "useless": count, "held": []}
    return Command(goto="route" if order else END, update=update)


def _give_up(context: AgentContext) -> Command[Any]:
    return Command(goto="approve_fallback", update={"error": error_json(given_up(name_of(context.model)))})


def _assumed(
    stage: Stage,
    state: AgentState,
    context: AgentContext,
    reply: AIMessage,
    forgotten: list[AnyMessage],
    earlier: list[str],
) -> Command[Any]:
    """Go on without an answer; a model that asks again in the same turn has had its say."""
    again = NONE_LEFT in state.get("repeats", {})
    instead = assume_instead(reply, context.project)
    update = {
        "messages": [*_removed(forgotten), *(instead[:1] if again else instead)],
        "earlier": earlier,
        "repeats": {**state.get("repeats", {}), NONE_LEFT: 1},
    }
    return Command(goto=END if again else stage, update=update)


def _removed(messages: list[AnyMessage]) -> list[Any]:
    return [RemoveMessage(id=message.id or "") for message in messages]


def _reply(
    stage: Stage, state: AgentState, kept: list[AnyMessage], runtime: Runtime[AgentContext], context: AgentContext
) -> AIMessage:
    """Ask the model; a small one that answers a new stage with words instead of its tool is asked once for the tool."""
    model = context.model
    if state.get("fallback"):
        from agent.planner.chat_model import Planner

        model = Planner()
    refuse_overspending(context, model)
    tools = [tool.schema() for tool in context.tools[stage]] + [GO_TO]
    messages = [SystemMessage(render(stage, state=fence("state", json.dumps(seen(stage, state, context))))), *kept]
    if is_endpoint(model):
        messages = [_in_fence(message) for message in messages]

    def stream(text: str) -> None:
        if context.stop.is_set():
            raise Stopped
        runtime.stream_writer({"streamed": text})

    reply = ask(model, tools, messages, stream)
    charge(context, model, messages, reply)
    begun = TOOL_OF.get(stage)
    fresh = not is_from_person(kept[-1]) and kept[-1].type == "human"
    if is_endpoint(model) and not calls_of(reply) and begun and fresh and not _is_made(stage, state):
        reply = ask(model, tools, messages, stream, tool=begun)
        charge(context, model, messages, reply)
    return reply


def _in_fence(message: AnyMessage) -> AnyMessage:
    """What rules said in an earlier turn quotes files: it mustn't stand there as the language model's own words."""
    if message.additional_kwargs.get("origin") != FROM_RULES or not message.text:
        return message
    return message.model_copy(update={"content": fenced(message.text)})


def _is_made(stage: Stage, state: AgentState) -> bool:
    file: dict[Stage, str] = {"inspect": "report", "caption": "captions", "draft": "config"}
    return file[stage] in state["artifacts"]
