"""The inspect stage: what is in the clips, and what can be trained on them."""

from typing import Any

from langchain_core.runnables import Runnable

from agent.turn.stage import stage_graph


def inspect() -> Runnable[Any, Any]:
    """Return the stage with the tools of tools/inspect/tool.py and the prompt of prompts/inspect.md."""
    return stage_graph("inspect")
