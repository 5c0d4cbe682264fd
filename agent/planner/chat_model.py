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
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from agent.planner.intents import understand
from agent.planner.next_action import Call, after_tool, answer, begin_stage, goal_wish
from agent.state import DECLINED, GOAL, NONE_LEFT, is_from_person, told_by_rules, words_of
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
        move = next_move(messages, bound)
        if isinstance(move, str):
            reply = told_by_rules(move)
        else:
            name, arguments = move
            reply = AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call_{uuid4().hex[:12]}"}])
        return ChatResult(generations=[ChatGeneration(message=reply)])


def next_move(messages: Sequence[AnyMessage | BaseMessage], bound: Collection[str] = ()) -> str | Call:
    """Return the planner's move: words, or one tool call with its arguments. `bound` names the node's tools."""
    state = json.loads(unfence("state", str(messages[0].content)) or "{}")
    last = messages[-1]
    said = [*words_of(state.get("earlier", [])), *(str(m.content) for m in messages if is_from_person(m))]
    begun = max((index for index, m in enumerate(messages) if str(m.content).startswith(GOAL)), default=0)
    is_latest = not any(is_from_person(message) for message in messages[begun:])
    wishes = [goal_wish(state, is_latest=is_latest), *map(understand, said)]
    if isinstance(last, ToolMessage) and last.name != "go_to":
        return after_tool(last, wishes[-1] if said else wishes[0])
    assume = str(last.content).startswith(NONE_LEFT)
    if said and (isinstance(last, ToolMessage) or is_from_person(last) or assume):
        return answer(said[-1], wishes, state, bound, assume=assume)
    if str(last.content).startswith(DECLINED):
        return section("planner", "no_captions" if state["stage"] == "caption" else "no_plan")
    return begin_stage(state, wishes)
