"""FallBackToPlanner: a language model that leads nowhere three times in a row may give way to rules.

Useless is a reply without a word, one whose calls no tool of the stage takes, and words where only a tool goes on: on
a stage's first move, or after an order of the user.
"""

from collections.abc import Sequence
from typing import TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from agent.approvals.calls import calls_of, error_json
from agent.llm.choose import is_endpoint, name_of
from agent.planner.intents import understand
from agent.state import is_from_person, note_from_graph
from agent.turn.policies.begin_with_tool import FIRST_TOOL, is_tool_due
from agent.turn.policies.question_limit import asks
from agent.turn.turn import Turn, TurnPolicy
from trainer_core.errors import ExternalError

MOST_USELESS = 3
_ORDERS = frozenset({"inspect", "rehearse", "fit", "start", "resume", "stop", "yes"})
"""What a person's words want done, values that they name aside; a model meets them with a call or with a question."""


class UselessState(TypedDict, total=False):
    useless: int
    """How many replies of the language model in a row led nowhere."""


class FallBackToPlanner(TurnPolicy[UselessState]):
    """Counts useless replies, asks if rules may take over, and forgets those replies when they do."""

    state_schema = UselessState

    def before_model(self, turn: Turn) -> Turn:
        count = self.own(turn).get("useless", 0)
        if turn.state.get("fallback") and count:
            return turn.forget(*useless_end(turn.messages)).set(useless=0)
        return _give_up(turn) if _is_counted(turn) and count >= MOST_USELESS else turn

    def after_model(self, turn: Turn) -> Turn:
        reply = turn.reply
        assert reply is not None
        if calls_of(reply):
            return turn  # what calls are good for shows when they run
        due = is_tool_due(turn.stage, turn.state)
        if not _is_counted(turn) or not _is_useless(reply, turn, tool_is_due=due):
            return turn.set(useless=0)
        count = self.own(turn).get("useless", 0) + 1
        if count >= MOST_USELESS:
            return _give_up(turn.replying(None))
        last = turn.messages[-1]
        if due and last.type == "human" and not is_from_person(last):
            order = note_from_graph(f"This stage begins with a call of {FIRST_TOOL[turn.stage]}.")
            return turn.to("route", order, useless=count)
        return turn.to("__end__", useless=count)

    def after_tools(self, turn: Turn) -> Turn:
        error = turn.state["error"]
        led_nowhere = error is not None and error.get("by_model") and all(ran.failed for ran in turn.ran)
        count = self.own(turn).get("useless", 0) + 1 if led_nowhere else 0
        turn = turn.set(useless=count)
        return turn.to("model") if count >= MOST_USELESS and turn.jump_to is None else turn


def _is_counted(turn: Turn) -> bool:
    return is_endpoint(turn.context.model) and not turn.state.get("fallback")


def _give_up(turn: Turn) -> Turn:
    return turn.to("approve_fallback", error=error_json(given_up(name_of(turn.context.model))))


def _is_useless(reply: AIMessage, turn: Turn, *, tool_is_due: bool) -> bool:
    """True if a reply without calls leads nowhere. `tool_is_due`: the stage's first work isn't done yet."""
    last = turn.messages[-1]
    if not reply.text.strip():
        return not turn.state["finished"]  # work that is done needs no word
    if asks(reply.text):
        return False
    if is_from_person(last):
        wish = understand(last.text)
        return not asks(last.text) and (wish.intent in _ORDERS or bool(wish.draft or wish.caption))
    return isinstance(last, HumanMessage) and tool_is_due


def given_up(model: str) -> ExternalError:
    """Return the error that tells the user of the last useless reply."""
    return ExternalError(
        f"The language model {model} led nowhere {MOST_USELESS} times in a row: no tool call that can run, no words "
        "that help.",
        "Larger models do better (/model), or go on with the built-in planner.",
    )


def useless_end(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The replies at the end that led nowhere, with what they were answered: rules go on from before them."""
    cut = at = len(messages)
    while at:
        last = messages[at - 1]
        if isinstance(last, HumanMessage) or (isinstance(last, ToolMessage) and last.status != "error"):
            break
        at -= 1
        if isinstance(last, AIMessage):
            cut = at
    return list(messages[cut:])
