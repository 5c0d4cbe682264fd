"""A stage as a compiled graph of its own: the chat model with the stage's prompt and tools, and the tools being run.

    model ⇄ tools

Nothing in it waits for a person. A call that needs an approval leaves the stage, the router leads to the approval, and
the stage goes on with that very call. So whatever waits is in the state of the whole graph, and the checkpoints within
a stage are needed only to take it up again after a kill.
"""

from functools import partial
from typing import Any, Literal

from langchain_core.messages import AIMessage, RemoveMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from agent.approvals.calls import calls_of
from agent.context import AgentContext
from agent.state import AgentState, Stage
from agent.turn.model_call import call_model
from agent.turn.policies.active import state_schema
from agent.turn.tool_calls import run_tools


def stage_graph(stage: Stage) -> Runnable[Any, Any]:
    """Return the stage as a node of the whole graph.

    Its prompt is `prompts/<stage>.md`; its tools are those that the conversation's context has for it.
    """
    builder = StateGraph(state_schema(), context_schema=AgentContext)
    builder.add_node("model", partial(call_model, stage), destinations=("model", "tools", END))
    builder.add_node("tools", partial(run_tools, stage), destinations=("model", END))
    builder.add_conditional_edges(START, _first)
    return builder.compile() | RunnableLambda(_handed_back)


def _first(state: AgentState) -> Literal["model", "tools"]:
    """The tools when the last message calls some: an approval was just given for them."""
    last = state["messages"][-1]
    return "tools" if isinstance(last, AIMessage) and calls_of(last) else "model"


def _handed_back(state: AgentState) -> dict[str, Any]:
    """The stage's state for the whole graph: its messages in the place of those before, forgotten ones included."""
    return {**state, "messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *state["messages"]]}
