"""Suggestions for a sentence that wasn't understood: the two nearest things that can be said."""

import re
from collections.abc import Sequence
from typing import Any

from agent.planner.calls import live_run
from agent.planner.meaning import meanings
from prompts.render import section

OFFERED = 2
_PHRASES = {
    "cost": "what will it cost?",
    "duration": "how long will it take?",
    "why": "why these values?",
    "quality": "is it any good?",
    "commercial": "may I use it commercially?",
    "use": "how do I use it in ComfyUI?",
    "abilities": "what can you do?",
    "changed": "what did you change?",
    "next": "what next?",
    "enough": "do I have enough clips?",
    "clips": "which clips are left out?",
    "captions": "what do the captions say?",
    "privacy": "do my clips leave this computer?",
    "files": "where are my files?",
    "model": "which model is trained?",
    "status": "status",
    "t2v": "text to video",
    "i2v": "image to video",
    "v2a": "add sound to my silent clips",
    "a2v": "make video from my music",
    "t2a": "only the sound",
    "video_extension": "make the clips longer",
    "audio_extension": "make the music longer",
    "video_inpainting": "inpaint what my masks mark",
    "video_outpainting": "widen the frame",
    "v2v_ic": "restyle my footage",
}
"""Words to say for a meaning: each of them is understood."""
_OFFER = re.compile(r'^(?P<number>[12])\. "(?P<phrase>[^"]+)"$', re.MULTILINE)
_CHOICE = re.compile(
    r"^\W*(?:the |number |no\.? ?|nr\.? ?|option )?(?P<choice>1|2|one|two|first|second|1st|2nd)"
    r"(?: one)?(?: please)?\W*$",
    re.IGNORECASE,
)


def not_understood(words: str, state: dict[str, Any], said_before: str = "") -> str:
    """Say that `words` weren't understood and offer the two nearest things; never twice alike in a row."""
    again = section("planner", "not_understood_head") in said_before
    avoided = offered_in(said_before) if again else []
    first, second = _nearest(words, state, avoided)
    return section(
        "planner", "not_understood_again" if again else "not_understood", words=words, first=first, second=second
    )


def offered_in(text: str) -> list[str]:
    """The words that an answer offered, in their order."""
    return [match["phrase"] for match in _OFFER.finditer(text)]


def chosen(words: str, said_before: str) -> str | None:
    """The offered words that "1" or "the second" picks of the last answer; None where nothing was offered or picked."""
    offers, match = offered_in(said_before), _CHOICE.match(words)
    if match is None or len(offers) < OFFERED:
        return None
    return offers[0 if match["choice"].lower() in ("1", "one", "first", "1st") else 1]


def _nearest(words: str, state: dict[str, Any], avoided: Sequence[str]) -> list[str]:
    """Two phrases: by meaning first, then what is of use where the work stands."""
    by_meaning = [_PHRASES[match.label] for match in meanings(words)[:8] if match.label in _PHRASES]
    phrases = [*by_meaning[:OFFERED], *_of_use(state), *by_meaning]
    return [phrase for phrase in dict.fromkeys(phrases) if phrase not in avoided][:OFFERED]


def _of_use(state: dict[str, Any]) -> list[str]:
    if live_run(state):
        return ["status", "stop", "what next?", "what can you do?"]
    if state.get("runs"):
        return ["export it for ComfyUI", "show me some samples", "what next?", "what can you do?"]
    if "config" in state["artifacts"]:
        return ["start", "use 500 steps", "what next?", "what can you do?"]
    return ["go on", "what can you do?", "what next?", "text to video"]
