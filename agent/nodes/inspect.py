"""The inspect node: what is in the clips, and what can be trained on them."""

from typing import Literal

from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.context import AgentContext
from agent.state import AgentState
from agent.turn.model_call import take_turn
from agent.turn.tool_calls import run_tools


def inspect(
    state: AgentState, runtime: Runtime[AgentContext]
) -> Command[Literal["inspect_tools", "approve_call", "approve_fallback", "route", "__end__"]]:
    """Ask the chat model, bound to this node's tools alone; a call that costs something waits for approval."""
    return take_turn("inspect", state, runtime)


def inspect_tools(state: AgentState, runtime: Runtime[AgentContext]) -> Command[Literal["inspect", "route", "__end__"]]:
    """Run the calls that the model made, and hand it the results."""
    return run_tools("inspect", state, runtime)
