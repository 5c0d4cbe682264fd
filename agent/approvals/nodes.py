"""The approvals, each a node of its own: nothing happens in it before the person answers.

A node with an interrupt runs again from its top when the answer comes, so these only read. Each comes back to the
router; `jump_to` says where to from there, if it is not the way of the stages.
"""

import dataclasses
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from agent.approvals import cards
from agent.approvals.calls import answer_to
from agent.approvals.reviews import fingerprint_of
from agent.approvals.standing import AFTER_REVIEWS, open_calls, standing_review, with_call, with_review, without
from agent.approvals.waiting import call_fingerprint, first_unapproved
from agent.context import AgentContext, context_of
from agent.session.events import Approval, Question
from agent.state import DECLINED, AgentState, Stage, note_from_graph
from tools.project import Project

Update = dict[str, Any]
"""What a node changes in the state."""


def answer_of(approved: bool, words: str = "", seen: str = "") -> dict[str, Any]:
    """The value that resumes an interrupted approval; `seen` is the card's own."""
    return {"approved": approved, "words": words, "seen": seen}


def approve_captions(state: AgentState, runtime: Runtime[AgentContext]) -> Update:
    """Let the person look at some captions before they shape the plan."""
    project = context_of(state, runtime).project
    answer = _ask(cards.captions_card(project), fingerprint_of("captions", project))
    return _reviewed("captions", "caption", answer, state, project)


def approve_inputs(state: AgentState, runtime: Runtime[AgentContext]) -> Update:
    """Let the person confirm what the training is given beside the text; nothing is made up for it."""
    project = context_of(state, runtime).project
    return _reviewed(
        "inputs", "draft", _ask(cards.inputs_card(project), fingerprint_of("inputs", project)), state, project
    )


def approve_plan(state: AgentState, runtime: Runtime[AgentContext]) -> Update:
    """Let the person read the plan before anything follows from it."""
    project = context_of(state, runtime).project
    return _reviewed("plan", "draft", _ask(cards.plan_card(project), fingerprint_of("plan", project)), state, project)


def approve_call(state: AgentState, runtime: Runtime[AgentContext]) -> Update:
    """Ask before a tool that costs something or can't be taken back: start, change, overwrite, resume, push."""
    context, stage = context_of(state, runtime), state["stage"]
    reply = state["messages"][-1]
    assert isinstance(reply, AIMessage)
    waiting = first_unapproved(reply, state, context)
    if waiting is None:
        return {"jump_to": stage}
    call, card = waiting
    review = standing_review(state, context.project) if card.approval in AFTER_REVIEWS else None
    if review is not None:
        return {"jump_to": f"approve_{review}"}
    answer = _ask(card, call_fingerprint(call, context.project))
    standing = without(state, call["name"])
    if answer["approved"]:
        granted = {**state.get("granted", {}), call_fingerprint(call, context.project): card.approval}
        # another call of the reply may wait
        return {"granted": granted, "standing": standing, "jump_to": "approve_call"}
    update = {"messages": _declined(state), "standing": standing, "jump_to": stage}
    if answer["words"]:  # they are a wish for something else, not a no to this for good
        words = HumanMessage(answer["words"])
        return {**update, "messages": [*_declined(state), words], "standing": with_call(state, call["name"], reply)}
    declined = {**state.get("declined", {}), card.approval: fingerprint_of("plan", context.project)}
    return {**update, "declined": declined}


def approve_fallback(state: AgentState) -> Update:
    """Ask before rules take over from a language model that failed."""
    error = state["error"]
    assert error is not None
    if not _ask(cards.fallback_card(error))["approved"]:
        return {"useless": 0, "standing": [], "jump_to": "__end__"}
    return {"fallback": True, "error": None, "jump_to": state["stage"]}


def _ask(card: Question, seen: str = "") -> dict[str, Any]:
    """Ask until the answer is to this very card: files may change while a person reads."""
    shown = cards.as_json(dataclasses.replace(card, seen=seen))
    while True:
        answer = interrupt(shown)
        if answer.get("seen", "") == seen:
            return answer_of(bool(answer["approved"]), str(answer["words"]))


def _reviewed(approval: Approval, stage: Stage, answer: dict[str, Any], state: AgentState, project: Project) -> Update:
    standing = without(state, approval)
    if answer["approved"]:
        approvals = {**state["approvals"], approval: fingerprint_of(approval, project)}
        jump_to = "approve_call" if open_calls(state) else None
        return {"approvals": approvals, "standing": standing, "error": None, "jump_to": jump_to}
    update = {"finished": None, "stage": stage, "standing": standing}
    if answer["words"]:
        words = HumanMessage(answer["words"])
        return {**update, "messages": [*_declined(state), words], "standing": with_review(state, approval, stage)}
    return {**update, "messages": [*_declined(state), note_from_graph(f"{DECLINED} ({approval})")]}


def _declined(state: AgentState) -> list[AnyMessage]:
    """The answers to the calls that waited for a card which got no yes."""
    return [answer_to(call, DECLINED, failed=True) for call in open_calls(state)]
