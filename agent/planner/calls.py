"""The planner's moves: words, a tool call, or both; and the state of the work as its system prompt tells it."""

from typing import Any, NamedTuple

from trainer_core.run_folder import LIVE_STATES

Call = tuple[str, dict[str, Any]]
"""A tool's name and its arguments."""


class Spoken(NamedTuple):
    """Words that are said before a call is made."""

    words: str
    call: Call


Move = str | Call | Spoken


def live_run(state: dict[str, Any]) -> str | None:
    """The id of the run that goes on, if one does."""
    return next((run["id"] for run in reversed(state.get("runs", [])) if run["state"] in LIVE_STATES), None)
