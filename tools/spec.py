"""What a tool is: one function with typed arguments and a typed result, three faces (Python, agent tool, CLI verb)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Tool:
    """A function `(project, arguments, progress) -> result`; its docstring is what the model reads.

    `needs_approval` names the approval a person (or --yes, or a policy) must give before it runs.
    """

    name: str
    function: Callable[..., BaseModel]
    arguments: type[BaseModel]
    needs_approval: str | None = None

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
