"""The conversation's choice of what to train: the goal and what was said since, else a question or a refusal.

It runs around the planner's other moves: they caption and draft, and this module decides when that is due.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage

from agent.planner.calls import Move, Spoken
from agent.planner.intents import understand
from agent.planner.objective_choice import Choice, choose, missing_of, named_objective
from agent.planner.sentence_encoder import plain
from agent.planner.slots import without_values
from agent.state import GOAL, NONE_LEFT, is_from_person
from prompts.fence import unfence
from prompts.render import section
from tools.draft.objective_words import MISSING, OBJECTIVE_WORDS
from tools.inspect.report.footage import Footage

NextMove = Callable[[Sequence[AnyMessage | BaseMessage], Collection[str]], Move]

GO_ON = "go on"
_NEEDS_OBJECTIVE = ("caption_clips", "draft_config")
_FIRST = re.compile(
    r"^\W*(?:1|one|a|(?:the )?(?:first|former)(?: one)?|number (?:1|one)|das erste|erste[rns]?|(?:el |la )?primer[oa]?|"
    r"(?:le |la )?premi[eè]re?|(?:o |a )?primeir[oa]|(?:il |la )?prim[oa]|(?:最初|一つ目|1番)\w*|第一\w*)\W*$"
)
_SECOND = re.compile(
    r"^\W*(?:2|two|b|(?:the )?(?:second|latter|last|other)(?: one)?|number (?:2|two)|das zweite|zweite[rns]?|"
    r"(?:el |la )?segund[oa]|(?:le |la )?(?:deuxi[eè]me|seconde?)|(?:o |a )?segund[oa]|(?:il |la )?second[oa]|"
    r"(?:二つ目|2番)\w*|第二\w*)\W*$"
)
_YOU_DECIDE = re.compile(
    r"^\W*(?:go on|continue|you (?:decide|choose|pick)|whatever(?: you think(?: is best)?)?|either|as you like|"
    r"i (?:don't|do not) (?:know|care)|entscheide du|egal|t[úu] decides|da igual|comme tu veux|peu importe|おまかせ|"
    r"任せる|你决定|随便|tanto faz|decidi tu|fai tu)\W*$"
)


def steered(messages: Sequence[AnyMessage | BaseMessage], bound: Collection[str], next_move: NextMove) -> Move:
    """Return the planner's move, once what to train is settled: else the question or the refusal that is due first."""
    state = json.loads(unfence("state", str(messages[0].content)) or "{}")
    footage = Footage.model_validate(state["footage"]) if state.get("footage") else None
    if footage is None or not footage.pictures + footage.sounds:  # nothing is known yet, or the tools say what is wrong
        return next_move(messages, bound)
    begun = max((index for index, m in enumerate(messages) if str(m.content).startswith(GOAL)), default=0)
    said = [str(message.content) for message in messages[begun:] if is_from_person(message)]
    last = messages[-1]
    spoke = is_from_person(last)
    if not _is_open(state):
        return _changed(messages, bound, next_move, footage, state) if spoke else next_move(messages, bound)
    choice = settle(state["goal"], said, footage)
    if choice.verdict != "clear" and str(last.content).startswith(NONE_LEFT) and choice.offered:
        choice = replace(choice, verdict="clear", objective=choice.offered[0])
    if spoke and choice.verdict != "clear" and understand(str(last.content)).intent == "no":
        return _unlike_the_last(choice, footage, messages[begun:])  # no to what was offered: asked again, not captioned
    answered = spoke and settle(state["goal"], said[:-1], footage).verdict != "clear" and choice.verdict == "clear"
    heard = [*messages[:-1], HumanMessage(GO_ON)] if answered else messages
    move = next_move(heard, bound)
    call = move.call if isinstance(move, Spoken) else move
    asked_for_captions = spoke and understand(str(last.content)).intent == "caption"
    if isinstance(call, str) or call[0] not in _NEEDS_OBJECTIVE or (call[0] == "caption_clips" and asked_for_captions):
        return move
    if choice.verdict != "clear":
        return _unlike_the_last(choice, footage, messages[begun:])
    if call[0] != "draft_config":
        return move
    drafted = "draft_config", _with(choice, call[1])
    return Spoken(move.words, drafted) if isinstance(move, Spoken) else drafted


def settle(goal: str, said: Sequence[str], footage: Footage) -> Choice:
    """Return what goal and words come to: each later word on the objective, or answer to a question, counts."""
    choice = choose(goal, footage)
    for words in said:
        if choice.verdict != "clear":
            chosen = _answer(plain(words), choice)
            if chosen is not None:
                both = choice.said if words == GO_ON else f"{choice.said}; then: {words}" if choice.said else words
                alone = choice.picture_only and choice.objective == chosen
                choice = Choice("clear", both, chosen, picture_only=alone)
                continue
        choice = _replaced(choice, words, footage)
    return choice


def says_what_to_learn(goal: str) -> bool:
    """Whether the goal holds more than values such as "25 steps"; what it says may not be understood all the same."""
    return bool(without_values(plain(goal)))


