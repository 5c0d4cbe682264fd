"""The verb for other agents: mcp."""

from pathlib import Path
from typing import Annotated

import typer

from agent.options import ProjectArgument


def mcp(
    project: ProjectArgument = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Approvals it may take without asking.")] = None,
) -> None:
    """Serve the project's tools to another agent: MCP over stdin and stdout, under the same approvals."""
    from agent.desk import Desk
    from agent.mcp_server import serve
    from agent.planner import Planner
    from agent.policy import load_policy
    from agent.projects import existing_project

    serve(Desk(existing_project(project), Planner()), load_policy(policy) if policy else None)
