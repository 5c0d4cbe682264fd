"""The conversation as Markdown, for a file. No Textual."""

import json
from collections.abc import Iterable

from agent.session.events import Asked, Called, Event, Heard, Listener, Returned, Said
from agent.text.sanitize import clean_lines


def markdown(events: Iterable[Event]) -> str:
    """Return the transcript as a Markdown document."""
    written = _Markdown()
    parts = ["# Conversation with ltx-agent", *filter(None, (event.tell(written) for event in events))]
    return "\n\n".join(parts) + "\n"


class _Markdown(Listener[str]):
    """An event as a paragraph; empty where there is nothing to read."""

    def heard(self, event: Heard) -> str:
        return f"**You:** {clean_lines(event.text)}"

    def said(self, event: Said) -> str:
        return f"**ltx-agent:** {clean_lines(event.text)}"

    def called(self, event: Called) -> str:
        if event.tool == "go_to":
            return ""
        return f"*{event.tool}* `{json.dumps(event.arguments, ensure_ascii=False, default=str)}`"

    def returned(self, event: Returned) -> str:
        return f"*{event.tool} did not run to its end:* {clean_lines(event.refusal)}" if event.refusal else ""

    def asked(self, event: Asked) -> str:
        return f"*Waiting for your word:* {clean_lines(event.question.question)}"

    def other(self, _event: Event) -> str:
        return ""
