"""What a person's plain English asks for, by rules: values, objectives and intents. Knows nothing of the chat."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from trainer_core.objective import OBJECTIVE_NAMES

Intent = Literal[
    "empty",
    "help",
    "term",
    "stop",
    "status",
    "video_only",
    "caption",
    "draft",
    "start",
    "inspect",
    "yes",
    "no",
    "other",
]

_CLIP = r"(?:video|clip|shot|footage|movie|film)s?"
_SOUND = r"(?:sound|audio|music|foley|voice)s?"
_STILL = r"(?:image|picture|photo|still)s?"

_OBJECTIVES: tuple[tuple[str, str], ...] = (
    ("v2a", rf"\b(?:add|make|generate|create)\b[^.]*\b{_SOUND}\b[^.]*\b(?:to|for)\b[^.]*\b{_CLIP}\b"),
    ("v2a", rf"\b{_SOUND} for (?:my |the )?(?:silent |mute )?{_CLIP}\b|\bvideo[- ]to[- ](?:audio|sound)\b"),
    (
        "a2v",
        rf"\b{_CLIP} (?:from|for|to) (?:my |the )?{_SOUND}\b|\b(?:audio|sound|music)[- ]to[- ]video\b|\blip[- ]?sync",
    ),
    ("v2v_ic", r"\bvideo[- ]to[- ]video\b|\brestyl"),
    ("a2a_ic", r"\baudio[- ]to[- ]audio\b|\bvoice conversion\b"),
    ("i2v", rf"\b{_STILL}[- ]to[- ]video\b|\banimat\w* (?:my |the |these |a )?{_STILL}\b"),
    ("audio_inpainting", rf"\b(?:repair|fill|inpaint)\w*\b[^.]*\b{_SOUND}\b"),
    ("audio_extension", rf"\b(?:extend|continue|lengthen)\w*\b[^.]*\b{_SOUND}\b|\baudio extension\b"),
    ("video_extension", rf"\b(?:extend|lengthen)\w*\b[^.]*\b{_CLIP}\b|\bvideo extension\b"),
    ("video_outpainting", r"\boutpaint|\bwiden the (?:frame|picture|shot)\b"),
    ("video_inpainting", r"\binpaint|\bremove (?:an? |the )?(?:object|person|people|logo)s?\b"),
    ("t2a", rf"\b(?:only|just) {_SOUND}\b|\b(?:audio|sound)[- ]only\b|\btext[- ]to[- ](?:audio|sound|music)\b"),
    ("t2a", r"\b(?:no|without) (?:video|pictures?)\b"),
    ("t2v", r"\btext[- ]to[- ]video\b"),
)
_VIDEO_ONLY = re.compile(
    r"\b(?:only|just) (?:the )?(?:video|pictures?)\b|\bvideo[- ]only\b|\b(?:no|without) (?:sound|audio)\b"
)

_NUMBER = r"(\d[\d,_]*(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+)(\s?k\b)?"
_VALUES: tuple[tuple[str, str], ...] = (
    ("steps", rf"\bsteps?\s*(?:=|:|of|to|is)?\s*{_NUMBER}"),
    ("steps", rf"(?<![\w.]){_NUMBER}\s*(?:training\s+)?steps?\b"),
    ("rank", rf"\brank\s*(?:=|:|of|to|is)?\s*{_NUMBER}"),
    ("learning_rate", rf"\b(?:learning[- ]?rate|lr)\s*(?:=|:|of|to|is)?\s*{_NUMBER}"),
    ("batch_size", rf"\bbatch(?:[- ]?size)?\s*(?:=|:|of|to|is)?\s*{_NUMBER}"),
)
_NO_TRIGGER = r"(?!(?:for|is|are|that|which|word|words|please|on|in|and|or|the|a|an|to|should|must)\b)"
_TRIGGER = re.compile(
    rf"\btrigger(?: word)?\s*(?:=|:|is\b|to\b|of\b)?\s*[\"'“‘`]?{_NO_TRIGGER}([\w-]+)"
    r"|[\"'“‘`]?([\w-]+)[\"'”’`]? as (?:the |a |my )?trigger",
    re.IGNORECASE,
)
_TERM = re.compile(
    r"^\W*(?:what(?:'s| is| are| does| do)|explain|define|meaning of)\s+(?:the |a |an )?[\"'“‘`]?"
    r"(?P<term>[\w -]+?)[\"'”’`]?(?:\s+means?)?\W*$",
    re.IGNORECASE,
)
_RUN = r"(?:it|training|the (?:run|training))"
_INTENTS: tuple[tuple[Intent, str], ...] = (
    ("help", r"^\W*(?:help|what can (?:you|i) (?:do|say)|how does this work)\b|^\?+$"),
    ("stop", rf"^\W*(?:please )?(?:stop|abort|halt|cancel)\b|\b(?:stop|abort|cancel) {_RUN}\b"),
    ("status", r"\bstatus\b|\bprogress\b|\bdone yet\b|\beta\b|\bfinished\b|\bhow (?:far|long|much longer)\b"),
    ("status", r"\bhow(?: is|'s| are) (?:it|the (?:training|run)|things)\b"),
    ("status", r"\bis it (?:working|training|learning|done|converging|running)\b"),
    ("start", rf"^\W*(?:please )?(?:start|begin|launch|run)\b|\bstart {_RUN}\b|^\W*train\W*(?:it|now)?\W*$"),
    ("inspect", r"\binspect|\b(?:look at|check|examine|scan)\b.*\bclips?\b"),
    ("caption", r"\bcaption"),
    ("draft", r"\bdraft|\bplan\b|\bconfig"),
    ("yes", r"^\W*(?:y|yes|yep|ok|okay|sure|fine|go|continue|next|proceed|do it|looks good|please do)\b"),
    ("no", r"^\W*(?:n|no|nope|not yet|wait|don't)\b"),
)


@dataclass(frozen=True)
class Wish:
    """One utterance, understood: an intent, and the values it names."""

    intent: Intent
    draft: dict[str, Any]
    """Arguments of draft_config."""
    caption: dict[str, Any]
    """Arguments of caption_clips."""
    term: str = ""


def read_goal(goal: str) -> Wish:
    """Return the values that a goal names; a goal gives no orders, whatever words it holds."""
    text = " ".join(goal.lower().split())
    intent: Intent = "video_only" if _VIDEO_ONLY.search(text) else "other"
    return Wish(intent, _draft_values(text), _caption_values(goal))


def understand(words: str) -> Wish:
    """Return what `words` ask for; "other" when no rule knows them."""
    text = " ".join(words.lower().replace("’", "'").split())
    draft, caption = _draft_values(text), _caption_values(words)
    if not text:
        return Wish("empty", draft, caption)
    question = _TERM.match(words.strip())
    intent: Intent = next((intent for intent, pattern in _INTENTS if re.search(pattern, text)), "other")
    if question and intent not in ("help", "status"):
        return Wish("term", {}, {}, " ".join(question["term"].lower().split()))
    if intent in ("help", "stop", "status"):
        return Wish(intent, {}, {})
    if caption:
        return Wish("caption", draft, caption)
    if draft:
        return Wish("draft", draft, {})
    if _VIDEO_ONLY.search(text):
        return Wish("video_only", {}, {})
    return Wish(intent, {}, {})


def _draft_values(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    objective = _objective(text)
    if objective is not None:
        values["objective"] = objective
    adapter = _adapter(text)
    if adapter is not None:
        values["adapter"] = adapter
    for name, pattern in _VALUES:
        found = re.search(pattern, text)
        if found and name not in values:
            number = float(re.sub("[,_]", "", found[1])) * (1000 if found[2] else 1)
            values[name] = number if name == "learning_rate" else int(number)
    return values


def _objective(text: str) -> str | None:
    for name in sorted(OBJECTIVE_NAMES, key=len, reverse=True):
        if re.search(rf"\b{name.replace('_', '[ _]')}\b", text):
            return name
    return next((name for name, pattern in _OBJECTIVES if re.search(pattern, text)), None)


def _adapter(text: str) -> str | None:
    if re.search(r"\bic[- ]lora\b", text):
        return "ic-lora"
    if re.search(r"\bfull (?:fine[- ]?tun\w*|training|model)\b|\ball (?:the )?weights\b", text):
        return "full"
    return "lora" if re.search(r"\blora\b", text) else None


def _caption_values(words: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    trigger = _TRIGGER.search(words)
    if trigger:
        values["trigger"] = trigger[1] or trigger[2]
    if re.search(r"\b(?:my|existing|own) captions\b", words, re.IGNORECASE):
        values["captioner"] = "existing"
    elif re.search(r"\bmeasured captions\b", words, re.IGNORECASE):
        values["captioner"] = "measured"
    return values
