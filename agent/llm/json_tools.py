"""Tool calls for models that know none: each reply is one JSON object, words or a call, and nothing else.

A call counts only when it is the whole reply: a model that quotes a caption or a log with a call in it calls nothing.
"""

import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from prompts.render import section

_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_WRAPPED = re.compile(r"^(?:```(?:json)?\s*|<tool_call>\s*)(.*?)(?:\s*```|\s*</tool_call>)$", re.DOTALL)


def response_schema(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema of one reply: `say` for words, `tool` and `arguments` for a call; what is unused is null."""
    names = [tool["function"]["name"] for tool in tools]
    return {
        "name": "reply",
        "schema": {
            "type": "object",
            "properties": {
                "say": {"type": ["string", "null"]},
                "tool": {"type": ["string", "null"], "enum": [*names, None]},
                "arguments": {"type": ["object", "null"]},
            },
            "required": ["say", "tool", "arguments"],
        },
    }


def as_plain_messages(messages: Sequence[AnyMessage], tools: Sequence[dict[str, Any]]) -> list[BaseMessage]:
    """Return the conversation in system, user and assistant messages alone, the tools explained in the first."""
    functions = [tool["function"] for tool in tools]
    listed = "\n".join(
        f"- {function['name']}: {' '.join(function['description'].split())} "
        f"Arguments: {json.dumps(function['parameters'])}"
        for function in functions
    )
    plain: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            plain.append(SystemMessage(f"{message.text}\n\n{section('json_tools', 'rules', tools=listed)}"))
        elif isinstance(message, ToolMessage):
            outcome = "failed" if message.status == "error" else "returned"
            plain.append(HumanMessage(f"{message.name} {outcome}:\n{message.text}"))
        elif isinstance(message, AIMessage) and message.tool_calls:
            call = message.tool_calls[0]
            plain.append(AIMessage(json.dumps({"say": None, "tool": call["name"], "arguments": call["args"]})))
        elif isinstance(message, AIMessage):
            plain.append(AIMessage(json.dumps({"say": message.text, "tool": None, "arguments": None})))
        else:
            plain.append(HumanMessage(message.text))
    return plain


def reply_of(answer: AIMessage, tools: Sequence[dict[str, Any]], *, words_are_fine: bool) -> AIMessage:
    """Return a text answer as the reply it stands for: a call of one of `tools`, or words.

    `words_are_fine`: the model was not asked for JSON, so only an object that names one of the tools is a call.
    """
    text = _THOUGHTS.sub("", answer.text).strip()
    wrapped = _WRAPPED.match(text)
    try:
        document = json.loads(wrapped[1] if wrapped else text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return _said(answer, text)
    name = document.get("tool") or document.get("name")
    arguments = document.get("arguments") or document.get("parameters") or {}
    names = [tool["function"]["name"] for tool in tools]
    if isinstance(name, str) and (name in names or not words_are_fine):
        call = {
            "name": name,
            "args": arguments if isinstance(arguments, dict) else {},
            "id": f"call_{uuid4().hex[:12]}",
        }
        return _said(answer, "", [call])
    say = document.get("say")
    return _said(answer, say if isinstance(say, str) else text)


def _said(answer: AIMessage, text: str, calls: list[Any] | None = None) -> AIMessage:
    return AIMessage(text, tool_calls=calls or [], usage_metadata=answer.usage_metadata, id=answer.id)
