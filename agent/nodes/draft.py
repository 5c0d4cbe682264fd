"""The draft node: the training plan, each value with its reason."""

from typing import Literal

from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.desk import Desk
from agent.state import AgentState
from agent.turn import run_tools, take_turn


def draft(state: AgentState, runtime: Runtime[Desk]) -> Command[Literal["draft_tools", "route", "__end__"]]:
    """Ask the chat model, bound to this node's tools alone."""
    return take_turn("draft", state, runtime.context)


def draft_tools(state: AgentState, runtime: Runtime[Desk]) -> Command[Literal["draft", "route", "__end__"]]:
    """Run the calls that the model made, and hand it the results."""
    return run_tools("draft", state, runtime)
