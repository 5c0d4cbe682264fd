"""What a person wants with a sentence, by rules: an intent, and the values it names. Knows nothing of the chat."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.planner.adapter_slots import (
    compare_values,
    doctor_values,
    edit_values,
    export_values,
    is_edit,
    push_values,
    resume_values,
    sample_values,
)
from agent.planner.slots import caption_values, contradiction_in, draft_values, numbers_in, vague_value

Intent = Literal[
    "empty",
    "help",
    "term",
    "stop",
    "advice",
    "slow",
    "status",
    "best",
    "compare",
    "compare_files",
    "doctor",
    "edit",
    "push",
    "memory",
    "rehearse",
    "fit",
    "sample",
    "export",
    "resume",
    "why",
    "refused",
    "contradiction",
    "vague",
    "caption",
    "draft",
    "start",
    "inspect",
    "yes",
    "no",
    "other",
]

_TERM = re.compile(
    r"^\W*(?:what(?:'s| is| are| does| do)|explain|define|meaning of)\s+(?:the |a |an )?[\"'“‘`]?"
    r"(?P<term>[\w -]+?)[\"'”’`]?(?:\s+means?)?\W*$",
    re.IGNORECASE,
)
_RUN = r"(?:it|training|the (?:run|training)|this run|now|here)"
_INTENTS: tuple[tuple[Intent, str], ...] = (
    ("help", r"^\W*(?:help|what can (?:you|i) (?:do|say)|how does this work)\b|^\?+$"),
    (
        "push",
        r"\b(?:push|upload|publish|send)\b[^.]*\b(?:to (?:the |my )?(?:hub|hugging ?face)|to [\w.-]+/[\w.-]+)",
    ),
    (
        "refused",
        r"\b(?:api[- ]?key|password|token|secret|credential)s?\b|\brm -rf\b|\bsudo\b|\bshell\b"
        r"|\bdelete (?:all|every|the|my)\b"
        r"|\b(?:upload|publish|push|send|e-?mail|post|tweet)\b|\bdownload\b|\bcurl\b|\bwget\b|/etc/|\.\./|\bexecute\b",
    ),
    (
        "doctor",
        r"\bdoctor\b|\b(?:examine|diagnose|x-?ray)\b|\b(?:check|inspect|look at|test)\b[^.]*"
        r"(?:\b(?:adapter|lora|checkpoint|weights)\b|\.safetensors)"
        r"|\b(?:is|are|has) (?:my|the|this|that)\b[^.]*\b(?:adapter|lora|checkpoint)\b[^.]*"
        r"\b(?:ok|okay|broken|dead|alive|healthy|nan|learned|any good|exploded)\b",
    ),
    (
        "compare_files",
        r"\bcompare\b[^.]*(?:\.safetensors|\b(?:adapters|loras|checkpoints)\b)|\b\w+\.safetensors\b[^.]*\b(?:versus|vs)\b",
    ),
    (
        "fit",
        r"\b(?:make|let) (?:it|this|that|the plan) fit\b|\b(?:take|use|set) (?:the|those|these) (?:memory )?switch",
    ),
    ("rehearse", r"\brehears|\bdry[- ]run\b|\b(?:try|test|run) (?:just )?(?:one|a single) (?:clip|sample|step)\b"),
    (
        "memory",
        r"\bhow much (?:gpu |video |device |v)?(?:memory|ram)\b|\bv?ram\b|\bwhich (?:card|gpu)\b"
        r"|\b(?:does|will|would) (?:it|this|the plan|training) fit\b|\bmemory (?:does|will|would)\b",
    ),
    (
        "advice",
        r"\b(?:should|shall|can|could|may|do) (?:i|we) (?:stop|keep going|go on|continue|wait|let it)\b"
        rf"|\bstop {_RUN}\?",
    ),
    (
        "advice",
        r"\b(?:is it|are we) (?:overfitting|diverging|over ?cooked|enough|good enough)\b|\bis (?:this|it) good\b",
    ),
    ("slow", r"\bslow\b|\bhow fast\b|\bspeed\b|\bwhy (?:does|is) (?:it|this|training) tak\w+ (?:so )?long"),
    ("best", r"\b(?:best|which) checkpoint\b|\bwhere is (?:my|the) (?:adapter|lora|result|file)\b"),
    (
        "sample",
        r"^\W*(?:please )?(?:sample|render|generate)\b(?! ?(?:rate|size|count))"
        r"|\b(?:show|make|render|give) (?:me |us )?(?:some |the |a few )?samples\b"
        r"|\bwhat does it (?:look|sound) like\b",
    ),
    (
        "export",
        r"^\W*(?:please )?export\b|\b(?:export|convert|package) (?:it|the (?:adapter|lora|result|checkpoint))\b"
        r"|\b(?:lora|adapter|file|workflow|it) for comfy ?ui\b|\bmodel card\b",
    ),
    ("compare", r"\bcompare\b|\bexperiments?\b|\bwhat (?:did|have) (?:i|we) (?:change|try|tried)\b|\bwhich run\b"),
    ("resume", r"^\W*(?:please )?(?:resume|pick up|take up)\b|\bresume (?:it|training|the run)\b"),
    ("stop", rf"^\W*(?:please )?(?:stop|abort|halt|cancel|kill)\b|\b(?:stop|abort|cancel|kill) {_RUN}\b"),
    ("status", r"\bstatus\b|\bprogress\b|\bdone yet\b|\beta\b|\bfinished\b|\bhow (?:far|long|much longer)\b"),
    ("status", r"\bhow(?: is|'s| are) (?:it|the (?:training|run|loss)|things)\b|\bwhen (?:is|will) it\b|\bready yet\b"),
    ("status", r"\bis it (?:working|training|learning|done|converging|running|alive|stuck)\b|\bany news\b"),
    ("why", r"^\W*why\b"),
    ("start", rf"^\W*(?:please )?(?:start|begin|launch|run)\b(?! from)|\bstart {_RUN}\b|^\W*train\W*(?:it|now)?\W*$"),
    ("start", r"\bgo ahead and train\b|\bstart (?:the )?(?:training|run)\b|^\W*let's (?:train|go|start)\b"),
    (
        "inspect",
        r"\binspect|\b(?:look at|check|examine|scan)\b.*\bclips?\b|\bwhat(?:'s| is) (?:wrong|in)\b.*\b(?:clip|footage)",
    ),
    ("caption", r"\bcaption"),
    ("draft", r"\bdraft|\bplan\b|\bconfig"),
    (
        "yes",
        r"^\W*(?:y|yes|yep|yeah|ok|okay|sure|fine|go|continue|next|proceed|do it|looks good|please do|right|correct)\b",
    ),
    ("no", r"^\W*(?:n|no|nope|not yet|wait|don't|never mind|nothing)\b"),
)
_CALLS: dict[str, Callable[[str], dict[str, Any]]] = {
    "doctor": doctor_values,
    "compare_files": compare_values,
    "sample": sample_values,
    "export": export_values,
    "push": push_values,
    "resume": lambda words: resume_values(words, numbers_in(_plain(words))),
}
_ABOUT_VALUES = (
    "memory",
    "rehearse",
    "fit",
    "help",
    "advice",
    "slow",
    "status",
    "best",
    "compare",
    "refused",
    "why",
    "stop",
)
"""Intents whose sentence names no value, whatever words it holds."""


@dataclass(frozen=True)
class Wish:
    """One utterance, understood: an intent, and the values it names."""

    intent: Intent
    draft: dict[str, Any] = field(default_factory=dict)
    """Arguments of draft_config."""
    caption: dict[str, Any] = field(default_factory=dict)
    """Arguments of caption_clips."""
    call: dict[str, Any] = field(default_factory=dict)
    """Arguments of the tool that the intent names."""
    term: str = ""
    """What is asked about: a word of the glossary, what contradicts itself, the value that is vague."""


def read_goal(goal: str) -> Wish:
    """Return the values that a goal names; a goal gives no orders, whatever words it holds."""
    return Wish("other", draft_values(_plain(goal)), caption_values(goal))


def understand(words: str) -> Wish:
    """Return what `words` ask for; "other" when no rule knows them."""
    text = _plain(words)
    if not text:
        return Wish("empty")
    question = _TERM.match(words.strip())
    intent: Intent = next((intent for intent, pattern in _INTENTS if re.search(pattern, text)), "other")
    if question and intent not in ("help", "status", "slow", "best", "compare", "advice"):
        return Wish("term", term=" ".join(question["term"].lower().split()))
    if is_edit(text):
        return Wish("edit", call=edit_values(words))
    if intent in _CALLS:
        return Wish(intent, call=_CALLS[intent](words))
    if intent in _ABOUT_VALUES:
        return Wish(intent)
    clash = contradiction_in(text)
    if clash is not None:
        return Wish("contradiction", term=clash)
    draft, caption = draft_values(text), caption_values(words)
    if caption:
        return Wish("caption", draft, caption)
    if draft:
        return Wish("draft", draft)
    vague = vague_value(text)
    if vague is not None and intent not in ("yes", "start"):
        return Wish("vague", term=vague)
    return Wish(intent)


def _plain(words: str) -> str:
    return " ".join(words.lower().replace("’", "'").split())
