"""A tool's result as the model reads it: shortened, printable, inside a fence."""

import json
from typing import Any

from pydantic import BaseModel

from prompts.fence import fence

LONGEST_LIST = 20
LONGEST_TEXT = 1500


def as_text(result: BaseModel) -> str:
    """Return a result as JSON, its long lists and texts shortened."""
    return json.dumps(digest(result.model_dump(mode="python")), default=str)


def fenced(text: str) -> str:
    """Return text that tools made from files, as the model may read it."""
    return fence("data", text)


def told(error: dict[str, Any]) -> str:
    """Return an error of the state as it is said."""
    return f"{error['message']} {error['hint']}".strip()


def printable(text: str) -> str:
    """Return `text` with undecodable bytes of file names as escapes: the session file holds UTF-8 alone."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def digest(value: Any) -> Any:
    """Shorten long lists and texts, so that a thousand clips fill neither the model's context nor the session file.

    Beside a shortened list stands how many of its items are not shown.
    """
    if isinstance(value, dict):
        shown = {key: digest(item) for key, item in value.items()}
        cut = {key: len(item) - LONGEST_LIST for key, item in value.items() if isinstance(item, list)}
        return shown | {f"{key}_not_shown": count for key, count in cut.items() if count > 0}
    if isinstance(value, list | tuple):
        return [digest(item) for item in value[:LONGEST_LIST]]
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{value[:LONGEST_TEXT]}… ({len(value) - LONGEST_TEXT} characters more)"
    return value
