"""LangGraph's own tooling opens the graph: its command line reads langgraph.json, and the entry gives the graph."""

import importlib
import json
from pathlib import Path

from langgraph.checkpoint.memory import InMemorySaver
from langgraph_cli.config import validate_config_file

from agent.graph import build_graph
from tools.project import Project

ROOT = Path(__file__).parents[2]


def test_the_file_is_valid_for_the_command_line() -> None:
    config = validate_config_file(ROOT / "langgraph.json")
    assert set(config["graphs"]) == {"ltx_agent"}


def test_its_entry_makes_the_graph_that_runs_here() -> None:
    entry = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))["graphs"]["ltx_agent"]
    path, name = entry.split(":")
    module = importlib.import_module(path.removeprefix("./").removesuffix(".py").replace("/", "."))
    graph = getattr(module, name)()
    assert set(graph.nodes) == set(build_graph().nodes)


def test_a_tool_that_brings_no_context_finds_the_project_in_the_state(project: Project) -> None:
    graph = build_graph(InMemorySaver())
    start = {
        "messages": [("user", "what does rank mean?")],
        "project": str(project.path),
        "goal": "",
        "stage": "inspect",
        "until": "monitor",
        "finished": None,
        "approvals": {},
        "fixed": {},
        "artifacts": {},
        "error": None,
    }
    result = graph.invoke(start, {"configurable": {"thread_id": "studio"}})  # type: ignore[call-overload]
    assert "how much it can hold" in result["messages"][-1].content
