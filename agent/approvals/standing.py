"""The cards that were answered in words, neither yes nor no: each stands again when the turn of those words has ended.

An entry of the state's `standing` is JSON: `card` names it (a review's approval, a call's tool), `stage` is where it
was asked; a call's has its `calls` too, and those `held` back for it.
"""

from typing import Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command

from agent.approvals.calls import calls_of
from agent.approvals.reviews import REVIEWS, is_approved, missing_review
from agent.approvals.waiting import first_unapproved
from agent.context import AgentContext
from agent.session.events import Approval
from agent.state import AgentState, Stage, is_from_person, note_from_graph
from tools.project import Project

Entry = dict[str, Any]

AFTER_REVIEWS = ("start", "rehearse")
"""Approvals that wait for the reviews which stand: however the talk got to them, no card before them is left out."""


def without(state: AgentState, card: str) -> list[Entry]:
    """What stands once this card was answered with yes or no."""
    return [entry for entry in state.get("standing", []) if entry["card"] != card]


def with_review(state: AgentState, approval: str, stage: Stage) -> list[Entry]:
    return [*without(state, approval), {"card": approval, "stage": stage}]


def with_call(state: AgentState, card: str, reply: AIMessage) -> list[Entry]:
    held = cast(dict[str, Any], state).get("held", [])
    entry = {"card": card, "stage": state["stage"], "calls": [dict(call) for call in reply.tool_calls], "held": held}
    return [*without(state, card), entry]


def left_open(nodes: tuple[str, ...], state: dict[str, Any], context: AgentContext) -> list[Entry]:
    """What stands once the turn goes on past the card that waits in one of `nodes`, the graph's next ones."""
    seen = cast(AgentState, state)
    for node in nodes:
        review = node.removeprefix("approve_")
        stage = next((stage for stage, names in REVIEWS.items() if review in names), None)
        if stage is not None:
            return with_review(seen, review, stage)
        reply = state["messages"][-1] if node == "approve_call" else None
        waiting = first_unapproved(reply, seen, context) if isinstance(reply, AIMessage) else None
        if waiting is not None and isinstance(reply, AIMessage):
            return with_call(seen, waiting[0]["name"], reply)
    return list(state.get("standing", []))


def standing_review(state: AgentState, project: Project) -> Approval | None:
    """The first review that stands and is not given."""
    stood = {entry["card"] for entry in state.get("standing", []) if "calls" not in entry}
    names = [name for reviews in REVIEWS.values() for name in reviews if name in stood]
    return next((name for name in names if not is_approved(name, state, project)), None)


def open_calls(state: AgentState) -> list[Any]:
    """The calls that wait while a review is asked before them."""
    last = state["messages"][-1] if state["messages"] else None
    return calls_of(last) if isinstance(last, AIMessage) else []


def asked_again(state: AgentState, context: AgentContext) -> Command[Any] | None:
    """Lead to the card that stands, the one answered last first; None when none does, or none is due any more."""
    standing = list(state.get("standing", []))
    while standing:
        entry = standing[-1]
        update: dict[str, Any] = {"standing": list(standing), "stage": entry["stage"], "jump_to": None}
        if "calls" not in entry:
            review = missing_review(entry["stage"], state, context.project)
            if review is not None:
                return Command(goto=f"approve_{review}", update={**update, "finished": entry["stage"]})
        elif not _was_done(entry["card"], state):
            calls = [{**call, "id": f"call_{uuid4().hex[:12]}"} for call in entry["calls"]]
            reply = AIMessage("", tool_calls=calls)
            if first_unapproved(reply, cast(AgentState, {**state, "stage": entry["stage"]}), context) is not None:
                note = note_from_graph(
                    f"{entry['card']} is asked about again: it was answered with neither yes nor no."
                )
                update = {**update, "messages": [note, reply], "held": entry["held"]}
                return Command(goto="approve_call", update=update)
        standing.pop()
    return None


def _was_done(tool: str, state: AgentState) -> bool:
    """Whether the turn of the words ran this tool in another way."""
    for message in reversed(state["messages"]):
        if is_from_person(message):
            return False
        if isinstance(message, ToolMessage) and message.name == tool and message.status != "error":
            return True
    return False
