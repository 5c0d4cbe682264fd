"""The built-in planner: a chat model made of rules, for machines without a language model.

It reads what any chat model reads (the system prompt with its state block, and the messages) and answers with the
same tool calls through the same graph. It never pretends to understand what it doesn't.
"""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from agent.planner.after_tool import after_tool
from agent.planner.calls import Call, Move, Spoken
from agent.planner.clauses import Reading, read
from agent.planner.intents import understand
from agent.planner.languages import language_of
from agent.planner.next_action import answer_all, begin_stage, caption_corrected, goal_wish
from agent.planner.objective_talk import steered
from agent.planner.offers import chosen
from agent.state import DECLINED, FINISHED_BY, GOAL, NONE_LEFT, is_from_person, told_by_rules, words_of
from prompts.fence import unfence
from prompts.render import section


class Planner(BaseChatModel):
    """A LangChain chat model whose answers are rules."""

    @property
    def _llm_type(self) -> str:
        return "ltx-agent-planner"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind the tools' schemas; the planner calls only what is bound."""
        return self.bind(tools=tools, tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 (the base class names the arguments)
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 (as above)
        **kwargs: Any,
    ) -> ChatResult:
        bound = {tool["function"]["name"] for tool in kwargs.get("tools", [])}
        move = steered(messages, bound, next_move)
        if isinstance(move, str):
            return ChatResult(generations=[ChatGeneration(message=told_by_rules(move))])
        words, (name, arguments) = move if isinstance(move, Spoken) else ("", move)
        reply = told_by_rules(words)
        reply.tool_calls = [ToolCall(name=name, args=arguments, id=f"call_{uuid4().hex[:12]}")]
        return ChatResult(generations=[ChatGeneration(message=reply)])


_ENDS_A_TURN = frozenset({*FINISHED_BY, "rehearse_training"})
"""Tools after which the stages of the work go on, or the user decides what follows."""


def next_move(messages: Sequence[AnyMessage | BaseMessage], bound: Collection[str] = ()) -> Move:
    """Return the planner's move: words, a tool call with its arguments, or both. `bound` names the node's tools."""
    state = json.loads(unfence("state", str(messages[0].content)) or "{}")
    last = messages[-1]
    said = [*words_of(state.get("earlier", [])), *(str(m.content) for m in messages if is_from_person(m))]
    goals = [index for index, m in enumerate(messages) if str(m.content).startswith(GOAL)]
    is_latest = not any(is_from_person(message) for message in messages[max(goals, default=0) :])
    replaced = _goal_of(str(messages[goals[-2]].content)) if len(goals) > 1 else ""
    goal = goal_wish(state, replaced, is_latest=is_latest)
    spoke = max((index for index, message in enumerate(messages) if is_from_person(message)), default=0)
    heard = [str(message.text) for message in messages[:spoke] if isinstance(message, AIMessage) and message.text]
    state["last_said"] = heard[-1] if heard else ""
    words = (chosen(said[-1], state["last_said"]) or said[-1]) if said else ""
    before = [goal, *map(understand, said[:-1])]
    reading = read(words) if said else Reading((goal,))
    called = _answered_calls(messages[spoke:])
    if isinstance(last, ToolMessage) and last.name != "go_to":
        told = after_tool(last, reading.wishes)
        if not isinstance(told, str) or not said or last.status == "error" or last.name in _ENDS_A_TURN:
            return told
        if last.name == "write_caption" and not any(wish.draft or wish.caption for wish in reading.wishes):
            return told
        return answer_all(reading.wishes, before, state, bound, called, told=told)
    assume = str(last.content).startswith(NONE_LEFT)
    if said and (isinstance(last, ToolMessage) or is_from_person(last) or assume):
        corrected = caption_corrected(words, understand(words), state, bound)  # as a whole, before it is cut in parts
        if corrected is not None and not assume:
            return corrected
        told = _beforehand(words, reading, heard, state) if is_from_person(last) else ""
        return answer_all(reading.wishes, before, state, bound, called, assume=assume, told=told)
    if str(last.content).startswith(DECLINED):
        return section("planner", "no_captions" if state["stage"] == "caption" else "no_plan")
    return begin_stage(state, [goal, *map(understand, said)])


def _beforehand(words: str, reading: Reading, heard: list[str], state: dict[str, Any]) -> str:
    """What is said before the answer: once that answers are English, and which parts weren't followed."""
    lines = []
    language = language_of(words)
    note = section("planner", "in_english", language=language) if language else ""
    if note and not any(note in text for text in heard):
        lines.append(note)
    left = [part for part in reading.left if "config" in state["artifacts"] or any(sign.isdigit() for sign in part)]
    if left:
        lines.append(section("planner", "left", parts=" · ".join(f'"{part}"' for part in left)))
    return "\n".join(lines)


def _answered_calls(messages: Sequence[AnyMessage | BaseMessage]) -> list[Call]:
    """The calls that were answered in this turn, changes of the stage aside."""
    arguments = {
        call["id"]: call["args"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    answers = [message for message in messages if isinstance(message, ToolMessage) and message.name != "go_to"]
    return [(answer.name or "", arguments.get(answer.tool_call_id, {})) for answer in answers]


def _goal_of(note: str) -> str:
    """The goal that a note of the graph begins the work with; empty where none was named."""
    head = f"{GOAL}'s goal: "
    return note.removeprefix(head).rpartition("\n")[0] if note.startswith(head) else ""
