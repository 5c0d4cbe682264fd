"""What the nodes work with and the state does not hold: the project, the chat model and each node's tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from langchain_core.language_models import BaseChatModel

from agent.state import Stage
from tools.project import Project
from tools.spec import Tool


def real_tools() -> dict[Stage, list[Tool]]:
    """Return the tools of the four nodes. Imports them, so it is called when a conversation begins."""
    from tools.caption.tool import CAPTION_TOOLS
    from tools.draft.tool import DRAFT_TOOLS
    from tools.inspect.tool import INSPECT_TOOLS
    from tools.monitor.tool import MONITOR_TOOLS

    return {"inspect": INSPECT_TOOLS, "caption": CAPTION_TOOLS, "draft": DRAFT_TOOLS, "monitor": MONITOR_TOOLS}


@dataclass(frozen=True)
class Desk:
    """The context of one conversation; LangGraph hands it to every node."""

    project: Project
    model: BaseChatModel
    tools: Mapping[Stage, list[Tool]] = field(default_factory=real_tools)
