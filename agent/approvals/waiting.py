"""The tool call of a reply that waits for an approval, with its card, and what a given approval is good for."""

import json
from typing import Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel

from agent.approvals.calls import calls_of, digest_of, permitted_arguments
from agent.approvals.cards import call_card
from agent.approvals.reviews import fingerprint_of, is_approved, unreviewed
from agent.context import AgentContext
from agent.session.events import Question
from agent.state import FINISHED_BY, AgentState
from tools.project import Project
from tools.spec import Tool
from trainer_core.errors import LtxError


def first_unapproved(reply: AIMessage, state: AgentState, context: AgentContext) -> tuple[Any, Question] | None:
    """The first call of `reply` that waits for an approval, with its card. Calls that will fail wait for none."""
    for call in calls_of(reply):
        tool = next((tool for tool in context.tools[state["stage"]] if tool.name == call["name"]), None)
        if tool is None or tool.needs_approval is None:
            continue
        try:
            arguments = permitted_arguments(tool, call["args"], state, context)
            card = needed_card(tool, arguments, call, state, context)
        except LtxError:
            continue
        if card is not None:
            return call, card
    return None


def needed_card(
    tool: Tool, arguments: BaseModel, call: Any, state: AgentState, context: AgentContext
) -> Question | None:
    """The card of a call that still waits for its approval.

    A change of a plan that nobody has approved yet needs no card of its own: the plan's review follows it.
    """
    project = context.project
    if tool.needs_approval is None or call_fingerprint(call, project) in state.get("granted", {}):
        return None
    unseen = unreviewed(state, project) if tool.needs_approval == "start" else []
    card = call_card(tool, arguments, project, unseen, context.settings)
    of_plan = card is not None and card.approval == "change" and FINISHED_BY.get(tool.name) == "draft"
    if of_plan and not is_approved("plan", state, project):
        return None
    return card


def call_fingerprint(call: Any, project: Project) -> str:
    """What an approval of a call is good for: this tool, these arguments, the config as it was seen."""
    return digest_of(call["name"], call["args"], fingerprint_of("plan", project))


def after_call(
    fingerprint: str, text: str, *, failed: bool, plan_stood: bool, state: AgentState, project: Project
) -> dict[str, Any]:
    """What a call leaves of its approval, which is good for one run: the grants and approvals as they now are.

    `text` is the call's result, `plan_stood` whether the plan was approved before it. The person read what they
    allowed: a change of an approved plan, or captions that need no more review.
    """
    granted, approvals = dict(state.get("granted", {})), state["approvals"]
    approval = granted.pop(fingerprint, None)
    if approval == "change" and plan_stood and not failed:
        approvals = {**approvals, **{name: fingerprint_of(name, project) for name in ("plan", "inputs")}}
    if approval == "captions" and not failed and json.loads(text).get("needs_review") == 0:
        approvals = {**approvals, "captions": fingerprint_of("captions", project)}
    return {"granted": granted, "approvals": approvals}
