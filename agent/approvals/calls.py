"""The tool calls of a reply: what they may carry, what they are known by, what answers them."""

import hashlib
import json
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from pydantic import BaseModel, ValidationError

from agent.approvals.path_guard import refuse_foreign_paths
from agent.context import AgentContext
from agent.state import AgentState, earlier_of, is_from_person, words_of
from agent.turn.tool_output import printable
from tools.spec import Tool
from trainer_core.errors import ConfigError, LtxError


class WrongCall(ConfigError):
    """A call that no tool of the stage takes: the model's fault, not the person's and not the data's."""

    schema = ""


class WrongArguments(WrongCall):
    """A model's arguments don't fit the tool; the model is told the schema once."""

    def __init__(self, tool: Tool, fault: str) -> None:
        super().__init__(f"The arguments of {tool.name} are wrong: {fault}.", "Correct them.")
        self.schema = json.dumps(tool.schema()["function"]["parameters"])


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


def checked_arguments(tool: Tool, arguments: Any, state: AgentState) -> BaseModel:
    """Return a model's arguments as the tool takes them, what the person fixed over them."""
    if not isinstance(arguments, dict):
        raise WrongArguments(tool, f"they are not a JSON object: {arguments!r:.200}")
    fixed = {name: value for name, value in state["fixed"].items() if name in tool.arguments.model_fields}
    try:
        return tool.arguments.model_validate({**arguments, **fixed})
    except ValidationError as error:
        raise WrongArguments(tool, _faults(error)) from error


def permitted_arguments(tool: Tool, arguments: Any, state: AgentState, context: AgentContext) -> BaseModel:
    """The same, refused when they name files that are neither the project's nor in the person's words."""
    checked = checked_arguments(tool, arguments, state)
    said = [state["goal"], *words_of(earlier_of(state))]
    said += [message.text for message in state["messages"] if is_from_person(message)]
    refuse_foreign_paths(tool, checked, context.project, said)
    return checked


def digest_of(*parts: Any) -> str:
    """The hash that a call is known by; `parts` are its name, its arguments and what else it depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}" for fault in error.errors())
