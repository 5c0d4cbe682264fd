"""Answers about the assistant itself: who it is, what it can do, what it sends out; and talk about other things."""

import re
from typing import Any

from agent.planner.answers.work import next_step
from agent.planner.glossary import explain, meant_term, nearest_terms
from prompts.render import section

_BETWEEN = re.compile(r"^(?:the )?(?:difference between|better,?) | and | or | vs\.? | versus ")
"""Parts the words in "the difference between lora and full"."""


def about_itself(name: str, state: dict[str, Any]) -> str:
    """The section of this name, with what is due now where it leads back to the work."""
    return section("planner", name, next=next_step(state))


def privacy(state: dict[str, Any]) -> str:
    """What leaves the machine: nothing, unless an endpoint that the user configured writes captions."""
    captioner = state["facts"].get("captioner")
    return section("planner", "privacy_endpoint" if captioner == "endpoint" else "privacy")


def term(name: str, question: str) -> str:
    """What a word means; for one that isn't known, the nearest that are."""
    both = [explain(one) for one in _BETWEEN.split(name)] if _BETWEEN.search(name) else []
    told = [one for one in both if one]
    known = "\n".join(told) if len(told) > 1 else explain(name) or meant_term(question)
    if known is not None:
        return known
    near = " or ".join(f'"what is {one}?"' for one in nearest_terms(name) or ["a trigger", "rank"])
    return section("planner", "unknown_term", near=near)
