"""Running the tool calls of a reply: the node's own tools, checked arguments, given approvals, each call done once."""

import hashlib
import json
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import BaseModel, ValidationError

from agent.approvals.cards import call_card
from agent.approvals.path_guard import refuse_foreign_paths
from agent.approvals.reviews import fingerprint_of, is_approved, unreviewed
from agent.context import AgentContext, context_of
from agent.session.events import Question, Returned
from agent.session.slash import BY_NAME
from agent.state import FINISHED_BY, STAGES, AgentState, Stage, artifacts_of, is_from_person, told_by_rules
from agent.turn.policies.compaction import words_of
from agent.turn.policies.fallback import MOST_USELESS
from agent.turn.tool_output import as_text, fenced, printable
from tools.project import Project, Stopped
from tools.spec import Tool
from trainer_core.errors import ApprovalNeeded, ConfigError, LtxError

SAME_RESULT_AGAIN = "This is the same call with the same result as before: don't repeat it, answer with words."
INTERRUPTED = "Interrupted by the person."
MOST_REPEATS = 3
"""The same call with the same result this often in one turn ends the turn: the model goes round in circles."""


class WrongCall(ConfigError):
    """A call that no tool of the stage takes: the model's fault, not the person's and not the data's."""

    schema = ""


class WrongArguments(WrongCall):
    """A model's arguments don't fit the tool; the model is told the schema once."""

    def __init__(self, tool: Tool, fault: str) -> None:
        super().__init__(f"The arguments of {tool.name} are wrong: {fault}.", "Correct them.")
        self.schema = json.dumps(tool.schema()["function"]["parameters"])


def run_tools(stage: Stage, state: AgentState, runtime: Runtime[AgentContext]) -> Command[Any]:
    """Run every call of the last reply, in order; a call that fails answers with its error and ends the list.

    Back to the stage's node; to the router when the model asked for another stage; to the end of the turn when the
    same error came twice in a row or the same call brought the same result too often.
    """
    context = context_of(state, runtime)
    reply = state["messages"][-1]
    assert isinstance(reply, AIMessage)
    answers: list[AnyMessage] = []
    repeats = dict(state.get("repeats", {}))
    update: dict[str, Any] = {"messages": answers, "error": None, "repeats": repeats}
    started, worked = False, False
    working: AgentState = {**state}
    for index, call in enumerate(calls_of(reply)):
        text, failed = _answer(stage, call, f"{reply.id}:{index}", working, update, runtime, context)
        started = started or (call["name"] == "start_training" and not failed)
        worked = worked or not failed
        mark = _digest(call["name"], call["args"], text)
        repeats[mark] = repeats.get(mark, 0) + 1
        shown = f"{fenced(text)}\n{SAME_RESULT_AGAIN}" if repeats[mark] > 1 else fenced(text)
        answers.append(answer_to(call, shown, failed=failed))
    error = update["error"]
    useless = state.get("useless", 0) + 1 if error is not None and error.get("by_model") and not worked else 0
    update["useless"] = useless
    if context.stop.is_set():
        if error is not None:
            answers.append(told_by_rules(_told(error)))
        goto = END
    elif useless >= MOST_USELESS:
        goto = stage  # which asks whether rules shall take over
    elif error is not None and error == state["error"]:
        answers.append(told_by_rules(_told(error)))
        goto = END
    elif max(repeats.values(), default=0) >= MOST_REPEATS:
        answers.append(AIMessage("I asked for the same thing again and again, so I stop here. Say what you want next."))
        goto = END
    else:
        goto = stage if working["stage"] == stage else "route"
    changed: dict[str, Any] = {name: working.get(name) for name in ("stage", "finished", "approvals", "granted")}
    if started:  # the way from clips to start is over: what comes is another one
        changed["questions"] = 0
    return Command(goto=goto, update={**update, **changed, "artifacts": artifacts_of(context.project)})


def first_unapproved(reply: AIMessage, state: AgentState, context: AgentContext) -> tuple[Any, Question] | None:
    """The first call of `reply` that waits for an approval, with its card. Calls that will fail wait for none."""
    for call in calls_of(reply):
        tool = next((tool for tool in context.tools[state["stage"]] if tool.name == call["name"]), None)
        if tool is None or tool.needs_approval is None:
            continue
        try:
            card = _needed_card(tool, _permitted_arguments(tool, call["args"], state, context), call, state, context)
        except LtxError:
            continue
        if card is not None:
            return call, card
    return None


def calls_of(reply: AIMessage) -> list[Any]:
    """Every call of a reply; one whose arguments are no JSON has them as text and fails validation with that."""
    return [*reply.tool_calls, *reply.invalid_tool_calls]


def answer_to(call: Any, text: str, *, failed: bool = False) -> ToolMessage:
    """The message that answers one call."""
    return ToolMessage(
        text, tool_call_id=call["id"] or "", name=call["name"] or "", status="error" if failed else "success"
    )


def error_json(error: LtxError) -> dict[str, Any]:
    """Return an error as the state holds it; `by_model` marks a call that no tool takes."""
    told = {"message": printable(error.message), "hint": printable(error.hint), "exit_code": error.exit_code}
    return {**told, "by_model": True} if isinstance(error, WrongCall) else told


def call_fingerprint(call: Any, project: Project) -> str:
    """What an approval of a call is good for: this tool, these arguments, the config as it was seen."""
    return _digest(call["name"], call["args"], fingerprint_of("plan", project))


