"""RepeatGuard: a model that goes round in circles is told so at first, and then the turn ends."""

import dataclasses
from typing import TypedDict

from langchain_core.messages import AIMessage

from agent.approvals.calls import digest_of
from agent.state import told_by_rules
from agent.turn.tool_output import told
from agent.turn.turn import Ran, Turn, TurnPolicy

SAME_RESULT_AGAIN = "This is the same call with the same result as before: don't repeat it, answer with words."
MOST_REPEATS = 3
"""The same call with the same result this often in one turn ends the turn."""
ROUND_IN_CIRCLES = "I asked for the same thing again and again, so I stop here. Say what you want next."


class RepeatState(TypedDict, total=False):
    repeats: dict[str, int]
    """How often this turn's calls were made with the same arguments and the same result, by their hash."""


class RepeatGuard(TurnPolicy[RepeatState]):
    """Counts calls that were made before with the same result, and notes an error that comes twice in a row."""

    state_schema = RepeatState
    each_turn = {"repeats": {}}

    def after_tools(self, turn: Turn) -> Turn:
        repeats = dict(self.own(turn).get("repeats", {}))
        ran: list[Ran] = []
        for each in turn.ran:
            mark = digest_of(each.call["name"], each.call["args"], each.text)
            repeats[mark] = repeats.get(mark, 0) + 1
            ran.append(dataclasses.replace(each, note=SAME_RESULT_AGAIN) if repeats[mark] > 1 else each)
        turn = dataclasses.replace(turn, ran=tuple(ran)).set(repeats=repeats)
        error = turn.state["error"]
        if turn.jump_to is not None:
            return turn
        if error is not None and error == turn.before["error"]:
            return turn.to("__end__", told_by_rules(told(error)))
        if max(repeats.values(), default=0) >= MOST_REPEATS:
            return turn.to("__end__", AIMessage(ROUND_IN_CIRCLES))
        return turn
