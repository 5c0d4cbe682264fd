"""The caption stage: words for every clip."""

from typing import Any

from langchain_core.runnables import Runnable

from agent.turn.stage import stage_graph


def caption() -> Runnable[Any, Any]:
    """Return the stage with the tools of tools/caption/tool.py and the prompt of prompts/caption.md."""
    return stage_graph("caption")