def told(choice: Choice, footage: Footage, *, again: bool = False) -> str:
    """The question or the refusal, in the user's terms."""
    options = "\n".join(f"  {number}. {_option(name)}" for number, name in enumerate(choice.offered, start=1))
    if choice.verdict == "refuse" and choice.objective is not None:
        missing = " and ".join(MISSING[name][0] for name in choice.missing)
        how = " ".join(MISSING[name][1] for name in choice.missing)
        instead = choice.offered[0] if choice.offered else None
        alone = ", from the picture alone" if choice.picture_only else ""
        offer = section("planner", "objective_instead", what=OBJECTIVE_WORDS[instead].makes + alone) if instead else ""
        if again:
            return section("planner", "objective_still_refused", missing=missing, how=how, offer=offer).strip()
        refusal = section(
            "planner",
            "objective_refused",
            said=choice.said,
            makes=OBJECTIVE_WORDS[choice.objective].makes,
            missing=missing,
            has=footage_words(footage),
            how=how,
            offer=offer,
        ).strip()
        return "\n".join((refusal, *_beyond(choice, footage)))
    which = "objective_again" if again else "objective_unclear" if choice.understood else "objective_unknown"
    if choice.two_wishes:
        which = "objective_again" if again else "objective_two_wishes"
    if not says_what_to_learn(choice.said):
        which = "objective_again" if again else "objective_unnamed"
    question = section("planner", which, said=choice.said, has=footage_words(footage), options=options)
    return question if again else "\n".join((question, *_beyond(choice, footage)))


def _beyond(choice: Choice, footage: Footage) -> list[str]:
    """A line for each other reading of the words that the footage can't carry."""
    lines = []
    for name in choice.beyond:
        lacking = missing_of(name, footage)
        missing = " and ".join(MISSING[one][0] for one in lacking)
        how = " ".join(MISSING[one][1] for one in lacking)
        makes = OBJECTIVE_WORDS[name].makes
        lines.append(section("planner", "objective_beyond", makes=makes, missing=missing, how=how).strip())
    return lines


def footage_words(footage: Footage) -> str:
    """The footage in a few words, such as `10 videos, 1 of them with sound`."""
    parts = []
    if footage.videos:
        sound = (
            "all with sound" if footage.with_sound == footage.videos else f"{footage.with_sound or 'none'} with sound"
        )
        parts.append(f"{_count(footage.videos, 'video')}, {sound}")
    if footage.images:
        parts.append(_count(footage.images, "still"))
    if footage.sounds:
        parts.append(_count(footage.sounds, "sound file"))
    for name, what in (
        ("reference_video", "a reference video"),
        ("reference_audio", "a reference sound"),
        ("video_mask", "a mask"),
        ("audio_mask", "a sound mask"),
    ):
        if getattr(footage, name):
            parts.append(f"{getattr(footage, name)} with {what}")
    return "; ".join(parts) or "no usable clip"


def _is_open(state: dict[str, Any]) -> bool:
    """Whether the objective is still to be settled: nobody fixed it, and no plan was drafted from this goal."""
    facts = state["facts"]
    if "objective" in state.get("fixed", {}):
        return False
    if facts.get("objective") is None:
        return "config" not in state["artifacts"]
    drafted_from = str(facts.get("asked", {}).get("said") or "")
    return bool(state["goal"]) and bool(drafted_from) and not drafted_from.startswith(state["goal"])


def _changed(
    messages: Sequence[AnyMessage | BaseMessage],
    bound: Collection[str],
    next_move: NextMove,
    footage: Footage,
    state: dict[str, Any],
) -> Move:
    """The move after words about a plan that stands: another objective is drafted where they clearly mean one."""
    words = str(messages[-1].content)
    if understand(words).intent != "other":
        return next_move(messages, bound)
    choice = choose(words, footage)
    if choice.verdict == "refuse":
        return told(choice, footage)
    if choice.verdict != "clear":
        return next_move(messages, bound)
    if state["stage"] != "draft":
        return "go_to", {"stage": "draft"}
    return "draft_config", _with(choice, {})


def _unlike_the_last(choice: Choice, footage: Footage, messages: Sequence[AnyMessage | BaseMessage]) -> str:
    """The question in full where it is new, else in other words; never the same twice in a row."""
    heard = [message.text for message in messages if isinstance(message, AIMessage) and message.text]
    in_full, in_short = told(choice, footage), told(choice, footage, again=True)
    return in_short if in_full in heard and heard[-1] != in_short else in_full


def _replaced(choice: Choice, words: str, footage: Footage) -> Choice:
    """The choice after words that may name another objective; an open question stays open where they don't."""
    wish = understand(words)
    if wish.intent not in ("other", "draft") or (wish.intent == "draft" and "objective" not in wish.draft):
        return choice
    other = choose(words, footage)
    takes_over = other.verdict == "clear" or (other.understood and choice.verdict != "clear")
    return other if takes_over else choice


def _answer(text: str, choice: Choice) -> str | None:
    """Which of the offered objectives `text` chooses, if it does."""
    offered = choice.offered
    if not offered:
        return None
    if _SECOND.search(text) and len(offered) > 1:
        return offered[1]
    agrees = len(offered) == 1 and understand(text).intent == "yes"
    if _FIRST.search(text) or agrees or _YOU_DECIDE.search(text):
        return offered[0]
    named = named_objective(text)
    return named if named in offered else None


def _with(choice: Choice, arguments: dict[str, Any]) -> dict[str, Any]:
    """The draft's arguments with what was settled; the words it was read from go with it."""
    settled: dict[str, Any] = {"objective": choice.objective, "said": choice.said or None}
    if choice.picture_only:
        settled["video_only"] = True
    return {**arguments, **{name: value for name, value in settled.items() if value is not None}}


def _option(name: str) -> str:
    return f"{OBJECTIVE_WORDS[name].makes} ({name})"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
