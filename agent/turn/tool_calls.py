"""Running the tool calls of a reply: the stage's own tools, checked arguments, given approvals, each call done once."""

import dataclasses
import json
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import BaseModel

from agent.approvals.calls import WrongArguments, WrongCall, answer_to, calls_of, error_json, permitted_arguments
from agent.approvals.reviews import is_approved
from agent.approvals.waiting import after_call, call_fingerprint, needed_card
from agent.context import AgentContext
from agent.session.events import INTERRUPTED
from agent.session.slash import BY_NAME
from agent.state import FINISHED_BY, STAGES, AgentState, Stage, artifacts_of
from agent.turn.policies.active import POLICIES
from agent.turn.tool_output import as_text, fenced, told
from agent.turn.turn import JumpTo, Ran, Turn, begin_turn, settled
from tools.project import ToolStopped
from tools.spec import Tool
from trainer_core.errors import ApprovalNeeded, ConfigError, LtxError


def run_tools(stage: Stage, state: AgentState, runtime: Runtime[AgentContext]) -> Command[Any]:
    """Run every call of the last reply, in order; a call that fails answers with its error and ends the list.

    Then back to the model, to the router when the model asked for another stage, or where a policy sends the turn.
    """
    turn = begin_turn(stage, state, runtime).set(error=None)
    reply = state["messages"][-1]
    assert isinstance(reply, AIMessage)
    for index, call in enumerate(calls_of(reply)):
        turn = _answered(turn, call, f"{reply.id}:{index}")
    for policy in POLICIES:
        turn = policy.after_tools(turn)
    goes_on: JumpTo = "model" if turn.state["stage"] == stage else "route"
    turn = turn.to(turn.jump_to or goes_on, artifacts=artifacts_of(turn.context.project))
    return settled(turn, [_answer(ran) for ran in turn.ran])


def _answer(ran: Ran) -> ToolMessage:
    text = fenced(ran.text)
    return answer_to(ran.call, f"{text}\n{ran.note}" if ran.note else text, failed=ran.failed)


def _answered(turn: Turn, call: Any, key: str) -> Turn:
    """Run one call; return the turn with its answer and with what it changed."""
    try:
        if turn.state["error"] is not None:
            raise ConfigError("Not run: the call before it failed.", "Look at that error first.")
        if call["name"] == "go_to":
            wanted = _wanted_stage(call["args"], turn.state["until"])
            return _with(turn.set(stage=wanted, finished=None), call, f"The stage is now {wanted}.")
        tool = _known_tool(turn.stage, call["name"] or "", turn.context)
        turn, text, failed = _run_once(tool, call, key, turn)
        if failed:
            error: dict[str, Any] = json.loads(text)
            return _with(turn.set(error=error), call, told(error), failed=True)
        if not json.loads(text).get("remaining"):
            turn = turn.set(finished=FINISHED_BY.get(call["name"], turn.state["finished"]))
        return _with(turn, call, text)
    except LtxError as refusal:
        turn = turn.set(error=turn.state["error"] or error_json(refusal))
        schema = f"\nSchema: {refusal.schema}" if isinstance(refusal, WrongArguments) else ""
        return _with(turn, call, told(error_json(refusal)) + schema, failed=True)


def _with(turn: Turn, call: Any, text: str, *, failed: bool = False) -> Turn:
    return dataclasses.replace(turn, ran=(*turn.ran, Ran(call, text, failed)))


def _run_once(tool: Tool, call: Any, key: str, turn: Turn) -> tuple[Turn, str, bool]:
    """Run a call, or give the answer it had before a crash; return its text (an error's JSON) and whether it failed.

    The ledger is written before and after the tool: a call that ended is never run again, one that was cut off is
    first looked for in what it left behind.
    """
    context, state = turn.context, turn.state
    name, project, store = context.conversation, context.project, context.store
    arguments = permitted_arguments(tool, call["args"], state, context)
    fingerprint, plan_stood = call_fingerprint(call, project), is_approved("plan", state, project)
    known = store.call(name, key) if store is not None else None
    if known is None and needed_card(tool, arguments, call, state, context) is not None:
        raise ApprovalNeeded(f"{tool.name} needs the approval `{tool.needs_approval}`.", "Ask the user for it.")
    if known is not None and known.answer is not None:
        text, failed = known.answer, known.status == "error"
    else:
        if store is not None and known is None:
            store.begin_call(name, key, tool.name, call["args"])
        text, failed = _run(tool, arguments, turn, known.started_at if known else None)
        if store is not None:
            store.end_call(name, key, "error" if failed else "success", text)
    left = after_call(fingerprint, text, failed=failed, plan_stood=plan_stood, state=state, project=project)
    return turn.set(**left), text, failed


def _run(tool: Tool, arguments: BaseModel, turn: Turn, cut_off_at: float | None) -> tuple[str, bool]:
    project = turn.context.project
    last: tuple[str, int, int] | None = None

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        last = what, done, total
        if turn.context.stop.is_set():
            raise ToolStopped
        turn.write({"what": what, "done": done, "total": total})

    try:
        found = tool.recover(project, arguments, cut_off_at) if tool.recover and cut_off_at is not None else None
        return as_text(found if found is not None else tool.function(project, arguments, report)), False
    except LtxError as refusal:
        return json.dumps(error_json(refusal)), True
    except ToolStopped:
        return json.dumps(error_json(ConfigError(INTERRUPTED, _where_it_stopped(tool, last)))), True


def _where_it_stopped(tool: Tool, last: tuple[str, int, int] | None) -> str:
    """How far the tool was by its own count, and how to go on."""
    at = f"{last[0]}: {last[1]} of {last[2]} done. " if last is not None else ""
    command = BY_NAME.get(FINISHED_BY.get(tool.name, ""))
    further = f"/{command.name} goes on from there" if command is not None else "ask for it again to go on"
    return f"{at}What is done is kept; {further}."


def _wanted_stage(arguments: Any, until: Stage) -> Stage:
    wanted = arguments.get("stage") if isinstance(arguments, dict) else None
    for stage in STAGES[: STAGES.index(until) + 1]:
        if stage == wanted:
            return stage
    if wanted in STAGES:
        raise WrongCall(f"This command ends with the stage {until}.", "Say what came out and end here.")
    raise WrongCall(f"There is no stage {wanted!r:.100}.", f"Stages: {', '.join(STAGES)}.")


def _known_tool(stage: Stage, name: str, context: AgentContext) -> Tool:
    tools = {tool.name: tool for tool in context.tools[stage]}
    if name in tools:
        return tools[name]
    elsewhere = next((other for other, found in context.tools.items() if name in [tool.name for tool in found]), None)
    hint = f"It has: {', '.join(sorted(tools))}, go_to."
    if elsewhere is not None:
        hint = f"The stage {elsewhere} has it: call go_to first. {hint}"
    raise WrongCall(f"This stage has no tool {name!r:.100}.", hint)
