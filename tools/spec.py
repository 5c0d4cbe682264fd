"""A tool: one function with typed arguments and a typed result, three faces (Python, agent tool, CLI verb)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

CostKind = Literal["time", "memory", "disk", "money"]
CostBasis = Literal["measured", "estimated", "unknown"]


@dataclass(frozen=True)
class CostLine:
    """One cost of saying yes. `value` is in seconds, bytes or the currency of `text`; None when it isn't known."""

    kind: CostKind
    text: str
    value: float | None = None
    basis: CostBasis = "unknown"


def nothing(*kinds: CostKind) -> list[CostLine]:
    """The lines of what a yes costs nothing of."""
    return [CostLine(kind, "nothing", 0.0, "measured") for kind in kinds]


FREE = nothing("time", "memory", "disk", "money")


@dataclass(frozen=True)
class Preview:
    """A card the user judges before a tool runs: one question, lines to read (a diff, names), what it costs.

    `costs` name time, memory and disk; money too, unless it is the price of that time on the GPU.

    `approval` is another approval than the tool's own, such as overwrite instead of change.
    """

    question: str
    lines: list[str]
    costs: list[CostLine] = field(default_factory=list)
    approval: str | None = None


def as_given(name: str) -> Mapping[str, Callable[[Any, Any], list[str]]]:
    """`Tool.paths` of one argument that is a path, a list of paths or has paths as its keys."""

    def paths(_project: Any, arguments: Any) -> list[str]:
        value = getattr(arguments, name)
        return [value] if isinstance(value, str) else list(value or [])

    return {name: paths}


@dataclass(frozen=True)
class Tool:
    """A function `(project, arguments, progress) -> result`; its docstring is what the model reads.

    `needs_approval` names the approval a person (or --yes, or a policy) must give before it runs: start, change,
    overwrite, resume, push … `preview(project, arguments)` gives what that person reads; when it returns None, these
    arguments need no approval here. A call that a crash cut off is run again with the same arguments, unless
    `recover(project, arguments, started_at)` finds the result that the first attempt (Unix seconds) brought about.
    """

    name: str
    function: Callable[..., BaseModel]
    arguments: type[BaseModel]
    needs_approval: str | None = None
    preview: Callable[..., Preview | None] | None = None
    recover: Callable[..., BaseModel | None] | None = None
    paths: Mapping[str, Callable[[Any, Any], list[str]]] = field(default_factory=dict)
    """For every argument that can name files `(project, arguments) -> paths`: a chat model may name those of the
    project, its clips and the user's words, and no others."""

    @property
    def description(self) -> str:
        return (self.function.__doc__ or "").strip()

    def schema(self) -> dict[str, Any]:
        """The OpenAI-style function schema that a chat model binds."""
        parameters = self.arguments.model_json_schema()
        parameters.pop("title", None)
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }
