"""The conversation as Markdown, for a file. No Textual."""

import json
from collections.abc import Iterable
from typing import Any

from agent.text.sanitize import clean_lines


def markdown(events: Iterable[Any]) -> str:
    """Return the transcript as a Markdown document."""
    from agent.session.events import Asked, Called, Heard, Returned, Said

    parts = ["# Conversation with ltx-agent"]
    for event in events:
        if isinstance(event, Heard):
            parts.append(f"**You:** {clean_lines(event.text)}")
        elif isinstance(event, Said):
            parts.append(f"**ltx-agent:** {clean_lines(event.text)}")
        elif isinstance(event, Called) and event.tool != "go_to":
            parts.append(f"*{event.tool}* `{json.dumps(event.arguments, ensure_ascii=False, default=str)}`")
        elif isinstance(event, Returned) and event.refusal:
            parts.append(f"*{event.tool} did not run to its end:* {clean_lines(event.refusal)}")
        elif isinstance(event, Asked):
            parts.append(f"*Waiting for your word:* {clean_lines(event.question.question)}")
    return "\n\n".join(parts) + "\n"
