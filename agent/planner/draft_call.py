"""The call that drafts or changes the plan with what was named.

Selections of clips add up; of a value, the latest word counts.
"""

from typing import Any

from agent.planner.calls import Call
from agent.planner.in_context import KEY_OF
from agent.planner.intents import Wish

_FREE_TEXT_REASON = 160


def draft_call(wishes: list[Wish], state: dict[str, Any], words: str) -> Call:
    """Draft with all that was said so far; a plan that stands keeps it, so it is only given what is new."""
    asked = state["facts"].get("asked", {})
    if "config" not in state["artifacts"]:
        values: dict[str, Any] = {name: value for wish in wishes for name, value in wish.draft.items()}
        chosen: dict[str, Any] = {}
        for wish in wishes:
            chosen |= _selection(wish.draft, chosen)
        return "draft_config", _fitting({**_without_clips(values), **chosen}, state)
    values = dict(wishes[-1].draft if words else wishes[0].draft)
    if len(values) == 1 and (name := next(iter(values))) in KEY_OF:
        reason = " ".join(words.split())[:_FREE_TEXT_REASON]
        return "change_config", {"name": KEY_OF[name], "value": values[name], "reason": f"you said: {reason}"}
    return "draft_config", _fitting({**_without_clips(values), **_selection(values, asked)}, state)


def _selection(said: dict[str, Any], before: dict[str, Any]) -> dict[str, list[str]]:
    """The clips to skip and those to take alone, after what was said; empty where nothing of it names clips."""
    skip, only = list(before.get("skip") or []), list(before.get("only") or [])
    if said.get("skip") == [] and said.get("only") == []:  # all of them
        return {"skip": [], **({"only": []} if only else {})}
    found: dict[str, list[str]] = {}
    if said.get("only"):
        found["only"] = list(said["only"])
        if skip:
            skip = []
            found["skip"] = []
    if said.get("skip"):
        found["skip"] = [*skip, *(name for name in said["skip"] if name not in skip)]
    if said.get("back"):
        back = list(said["back"])
        found["skip"] = [name for name in skip if name not in back]
        found["skip"] += [f"+{name}" for name in back if name not in skip and found["skip"]]
        if only:
            found["only"] = [*only, *(name for name in back if name not in only)]
    return found


def _without_clips(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in ("skip", "only", "back")}


def _fitting(values: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """The values without a direction that the objective has no use for: "what comes next" is said of many things."""
    objective = values.get("objective") or state["facts"].get("objective") or state.get("plan", {}).get("objective")
    if "direction" in values and not str(objective).endswith("_extension"):
        return {name: value for name, value in values.items() if name != "direction"}
    return values
