"""The policies of every turn, in their order, and the state they and the graph share.

`before_model` and `after_tools` run from the first to the last, `after_model` from the last to the first, as LangChain
runs its middleware. To add one, write its file and name it here.
"""

from typing import Any, TypedDict, get_type_hints

from agent.state import AgentState
from agent.turn.policies.begin_with_tool import BeginWithTool
from agent.turn.policies.compaction import Compaction
from agent.turn.policies.fall_back_to_planner import FallBackToPlanner
from agent.turn.policies.question_limit import QuestionLimit
from agent.turn.policies.rehearse_before_start import RehearseBeforeStart
from agent.turn.policies.repeat_guard import RepeatGuard
from agent.turn.policies.spending_limit import SpendingLimit
from agent.turn.policies.stop_on_request import StopOnRequest
from agent.turn.policies.user_order import UserOrder
from agent.turn.turn import TurnPolicy

POLICIES: list[TurnPolicy[Any]] = [
    StopOnRequest(),
    UserOrder(),
    FallBackToPlanner(),
    QuestionLimit(),
    Compaction(),
    RehearseBeforeStart(),
    RepeatGuard(),
    BeginWithTool(),
    SpendingLimit(),
]


def state_schema() -> type[AgentState]:
    """Return the graph's state: what all of it shares, and each policy's own part."""
    parts = [AgentState, *(policy.state_schema for policy in POLICIES if policy.state_schema is not None)]
    fields = {name: kind for part in parts for name, kind in get_type_hints(part, include_extras=True).items()}
    return TypedDict("TurnState", fields, total=False)  # type: ignore[operator]


def at_each_turn() -> dict[str, Any]:
    """The policies' parts of the state as a turn of the conversation begins with them."""
    return {name: value for policy in POLICIES for name, value in policy.each_turn.items()}


def at_each_goal() -> dict[str, Any]:
    """The policies' parts of the state as work on a new goal begins with them."""
    return {name: value for policy in POLICIES for name, value in policy.each_goal.items()}
