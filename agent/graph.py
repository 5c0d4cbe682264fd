"""The state machine: four tool-calling nodes around one router, with the approvals between them.

`python -m agent.graph` prints its drawing; `langgraph.json` hands `build_graph` to LangGraph's own tools.
"""

from typing import Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.approvals.nodes import approve_call, approve_captions, approve_fallback, approve_inputs, approve_plan
from agent.approvals.reviews import missing_review
from agent.context import AgentContext, context_of
from agent.nodes.caption import caption, caption_tools
from agent.nodes.draft import draft, draft_tools
from agent.nodes.inspect import inspect, inspect_tools
from agent.nodes.monitor import monitor, monitor_tools
from agent.state import STAGES, AgentState, note_from_graph

Graph = CompiledStateGraph[AgentState, AgentContext, AgentState, AgentState]
_REVIEW_NODES: dict[str, Literal["approve_captions", "approve_inputs", "approve_plan"]] = {
    "captions": "approve_captions",
    "inputs": "approve_inputs",
    "plan": "approve_plan",
}


def route(
    state: AgentState, runtime: Runtime[AgentContext]
) -> Command[
    Literal["inspect", "caption", "draft", "monitor", "approve_captions", "approve_inputs", "approve_plan", "__end__"]
]:
    """Send the turn to the stage it is in; once that stage is finished, through its reviews to the next one."""
    finished, project = state["finished"], context_of(state, runtime).project
    if finished is None:
        unseen = project.captions_path.exists() and missing_review("caption", state, project)
        if state["stage"] == "draft" and unseen:  # however the talk got here, captions come before the plan
            return Command(goto="approve_captions")
        return Command(goto=state["stage"])
    review = missing_review(finished, state, project)
    if review is not None:
        return Command(goto=_REVIEW_NODES[review])
    if finished == state["until"]:
        return Command(goto="__end__", update={"finished": None})
    following = STAGES[STAGES.index(finished) + 1]
    note = note_from_graph(f"Next stage: {following}.")
    return Command(goto=following, update={"stage": following, "finished": None, "messages": [note]})


def build_graph(checkpointer: BaseCheckpointSaver[str] | None = None) -> Graph:
    """Compile the graph. Interrupts need a checkpointer; the drawing doesn't."""
    builder = StateGraph(AgentState, context_schema=AgentContext)
    nodes = (inspect, inspect_tools, caption, caption_tools, draft, draft_tools, monitor, monitor_tools)
    approvals = (approve_captions, approve_inputs, approve_plan, approve_call, approve_fallback)
    for node in (route, *nodes, *approvals):
        builder.add_node(node.__name__, node)
    builder.add_edge(START, "route")
    return builder.compile(checkpointer=checkpointer)


def studio() -> Graph:
    """The graph as LangGraph's own tools open it: they bring their checkpointer, the state names the project."""
    return build_graph()


def drawing() -> str:
    """Return the graph as Mermaid text, as ARCHITECTURE.md shows it."""
    return str(build_graph().get_graph().draw_mermaid())


if __name__ == "__main__":
    print(drawing())
