"""The planner's words after a tool's answer, as seen from what the user asked."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import ToolMessage

from agent.planner.calls import Call
from agent.planner.intents import Wish
from agent.state import DECLINED
from agent.text.results import SUMMARIES
from agent.text.run import advice_lines, best_lines, quality_lines, run_lines, speed_lines
from prompts.fence import unfence
from prompts.render import section

_CAPTIONING = ("caption_clips", "caption_rest", "retune_captions")
_OF_A_RUN: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "advice": advice_lines,
    "slow": speed_lines,
    "best": best_lines,
    "quality": quality_lines,
    "details": lambda status: run_lines(status, verbose=True),
    "status": run_lines,
    "duration": run_lines,
}
"""How a run's status is told, by the intent or the kind of question that asked for it."""


def after_tool(message: ToolMessage, wishes: Sequence[Wish]) -> str | Call:
    """Return what the tool's answer comes to, or the call that has to follow it."""
    content = str(message.content)
    name = message.name or ""
    if message.status == "error":
        if content == DECLINED:
            return section("planner", "declined" if name == "start_training" else "declined_change")
        told = (unfence("data", content) or content).split("\nSchema: ")[0]
        return section("planner", "failed", message=told)
    result = json.loads(unfence("data", content) or "{}")
    if name in _CAPTIONING and result.get("remaining"):
        return "caption_rest", {}
    if name == "run_status":
        return "\n".join(_of_a_run(result, wishes))
    if name == "rehearse_training":
        lacking = result["fits"] and not result["trials"][0]["fits"]
        follows = section("planner", "rehearsed_lacking" if lacking else "rehearsed")
        return "\n".join([*SUMMARIES[name](result), follows])
    if name in SUMMARIES:
        return "\n".join(SUMMARIES[name](result))
    return "\n".join(
        f"{key.replace('_', ' ')}: {value}" for key, value in result.items() if value not in (None, [], {})
    )


def _of_a_run(status: dict[str, Any], wishes: Sequence[Wish]) -> list[str]:
    """The status as each wish asked for it; a line that two of them need stands once."""
    asked = [wish.question or wish.intent for wish in wishes]
    tellers = [_OF_A_RUN[one] for one in asked if one in _OF_A_RUN] or [run_lines]
    return list(dict.fromkeys(line for tell in dict.fromkeys(tellers) for line in tell(status)))
