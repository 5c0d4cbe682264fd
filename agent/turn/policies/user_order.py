"""UserOrder: a slash command that names a tool is called as it stands, without asking the model which tool to take."""

import dataclasses
from typing import Any, TypedDict
from uuid import uuid4

from langchain_core.messages import AIMessage

from agent.turn.turn import Turn, TurnPolicy


class OrderState(TypedDict, total=False):
    ordered: dict[str, Any] | None
    """The call that the user ordered, `name` and `args`, until it is made."""


class UserOrder(TurnPolicy[OrderState]):
    """Puts the ordered call in the place of the model's reply; what holds for a model's call holds for this one."""

    state_schema = OrderState
    each_turn = {"ordered": None}

    def before_model(self, turn: Turn) -> Turn:
        ordered = self.own(turn).get("ordered")
        if ordered is None:
            return turn
        call = {"name": ordered["name"], "args": ordered["args"], "id": f"call_{uuid4().hex[:12]}"}
        return dataclasses.replace(turn.set(ordered=None), reply=AIMessage("", tool_calls=[call]))