def checked_arguments(tool: Tool, arguments: Any, state: AgentState) -> BaseModel:
    """Return a model's arguments as the tool takes them, what the person fixed over them."""
    if not isinstance(arguments, dict):
        raise WrongArguments(tool, f"they are not a JSON object: {arguments!r:.200}")
    fixed = {name: value for name, value in state["fixed"].items() if name in tool.arguments.model_fields}
    try:
        return tool.arguments.model_validate({**arguments, **fixed})
    except ValidationError as error:
        raise WrongArguments(tool, _faults(error)) from error


def _permitted_arguments(tool: Tool, arguments: Any, state: AgentState, context: AgentContext) -> BaseModel:
    """The same, refused when they name files that are neither the project's nor in the person's words."""
    checked = checked_arguments(tool, arguments, state)
    said = [state["goal"], *words_of(state.get("earlier", []))]
    said += [message.text for message in state["messages"] if is_from_person(message)]
    refuse_foreign_paths(tool, checked, context.project, said)
    return checked


def _answer(
    stage: Stage,
    call: Any,
    key: str,
    working: AgentState,
    update: dict[str, Any],
    runtime: Runtime[AgentContext],
    context: AgentContext,
) -> tuple[str, bool]:
    """Run one call; return what it answers and whether it failed. Writes what it changed into `working`."""
    try:
        if update["error"] is not None:
            raise ConfigError("Not run: the call before it failed.", "Look at that error first.")
        if call["name"] == "go_to":
            working["stage"], working["finished"] = _wanted_stage(call["args"], working["until"]), None
            return f"The stage is now {working['stage']}.", False
        text, failed = _run_once(_known_tool(stage, call["name"] or "", context), call, key, working, runtime, context)
        if failed:
            error: dict[str, Any] = json.loads(text)
            update["error"] = error
            return _told(error), True
        if not json.loads(text).get("remaining"):
            working["finished"] = FINISHED_BY.get(call["name"], working["finished"])
        return text, False
    except LtxError as refusal:
        update["error"] = update["error"] or error_json(refusal)
        told = _told(error_json(refusal))
        return (f"{told}\nSchema: {refusal.schema}" if isinstance(refusal, WrongArguments) else told), True


def _run_once(
    tool: Tool, call: Any, key: str, working: AgentState, runtime: Runtime[AgentContext], context: AgentContext
) -> tuple[str, bool]:
    """Run a call, or give the answer it had before a crash; return its text (an error's JSON) and whether it failed.

    The ledger is written before and after the tool: a call that ended is never run again, one that was cut off is
    first looked for in what it left behind.
    """
    arguments = _permitted_arguments(tool, call["args"], working, context)
    name, project = context.conversation, context.project
    granted, fingerprint = dict(working.get("granted", {})), call_fingerprint(call, project)
    plan_stood = is_approved("plan", working, project)
    known = context.store.call(name, key) if context.store is not None else None
    if known is None and _needed_card(tool, arguments, call, working, context) is not None:
        needed = tool.needs_approval
        raise ApprovalNeeded(f"{tool.name} needs the approval `{needed}`.", "Ask the person for it.")
    if known is not None and known.answer is not None:
        text, failed = known.answer, known.status == "error"
    else:
        if context.store is not None and known is None:
            context.store.begin_call(name, key, tool.name, call["args"])
        text, failed = _run(tool, arguments, runtime, context, known.started_at if known else None)
        if context.store is not None:
            context.store.end_call(name, key, "error" if failed else "success", text)
    approval = granted.pop(fingerprint, None)  # an approval is good for one run of the call
    if approval == "change" and plan_stood and not failed:  # the person read the change of a plan they had approved
        working["approvals"] = {
            **working["approvals"],
            "plan": fingerprint_of("plan", project),
            "inputs": fingerprint_of("inputs", project),
        }
    if approval == "captions" and not failed and json.loads(text).get("needs_review") == 0:
        working["approvals"] = {**working["approvals"], "captions": fingerprint_of("captions", project)}
    working["granted"] = granted
    return text, failed


def _run(
    tool: Tool, arguments: BaseModel, runtime: Runtime[AgentContext], context: AgentContext, cut_off_at: float | None
) -> tuple[str, bool]:
    project = context.project

    last: tuple[str, int, int] | None = None

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        last = what, done, total
        if context.stop.is_set():
            raise Stopped
        runtime.stream_writer({"what": what, "done": done, "total": total})

    try:
        found = tool.recover(project, arguments, cut_off_at) if tool.recover and cut_off_at is not None else None
        return as_text(found if found is not None else tool.function(project, arguments, report)), False
    except LtxError as refusal:
        return json.dumps(error_json(refusal)), True
    except Stopped:
        return json.dumps(error_json(ConfigError(INTERRUPTED, _where_it_stopped(tool, last)))), True


def was_interrupted(event: Returned) -> bool:
    """Whether the person interrupted this call: its refusal says then how far it came."""
    return bool(event.refusal) and event.refusal.startswith(INTERRUPTED)


def _where_it_stopped(tool: Tool, last: tuple[str, int, int] | None) -> str:
    """How far the tool was by its own count, and how to go on."""
    at = f"{last[0]}: {last[1]} of {last[2]} done. " if last is not None else ""
    command = BY_NAME.get(FINISHED_BY.get(tool.name, ""))
    further = f"/{command.name} goes on from there" if command is not None else "ask for it again to go on"
    return f"{at}What is done is kept; {further}."


def _needed_card(
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


def _told(error: dict[str, Any]) -> str:
    return f"{error['message']} {error['hint']}".strip()


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


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}" for fault in error.errors())


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()
