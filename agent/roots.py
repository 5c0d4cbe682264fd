"""Which files a chat model's call may name: those of the project and its clips, and those the person spelled out.

The command line is the person's own and may name any file.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from tools.project import Project
from tools.spec import Tool
from trainer_core.errors import ConfigError, LtxError


def refuse_foreign_paths(tool: Tool, arguments: BaseModel, project: Project, said: Sequence[str]) -> None:
    """Raise ConfigError when `arguments` name a path outside the roots that no words of the person (`said`) hold."""
    if tool.paths is None:
        return
    roots = _roots(project)
    for named in tool.paths(arguments):
        path = Path(named).expanduser().resolve()
        inside = any(path == root or root in path.parents for root in roots)
        if not inside and not any(named in words for words in said):
            raise ConfigError(
                f"{named!r:.200} lies outside the project and its clips, and the person did not name it.",
                "Use a path of the project, or ask the person which file they mean.",
            )


def _roots(project: Project) -> list[Path]:
    try:
        sources = project.facts.sources
    except (LtxError, ValueError):
        sources = []
    return [Path(root).expanduser().resolve() for root in [str(project.path), *sources]]
