"""The features that a server turned out to lack, remembered for as long as the process lives.

Small local servers know no tools, no JSON schema, no streams, or reject parameters that others insist on. Each is
found out once, by whoever asks first, and holds for every client of the same model at the same address.
"""

from dataclasses import dataclass, field
from typing import Any

from tools.endpoint.failures import shorten


@dataclass
class ServerTraits:
    """Form of the requests to one model at one address; each part is dropped when the server rejects it."""

    token_key: str = "max_tokens"
    temperature: float | None = 0.2
    streams: bool = True
    usage_in_stream: bool = True
    knows_tools: bool = True
    knows_schemas: bool = True
    adapted: list[str] = field(default_factory=list)
    """The server's words, for each part that was dropped because of them."""

    def as_arguments(self, max_tokens: int) -> dict[str, Any]:
        """The optional parts of a chat request as they are sent now."""
        arguments: dict[str, Any] = {self.token_key: max_tokens}
        if self.temperature is not None:
            arguments["temperature"] = self.temperature
        if self.streams:
            arguments["stream"] = True
            if self.usage_in_stream:
                arguments["stream_options"] = {"include_usage": True}
        return arguments

    def adapt(self, message: str) -> bool:
        """Drop what the server's words object to; False when they name nothing that can be dropped."""
        words = message.lower()
        before = self.as_arguments(1)
        if "max_completion_tokens" in words and self.token_key == "max_tokens":
            self.token_key = "max_completion_tokens"
        elif "stream_options" in words or "include_usage" in words:
            self.usage_in_stream = False
        elif "temperature" in words:
            self.temperature = None
        elif "stream" in words:
            self.streams = False
        if self.as_arguments(1) == before:
            return False
        self.adapted.append(shorten(message))
        return True


_KNOWN: dict[tuple[str, str], ServerTraits] = {}


def traits_of(base_url: str | None, model: str) -> ServerTraits:
    """Return what is known of `model` at this address, to be changed in place."""
    return _KNOWN.setdefault((base_url or "", model), ServerTraits())
