"""One turn of a node: ask the chat model with this node's tools, then run the calls it made. Shared by the nodes."""

import json
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, ToolMessage
from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import BaseModel, ValidationError

from agent.desk import Desk
from agent.llm import ask
from agent.state import FINISHED_BY, STAGES, AgentState, Stage, artifacts_of
from prompts.fence import fence
from prompts.render import render
from tools.spec import Tool
from trainer_core.errors import ApprovalNeeded, ConfigError, LtxError

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
LONGEST_LIST = 20
LONGEST_TEXT = 1500


def take_turn(stage: Stage, state: AgentState, desk: Desk) -> Command[Any]:
    """Ask the chat model for its next move: calls go to the stage's tools (or to the approval one needs), words end."""
    tools = desk.tools[stage]
    reply = ask(desk.model, [tool.schema() for tool in tools] + [GO_TO], _messages(stage, state, desk))
    calls = calls_of(reply)
    approval = _missing_approval(calls, tools, state)
    if approval is not None:
        goto = f"approve_{approval}"
    elif calls:
        goto = f"{stage}_tools"
    else:
        goto = "route" if state["finished"] else END
    return Command(goto=goto, update={"messages": [reply]})


def run_tools(stage: Stage, state: AgentState, runtime: Runtime[Desk]) -> Command[Any]:
    """Run every call of the last reply, in order; a call that fails answers with its error and ends the list.

    Back to the stage's node; to the router when the model asked for another stage; to the end of the turn when the
    same error came twice in a row.
    """
    desk = runtime.context
    reply = state["messages"][-1]
    assert isinstance(reply, AIMessage)
    tools = {tool.name: tool for tool in desk.tools[stage]}
    answers: list[AnyMessage] = []
    error: dict[str, Any] | None = None
    finished, approvals, wanted = state["finished"], dict(state["approvals"]), stage
    for call in calls_of(reply):
        name = call["name"] or ""
        try:
            if error is not None:
                raise ConfigError("Not run: the call before it failed.", "Look at that error first.")
            if name == "go_to":
                wanted, finished = _wanted_stage(call["args"], state["until"]), None
                text = f"The stage is now {wanted}."
            else:
                tool = _known_tool(tools, name)
                text = fenced(_as_text(_run(tool, call["args"], state, runtime)))
                finished = FINISHED_BY.get(name, finished)
                approvals.pop(tool.needs_approval or "", None)  # an approval is good for one run of the tool
        except LtxError as refusal:
            error = error or as_json(refusal)
            answers.append(answer_to(call, fenced(printable(str(refusal))), failed=True))
        else:
            answers.append(answer_to(call, text))
    twice = error is not None and error == state["error"]
    if error is not None and twice:
        answers.append(AIMessage(f"{error['message']} {error['hint']}".strip()))
    update = {
        "messages": answers,
        "stage": wanted,
        "finished": finished,
        "approvals": approvals,
        "error": error,
        "artifacts": artifacts_of(desk.project),
    }
    return Command(goto=END if twice else stage if wanted == stage else "route", update=update)


def calls_of(reply: AIMessage) -> list[Any]:
    """Every call of a reply; one whose arguments are no JSON has them as text and fails validation with that."""
    return [*reply.tool_calls, *reply.invalid_tool_calls]


def answer_to(call: Any, text: str, *, failed: bool = False) -> ToolMessage:
    """The message that answers one call."""
    return ToolMessage(
        text, tool_call_id=call["id"] or "", name=call["name"] or "", status="error" if failed else "success"
    )


def as_json(error: LtxError) -> dict[str, Any]:
    """Return an error as the state and --json hold it."""
    return {
        "message": printable(error.message),
        "hint": printable(error.hint),
        "exit_code": error.exit_code,
    }


def fenced(text: str) -> str:
    """Return text that tools made from files, as the model may read it."""
    return fence("data", text)


def printable(text: str) -> str:
    """Return `text` with undecodable bytes of file names as escapes: the session file holds UTF-8 alone."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def _messages(stage: Stage, state: AgentState, desk: Desk) -> list[AnyMessage]:
    seen = {
        "stage": stage,
        "finished": state["finished"],
        "until": state["until"],
        "goal": state["goal"],
        "project": state["project"],
        "artifacts": state["artifacts"],
        "approvals": sorted(state["approvals"]),
        "facts": {**desk.project.facts.model_dump(exclude={"sources"}), "goal": state["goal"]},
    }
    return [SystemMessage(render(stage, state=fence("state", json.dumps(seen)))), *state["messages"]]


def _missing_approval(calls: list[Any], tools: list[Tool], state: AgentState) -> str | None:
    guarded = {tool.name: tool.needs_approval for tool in tools if tool.needs_approval}
    needed = (guarded[call["name"]] for call in calls if call["name"] in guarded)
    return next((approval for approval in needed if approval not in state["approvals"]), None)


def _wanted_stage(arguments: Any, until: Stage) -> Stage:
    wanted = arguments.get("stage") if isinstance(arguments, dict) else None
    for stage in STAGES[: STAGES.index(until) + 1]:
        if stage == wanted:
            return stage
    if wanted in STAGES:
        raise ConfigError(f"This command ends with the stage {until}.", "Say what came out and end here.")
    raise ConfigError(f"There is no stage {wanted!r:.100}.", f"Stages: {', '.join(STAGES)}.")


def _known_tool(tools: dict[str, Tool], name: str) -> Tool:
    if name not in tools:
        raise ConfigError(f"This stage has no tool {name!r}.", f"It has: {', '.join(sorted(tools))}, go_to.")
    return tools[name]


def _run(tool: Tool, arguments: Any, state: AgentState, runtime: Runtime[Desk]) -> BaseModel:
    if tool.needs_approval and tool.needs_approval not in state["approvals"]:
        raise ApprovalNeeded(f"{tool.name} needs the approval `{tool.needs_approval}`.", "Ask the person for it.")
    if not isinstance(arguments, dict):
        raise ConfigError(f"The arguments of {tool.name} are not a JSON object: {arguments!r:.200}.", "Call it again.")
    fixed = {name: value for name, value in state["fixed"].items() if name in tool.arguments.model_fields}
    try:
        checked = tool.arguments.model_validate({**arguments, **fixed})
    except ValidationError as error:
        raise ConfigError(f"The arguments of {tool.name} are wrong: {_faults(error)}.", "Correct them.") from error

    def report(what: str, done: int, total: int) -> None:
        runtime.stream_writer({"what": what, "done": done, "total": total})

    return tool.function(runtime.context.project, checked, report)


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}" for fault in error.errors())


def _as_text(result: BaseModel) -> str:
    return json.dumps(_digest(result.model_dump(mode="python")), default=str)


def _digest(value: Any) -> Any:
    """Shorten long lists and texts, so that a thousand clips fill neither the model's context nor the session file.

    Beside a shortened list stands how many of its items are not shown.
    """
    if isinstance(value, dict):
        shown = {key: _digest(item) for key, item in value.items()}
        cut = {key: len(item) - LONGEST_LIST for key, item in value.items() if isinstance(item, list)}
        return shown | {f"{key}_not_shown": count for key, count in cut.items() if count > 0}
    if isinstance(value, list | tuple):
        return [_digest(item) for item in value[:LONGEST_LIST]]
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{value[:LONGEST_TEXT]}… ({len(value) - LONGEST_TEXT} characters more)"
    return value
