"""Compaction: a long conversation is kept within the model's context.

An old message becomes a line, a person's words stay words. No model writes the lines, so nothing in them is invented.
"""

import json
from collections.abc import Sequence
from typing import TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from agent.state import PERSON, is_from_person
from agent.text.results import SUMMARIES
from agent.turn.turn import Turn, TurnPolicy
from prompts.fence import unfence

CHARACTERS_A_TOKEN = 4
"""A rule of thumb for English; the margin below takes up what it misses."""
FULL = 0.6
"""The share of the context that messages may fill: the rest is for the rules, the tools and the reply."""
KEPT = 0.3
"""The share that stays when the rest is forgotten, so that forgetting is rare."""
LINE = 300
MOST_LINES = 200


class CompactionState(TypedDict, total=False):
    earlier: list[str]
    """What older messages came to, a line each: the user's words, decisions and results, when they are forgotten."""


class Compaction(TurnPolicy[CompactionState]):
    """Forgets the older messages when they fill the context, and keeps a line of each that matters."""

    state_schema = CompactionState

    def before_model(self, turn: Turn) -> Turn:
        forgotten = surplus(turn.messages, turn.context.settings.llm.context_tokens)
        if not forgotten:
            return turn
        lines = [line for message in forgotten for line in _lines(message)]
        return turn.forget(*forgotten).set(earlier=_bounded([*self.own(turn).get("earlier", []), *lines]))


def surplus(messages: Sequence[AnyMessage], context_tokens: int) -> list[AnyMessage]:
    """Return the messages to forget now, oldest first; none while they fit."""
    if _tokens(messages) <= context_tokens * FULL:
        return []
    cut = len(messages) - 1
    while cut > 0 and _tokens(messages[cut - 1 :]) <= context_tokens * KEPT:
        cut -= 1
    while cut < len(messages) - 1 and isinstance(messages[cut], ToolMessage):
        cut += 1  # an answer never stands without its call
    if isinstance(messages[cut], ToolMessage):
        cut = _call_of(messages, cut)
    return list(messages[:cut])


def _call_of(messages: Sequence[AnyMessage], answer: int) -> int:
    """The index of the reply whose calls the answers up to `answer` belong to."""
    while answer > 0 and isinstance(messages[answer], ToolMessage):
        answer -= 1
    return answer


def _lines(message: AnyMessage) -> list[str]:
    if is_from_person(message):
        return [f"{PERSON}{_short(message.text)}"]
    if isinstance(message, ToolMessage) and message.name in SUMMARIES:
        if message.status == "error":
            return [f"{message.name} failed: {_short(unfence('data', message.text) or message.text)}"]
        try:
            summary = SUMMARIES[message.name](json.loads(unfence("data", message.text) or "{}"))
        except (ValueError, KeyError):
            return [f"{message.name}: done"]
        return [f"{message.name}: {_short(' '.join(summary))}"]
    if isinstance(message, AIMessage):
        return [f"called {call['name']} {_short(json.dumps(call['args']))}" for call in message.tool_calls]
    return []


def _bounded(lines: list[str]) -> list[str]:
    """The last MOST_LINES lines; the user's words go last of all."""
    surplus = len(lines) - MOST_LINES
    kept = []
    for line in lines:
        if surplus > 0 and not line.startswith(PERSON):
            surplus -= 1
            continue
        kept.append(line)
    return kept[-MOST_LINES:]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LINE else f"{line[:LINE]}…"


def _tokens(messages: Sequence[AnyMessage]) -> float:
    characters = sum(
        len(message.text) + (len(json.dumps(message.tool_calls)) if isinstance(message, AIMessage) else 0)
        for message in messages
    )
    return characters / CHARACTERS_A_TOKEN
