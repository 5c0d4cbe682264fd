"""The state machine: one router, four stages, and the approvals; each of them comes back to the router.

`python -m agent.graph` prints its drawing; `langgraph.json` hands `build_graph` to LangGraph's own tools.
"""

from typing import Any, Literal, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.approvals.nodes import approve_call, approve_captions, approve_fallback, approve_inputs, approve_plan
from agent.approvals.reviews import missing_review
from agent.approvals.standing import asked_again
from agent.context import AgentContext, context_of
from agent.nodes.caption import caption
from agent.nodes.draft import draft
from agent.nodes.inspect import inspect
from agent.nodes.monitor import monitor
from agent.state import STAGES, AgentState, note_from_graph
from agent.turn.policies.active import state_schema

Graph = CompiledStateGraph[AgentState, AgentContext, AgentState, AgentState]
Node = Literal[
    "inspect",
    "caption",
    "draft",
    "monitor",
    "approve_captions",
    "approve_inputs",
    "approve_plan",
    "approve_call",
    "approve_fallback",
    "__end__",
]
_REVIEW_NODES: dict[str, Node] = {"captions": "approve_captions", "inputs": "approve_inputs", "plan": "approve_plan"}


def route(state: AgentState, runtime: Runtime[AgentContext]) -> Command[Node]:
    """Send the turn where a stage or an approval wants it; else to the stage it is in; else through the reviews on."""
    jump_to, context = state.get("jump_to"), context_of(state, runtime)
    again = asked_again(state, context) if jump_to == "__end__" and not context.stop.is_set() else None
    if again is not None:
        return again
    if jump_to is not None:
        return Command(goto=cast(Node, jump_to), update={"jump_to": None})
    finished, project = state["finished"], context.project
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
    schema: Any = state_schema()
    builder = StateGraph(schema, context_schema=AgentContext)
    builder.add_node("route", route)
    stages: dict[str, Any] = {"inspect": inspect(), "caption": caption(), "draft": draft(), "monitor": monitor()}
    approvals = (approve_captions, approve_inputs, approve_plan, approve_call, approve_fallback)
    for name, node in {**stages, **{approval.__name__: approval for approval in approvals}}.items():
        builder.add_node(name, node, input_schema=schema)  # with the policies' parts: a card that stands keeps them
        builder.add_edge(name, "route")
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
