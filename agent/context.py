"""The context of the graph's nodes beside the state: project, chat model, tools of each node, ledger."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.language_models import BaseChatModel
from langgraph.runtime import Runtime

from agent.llm.settings import Settings, load_settings
from agent.state import AgentState, Stage
from tools.project import Project
from tools.registry import node_tools
from tools.spec import Tool

if TYPE_CHECKING:
    from agent.session.store import Store

CONVERSATION = "conversation"
"""The name of a project's first conversation."""


@dataclass(frozen=True)
class AgentContext:
    """The context of one conversation; LangGraph hands it to every node. `store` is set by `open_session`."""

    project: Project
    model: BaseChatModel
    tools: Mapping[Stage, list[Tool]] = field(default_factory=node_tools)
    settings: Settings = field(default_factory=load_settings)
    store: "Store | None" = None
    conversation: str = CONVERSATION
    stop: threading.Event = field(default_factory=threading.Event)
    """Set while the current turn is to end: tools see it when they report progress, nodes before they begin."""

    def tool(self, name: str) -> Tool | None:
        """Return the tool of this name, whichever node has it."""
        return next((tool for tools in self.tools.values() for tool in tools if tool.name == name), None)


def open_context(project: Project, llm: str = "auto", conversation: str | None = None) -> AgentContext:
    """Return the context of a conversation, the one used last unless it is named, with the model it was set to talk to.

    `llm` other than "auto" wins over that. Raises ConfigError when the model or the settings won't do.
    """
    from agent.llm.choose import choose_model
    from agent.session.store import last_conversation, stored_settings

    name = conversation or last_conversation(project.session_path) or CONVERSATION
    settings = load_settings()
    kept = stored_settings(project.session_path, name).get("model")
    return AgentContext(
        project, choose_model(kept if kept and llm == "auto" else llm, settings), settings=settings, conversation=name
    )


def context_of(state: AgentState, runtime: Runtime[AgentContext]) -> AgentContext:
    """Return the conversation's context; for tools of LangGraph that know none, one for the project the state names."""
    if isinstance(runtime.context, AgentContext):
        return runtime.context
    from agent.llm.choose import choose_model
    from agent.session.projects import existing_project

    named = state.get("project")
    return AgentContext(existing_project(Path(named) if named else None), choose_model("auto"))
