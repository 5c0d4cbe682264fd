"""The monitor stage: starting a run, saying how it goes, stopping it."""

from typing import Any

from langchain_core.runnables import Runnable

from agent.turn.stage import stage_graph


def monitor() -> Runnable[Any, Any]:
    """Return the stage with the tools of tools/{monitor,deliver}/tool.py and the prompt of prompts/monitor.md."""
    return stage_graph("monitor")
