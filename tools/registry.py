"""The tools of the four nodes, a plain list each. Importing this loads none of them."""

from typing import Literal

from tools.spec import Tool

NodeName = Literal["inspect", "caption", "draft", "monitor"]


def node_tools() -> dict[NodeName, list[Tool]]:
    """Return every tool by its node. Imports them, so it is called when a conversation begins."""
    from tools.caption.tool import CAPTION_TOOLS
    from tools.deliver.tool import DELIVER_TOOLS
    from tools.draft.tool import DRAFT_TOOLS
    from tools.facts.tool import FACTS_TOOL
    from tools.inspect.inputs.tool import INPUT_TOOLS
    from tools.inspect.remedies.tool import REMEDY_TOOLS
    from tools.inspect.tool import INSPECT_TOOL
    from tools.monitor.experiments import EXPERIMENTS_TOOL
    from tools.monitor.tool import MONITOR_TOOLS

    return {
        "inspect": [INSPECT_TOOL, *REMEDY_TOOLS, *INPUT_TOOLS, FACTS_TOOL],
        "caption": [*CAPTION_TOOLS, FACTS_TOOL],
        "draft": [*DRAFT_TOOLS, EXPERIMENTS_TOOL, FACTS_TOOL],
        "monitor": [*MONITOR_TOOLS, *DELIVER_TOOLS, FACTS_TOOL],
    }
