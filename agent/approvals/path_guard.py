"""Limits the files a chat model's call may name to the project, its clips and those the user spelled out.

The command line is the person's own and may name any file.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from tools.project import Project
from tools.spec import Tool
from trainer_core.config import is_tiny
from trainer_core.errors import ConfigError, LtxError

_WORD = re.compile(r'"([^"]+)"|`([^`]+)`|\'([^\']+)\'|(\S+)')
_ROUND_A_WORD = "()[]{}<>,;:!?\"'`"


def refuse_foreign_paths(tool: Tool, arguments: BaseModel, project: Project, said: Sequence[str]) -> None:
    """Raise ConfigError when `arguments` name a path outside the roots that no words of the person (`said`) hold."""
    roots = _roots(project) if tool.paths else []
    for paths in tool.paths.values():
        for named in paths(project, arguments):
            path = _resolved(named)
            inside = any(path == root or root in path.parents for root in roots)
            if not inside and not any(_spells(words, named, path) for words in said):
                raise ConfigError(
                    f"{named!r:.200} lies outside the project and its clips, and the person did not name it.",
                    "Use a path of the project, or ask the person which file they mean.",
                )


def _roots(project: Project) -> list[Path]:
    """The project, its clips, and the models that the person gave it."""
    try:
        facts = project.facts
    except (LtxError, ValueError):
        return [_resolved(str(project.path))]
    models = [name.partition("local:")[2] for name in (facts.captioner or "", facts.speech or "")]
    models += [] if is_tiny(facts.model) else [facts.model]
    return [_resolved(root) for root in (str(project.path), *facts.sources, *models) if root]


def _spells(words: str, named: str, path: Path) -> bool:
    """Whether `words` hold the path as a word, in quotes, or as it was named; never a bare `/` or `..`."""
    if path == path.parent or not any(character.isalnum() for character in named):
        return False
    found = (next(filter(None, match.groups())) for match in _WORD.finditer(words))
    if any(_resolved(word.strip(_ROUND_A_WORD).removesuffix(".")) == path for word in found):
        return True
    return re.search(rf"(?<![^\s{re.escape(_ROUND_A_WORD)}]){re.escape(named)}(?![\w/~-])", words) is not None


def _resolved(named: str) -> Path:
    try:
        return Path(named).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # no such home, a loop of links, a NUL: such a path is outside
        return Path(named)
