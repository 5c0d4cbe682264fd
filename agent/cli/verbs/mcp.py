"""The verb for other agents: mcp."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import ProjectArgument


def mcp(
    project: ProjectArgument = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Approvals it may take without asking.")] = None,
) -> None:
    """Serve the project's tools to another agent: MCP over stdin and stdout, under the same approvals."""
    from agent.context import AgentContext
    from agent.headless.mcp_server import serve
    from agent.headless.policy import load_policy
    from agent.planner.chat_model import Planner
    from agent.session.projects import existing_project

    serve(AgentContext(existing_project(project), Planner()), load_policy(policy) if policy else None)
