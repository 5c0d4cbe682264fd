"""The built-in planner: a chat model made of rules, for machines without a language model.

It reads what any chat model reads (the system prompt with its state block, and the messages) and answers with the
same tool calls through the same graph. It never pretends to understand what it doesn't.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from agent.approve import DECLINED
from agent.state import STAGES, Stage, is_from_person
from agent.summaries import SUMMARIES
from agent.words import Wish, read_goal, understand
from prompts.fence import unfence
from prompts.render import section, sections

Call = tuple[str, dict[str, Any]]
_CAPTIONING = ("caption_clips", "caption_rest", "retune_captions")
_STAGE_OF: dict[str, Stage] = {"inspect": "inspect", "caption": "caption", "draft": "draft", "start": "monitor"}


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
        **kwargs: Any,  # noqa: ARG002 (as above)
    ) -> ChatResult:
        move = next_move(messages)
        if isinstance(move, str):
            reply = AIMessage(move)
        else:
            name, arguments = move
            reply = AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call_{uuid4().hex[:12]}"}])
        return ChatResult(generations=[ChatGeneration(message=reply)])


def next_move(messages: Sequence[AnyMessage | BaseMessage]) -> str | Call:
    """Return the planner's move: words, or one tool call with its arguments."""
    state = json.loads(unfence("state", str(messages[0].content)) or "{}")
    last = messages[-1]
    said = [str(message.content) for message in messages if is_from_person(message)]
    wishes = [_goal_wish(state), *map(understand, said)]
    if isinstance(last, ToolMessage) and last.name != "go_to":
        return _after_tool(last, wishes)
    if said and is_from_person(last) and state["stage"] == "caption" and _wants_other_captions(messages, wishes[-1]):
        return "retune_captions", {"note": said[-1]}
    if said and (isinstance(last, ToolMessage) or is_from_person(last)):
        return _answer(said[-1], wishes, state)
    if str(last.content).startswith(DECLINED):
        return section("planner", "no_captions" if state["stage"] == "caption" else "no_plan")
    return _work_of_stage(state["stage"], wishes)


def _answer(words: str, wishes: list[Wish], state: dict[str, Any]) -> str | Call:
    """Answer what the person said last: with words, with a tool of this stage, or by going to the stage that has it.

    Training needs a plan, a plan captions, captions the report: what is missing is made first, in this order.
    """
    wish = wishes[-1]
    stage: Stage = state["stage"]
    missing = _first_missing(state)
    if wish.intent == "help":
        return section("planner", "help", terms=", ".join(sections("glossary")))
    if wish.intent == "term":
        return _explain(wish.term)
    if wish.intent == "status":
        return _in_stage("monitor", ("run_status", {}), state)
    if wish.intent == "stop":
        return _in_stage("monitor", ("stop_training", {}), state)
    if wish.intent in _STAGE_OF:
        wanted = min(_STAGE_OF[wish.intent], missing, key=STAGES.index)
        return _in_stage(wanted, _work_of_stage(wanted, wishes), state)
    if wish.intent in ("yes", "empty"):
        wanted = _following(stage, missing)
        return _in_stage(wanted, _work_of_stage(wanted, wishes), state)
    if wish.intent == "video_only":
        return section("planner", "video_only")
    if (
        stage == missing != "monitor" and wish.intent == "other"
    ):  # the person says what it is all about before anything was made
        return _work_of_stage(stage, wishes)
    if stage == "caption":
        return section("planner", "no_captions")
    if wish.intent == "no":
        return section("planner", "no")
    return section("planner", "not_understood", words=words)


def _goal_wish(state: dict[str, Any]) -> Wish:
    """What the goal names, less what project.json settles already."""
    wish, facts = read_goal(state["goal"]), state["facts"]
    return replace(
        wish,
        draft={name: value for name, value in wish.draft.items() if facts.get(name) is None},
        caption={name: value for name, value in wish.caption.items() if facts.get(name) is None},
    )


def _following(stage: Stage, missing: Stage) -> Stage:
    """Where "go on" leads: captions are looked at again for what the person corrected, else to what is missing."""
    return "caption" if stage == "caption" and missing != "inspect" else missing


def _first_missing(state: dict[str, Any]) -> Stage:
    """The first stage whose file is not there yet; monitoring when all are."""
    made: dict[str, Stage] = {"report": "inspect", "captions": "caption", "config": "draft"}
    return next((stage for name, stage in made.items() if name not in state["artifacts"]), "monitor")


def _in_stage(stage: Stage, call: Call, state: dict[str, Any]) -> Call:
    return call if state["stage"] == stage else ("go_to", {"stage": stage})


def _work_of_stage(stage: Stage, wishes: list[Wish]) -> Call:
    """The stage's own tool, with every value the person named so far; the latest word on each counts."""
    if stage == "inspect":
        return "inspect_clips", {}
    if stage == "caption":
        return "caption_clips", _folded([wish.caption for wish in wishes])
    if stage == "draft":
        return "draft_config", _folded([wish.draft for wish in wishes])
    return "start_training", {}


def _folded(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for each in values for name, value in each.items()}


def _explain(term: str) -> str:
    glossary = sections("glossary")
    for name in (term, term.removesuffix("s"), term.replace("-", " ")):
        if name in glossary:
            return f"{name.capitalize()}: {glossary[name]}"
    return section("planner", "unknown_term", term=term, terms=", ".join(glossary))


def _wants_other_captions(messages: Sequence[AnyMessage | BaseMessage], wish: Wish) -> bool:
    """Whether words about captions that a model writes are to change how it writes them."""
    results = [message for message in messages if isinstance(message, ToolMessage) and message.name in _CAPTIONING]
    last = next(
        (unfence("data", str(result.content)) for result in reversed(results) if result.status != "error"), None
    )
    writes = json.loads(last or "{}").get("captioner", "").startswith(("endpoint", "local"))
    return writes and wish.intent == "other"


def _after_tool(message: ToolMessage, wishes: list[Wish]) -> str | Call:
    content = str(message.content)
    if message.status == "error":
        if content == DECLINED:
            return section("planner", "declined")
        return section("planner", "failed", message=unfence("data", content) or content)
    result = json.loads(unfence("data", content) or "{}")
    if message.name in _CAPTIONING and result.get("remaining"):
        return "caption_rest", {}
    lines = SUMMARIES[message.name or ""](result)
    if message.name == "draft_config" and not result["video_only"] and wishes[0].intent == "video_only":
        lines.append(section("planner", "video_only"))
    return "\n".join(lines)
