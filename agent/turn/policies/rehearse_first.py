"""The rehearsal before a start: a model that calls for the start is held back once, until the person said yes or no.

What is held is the whole reply. It is said again, without asking the model, when the rehearsal fitted or was declined.
"""

from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, ToolMessage

from agent.approvals.nodes import DECLINED
from agent.approvals.reviews import fingerprint_of
from agent.context import AgentContext
from agent.state import AgentState
from agent.turn.tool_calls import calls_of, first_unapproved
from tools.rehearsal.recorded import rehearsed

REHEARSE = "rehearse_training"
_FOR = "start"


def rehearsal_first(reply: AIMessage, state: AgentState, context: AgentContext) -> tuple[AIMessage, list[Any]]:
    """Return the reply to go on with, and the calls held back: a rehearsal in the place of a start that lacks one."""
    waiting = first_unapproved(reply, state, context)
    if waiting is None or waiting[1].approval != _FOR or not _is_due(state, context):
        return reply, []
    call = {"name": REHEARSE, "args": {}, "id": f"call_{uuid4().hex[:12]}"}
    return AIMessage(reply.text, tool_calls=[call], usage_metadata=reply.usage_metadata, id=reply.id), calls_of(reply)


def said_again(state: AgentState, context: AgentContext) -> AIMessage | None:
    """The reply that was held back, when its rehearsal has just fitted or was declined; None: ask the model."""
    held, last = state.get("held", []), state["messages"][-1]
    if not held or not isinstance(last, ToolMessage) or last.name != REHEARSE:
        return None
    if last.status == "error" and last.content != DECLINED:
        return None
    seen = rehearsed(context.project)
    if seen is not None and not seen.trial.fits:
        return None  # the model tells what it would take, and the person decides
    return AIMessage("", tool_calls=held)


def _is_due(state: AgentState, context: AgentContext) -> bool:
    offered = any(tool.name == REHEARSE for tool in context.tools[state["stage"]])
    declined = state.get("declined", {}).get("rehearse") == fingerprint_of("plan", context.project)
    return offered and not declined and rehearsed(context.project) is None
