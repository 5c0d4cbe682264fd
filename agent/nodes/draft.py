"""The draft stage: the training plan, each value with its reason."""

from typing import Any

from langchain_core.runnables import Runnable

from agent.turn.stage import stage_graph


def draft() -> Runnable[Any, Any]:
    """Return the stage with the tools of tools/draft/tool.py and the prompt of prompts/draft.md."""
    return stage_graph("draft")
