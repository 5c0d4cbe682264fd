"""The monitor node: starting a run, saying how it goes, stopping it."""

from typing import Literal

from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.context import AgentContext
from agent.state import AgentState
from agent.turn.model_call import take_turn
from agent.turn.tool_calls import run_tools


def monitor(
    state: AgentState, runtime: Runtime[AgentContext]
) -> Command[Literal["monitor_tools", "approve_call", "approve_fallback", "route", "__end__"]]:
    """Ask the chat model, bound to this node's tools alone; a call that costs something waits for approval."""
    return take_turn("monitor", state, runtime)


def monitor_tools(state: AgentState, runtime: Runtime[AgentContext]) -> Command[Literal["monitor", "route", "__end__"]]:
    """Run the calls that the model made, and hand it the results."""
    return run_tools("monitor", state, runtime)
