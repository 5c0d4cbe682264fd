"""A language model that leads nowhere: replies are counted, and after three in a row rules may take over.

Useless is a reply without a word, one whose calls no tool of the stage takes, and words where only a tool goes on: on
a stage's first move, or after an order of the person.
"""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from agent.planner.intents import understand
from agent.state import AgentState, is_from_person
from agent.turn.policies.question_limit import asks
from trainer_core.errors import ExternalError

MOST_USELESS = 3
_ORDERS = frozenset({"inspect", "rehearse", "fit", "start", "resume", "stop", "yes"})
"""What a person's words want done, values that they name aside; a model meets them with a call or with a question."""


def is_useless(reply: AIMessage, state: AgentState, *, tool_is_due: bool) -> bool:
    """Whether a reply without calls leads nowhere. `tool_is_due`: the stage's first work isn't done yet."""
    last = state["messages"][-1]
    if not reply.text.strip():
        return not state["finished"]  # work that is done needs no word
    if asks(reply.text):
        return False
    if is_from_person(last):
        wish = understand(last.text)
        return not asks(last.text) and (wish.intent in _ORDERS or bool(wish.draft or wish.caption))
    return isinstance(last, HumanMessage) and tool_is_due


def given_up(model: str) -> ExternalError:
    """What a person is told when the last useless reply came."""
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
