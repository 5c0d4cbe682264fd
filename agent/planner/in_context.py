"""The meaning of a sentence beside those before it and the plan that stands: "double", "half of that", "no, 700"."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agent.planner.intents import Wish, plain
from agent.planner.slots import added_values, draft_values, numbers_in, relative_values

KEY_OF = {
    "steps": "optimization.steps",
    "rank": "lora.rank",
    "learning_rate": "optimization.learning_rate",
    "batch_size": "optimization.batch_size",
}
"""The values that a sentence may name by a number alone, with their keys of config.yaml."""
_MORE = r"\b(?:more|higher|bigger|larger|raise|increase|longer|slower)\b"
_LEAD = (
    r"^\W*(?:(?:hm+|no|nein|ok|okay|rather|better|actually|make it|make that|let'?s say|say|set "
    r"it to|set that to|use|just|and|to|try|how about)\b[\s,]*)*"
)
_BARE_NUMBER = re.compile(
    rf"{_LEAD}(?P<number>\d[\d,]*(?:\.\d+)?(?:e-?\d+)?|\.\d+)(?: of (?:them|those))?(?: please| then| instead)*\W*$"
)
_BARE_WORD = re.compile(
    r"^\W*(?:(?:use|call it|it is|it's|let's say|make it|the word(?: "
    r"is)?)\s+)?[\"'“‘`]?(?P<word>[A-Za-z][\w-]{1,30})[\"'”’`]?(?: please)?\W*$"
)
_BARE_FACTOR = re.compile(
    r"^\W*(?:(?:hm+|no|oh|ok|okay|make it|just|use|rather|only|wait|"
    r"actually)[\s,]+)*(?P<factor>double|twice|half|triple|a third|a quarter|ten times)"
    r"(?: it| that| them| of (?:it|that|them|those)| as (?:many|much)| the (?:amount|number))*(?: please)?\W*$"
)
_FACTOR = {
    "double": 2.0,
    "twice": 2.0,
    "half": 0.5,
    "triple": 3.0,
    "a third": 1 / 3,
    "a quarter": 0.25,
    "ten times": 10.0,
}
_LONG = re.compile(
    r"\b(?:twice|half|three times|double) (?:as|so) (?:long|short)\b|^\W*(?:make it )?(?:longer|shorter)\W*$"
)
_NOT_WORDS = frozenset(
    ["yes", "no", "ok", "okay", "stop", "start", "none", "nothing", "help", "skip", "never", "later", "status"]
)


def in_context(wish: Wish, words: str, before: Sequence[Wish], state: dict[str, Any]) -> Wish:
    """Return `wish` with what it leaves unsaid: taken from the sentences before it and from the plan."""
    text = plain(words)
    if wish.intent in ("other", "yes", "no", "vague", "draft", "inspect"):
        named = _by_the_sentence_before(text, words, before)
        if named is not None:
            wish = named
        elif _LONG.search(text) and not re.search(r"\btrain|\bsteps?\b|\bclips?\b|\bvideos?\b", text):
            return Wish("vague", term="longer", words=words)
        elif (match := _BARE_FACTOR.match(text)) is not None:
            name = _last_number(before)
            if name is None:
                return Wish("vague", term=match["factor"], words=words)
            wish = replace(wish, intent="draft", draft=_multiplied({name: _FACTOR[match["factor"]]}, state), term="")
    return _in_numbers(wish, text, state)


def assumed(wish: Wish, words: str, state: dict[str, Any]) -> Wish:
    """What unclear words most likely mean: twice or half of the value, the last of several that were named."""
    text = plain(words)
    if wish.intent == "vague" and isinstance(now := state.get("plan", {}).get(wish.term), int | float):
        value = now * (2 if re.search(_MORE, text) else 0.5)
        return replace(wish, intent="draft", draft={wish.term: value if isinstance(now, float) else max(1, int(value))})
    if wish.intent == "contradiction":
        last = {name: numbers[-1] for name, numbers in numbers_in(text).items()}
        return replace(wish, intent="draft", draft={**draft_values(text), **last})
    return wish


def _by_the_sentence_before(text: str, words: str, before: Sequence[Wish]) -> Wish | None:
    """A lone number or word after a question for one, or after a value that it corrects."""
    last = before[-1] if before else None
    if last is None:
        return None
    if match := _BARE_NUMBER.match(text):
        name = last.term if last.intent == "vague" and last.term in KEY_OF else _last_number(before[-1:])
        if name is None:
            return None
        number = float(match["number"].replace(",", ""))
        value = number if name == "learning_rate" or number != int(number) else int(number)
        return Wish("draft", {name: value}, words=words)
    if last.intent == "vague" and last.term == "trigger" and (match := _BARE_WORD.match(words)):
        return (
            None
            if match["word"].lower() in _NOT_WORDS
            else Wish("caption", {}, {"trigger": match["word"]}, words=words)
        )
    return None


def _last_number(before: Sequence[Wish]) -> str | None:
    """The value named last, where the sentence before named one alone."""
    named = [name for name in (before[-1].draft if before else {}) if name in KEY_OF]
    if len(named) == 1:
        return named[0]
    term = before[-1].term.replace(" ", "_") if before else ""
    return term if term in KEY_OF else None


def _in_numbers(wish: Wish, text: str, state: dict[str, Any]) -> Wish:
    """Turn "double the rank" and "400 more steps" into the number it comes to in the plan that stands."""
    if wish.intent not in ("vague", "other", "yes", "draft"):
        return wish
    plan = state.get("plan", {})
    added = {name: plan[name] + more for name, more in added_values(text).items() if _is_number(plan.get(name))}
    sums: dict[str, Any] = {
        name: max(1, round(value)) if name != "learning_rate" else value for name, value in added.items()
    }
    factors = {name: factor for name, factor in relative_values(text).items() if name not in wish.draft}
    found = {**_multiplied(factors, state), **sums}
    if found:
        return replace(wish, intent="draft", draft={**wish.draft, **found}, term="")
    if wish.term == "relative":
        named = [*added_values(text), *relative_values(text)]
        return replace(wish, intent="vague", term=named[0] if named else "steps")
    return wish


def _multiplied(factors: dict[str, float], state: dict[str, Any]) -> dict[str, Any]:
    plan = state.get("plan", {})
    found: dict[str, Any] = {}
    for name, factor in factors.items():
        if _is_number(plan.get(name)):
            value = plan[name] * factor
            found[name] = float(f"{value:.6g}") if name == "learning_rate" else max(1, round(value))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
