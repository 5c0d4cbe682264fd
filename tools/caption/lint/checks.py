"""Checks of one training caption at a time: each has an id, its finding and its fix.

A fix is either words edited in place (`mend`), or one more sentence for the captioner when it writes again (`hint`).
What shows only between captions is in lint_set.py, what sound a caption claims in lint_sound.py.
"""

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

from tools.caption.captioners.captioner import ClipFile, Style, Transcript
from tools.plain_text import plain_text


def estimated_tokens(text: str) -> int:
    """About how many tokens a text encoder makes of `text`: four characters each, wide characters one each."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return wide + (len(text) - wide + 3) // 4


@dataclass(frozen=True)
class LintContext:
    """Facts that a caption is checked against. `shots` is the number of shots where it was measured."""

    style: Style
    clip: ClipFile
    trigger: str | None = None
    instruction: str = ""
    transcript: Transcript | None = None
    wants_sound: bool = True
    shots: int | None = None
    most_tokens: int = 1024
    tokens: Callable[[str], int] = field(default=estimated_tokens)


@dataclass(frozen=True)
class CaptionCheck:
    """One thing to look for. `find` returns what is wrong, or None."""

    id: str
    find: Callable[[str, LintContext], str | None]
    mend: Callable[[str, LintContext], str] | None = None
    hint: str = ""


FEWEST_TOKENS: dict[Style, int] = {"ltx": 40, "short": 8, "tags": 8, "audio": 16, "edit": 8}
MOST_TOKENS: dict[Style, int] = {"ltx": 400, "short": 80, "tags": 160, "audio": 240, "edit": 140}
"""Twice the longest that the style's instruction asks for; a text encoder's own limit lies above."""

_REFUSAL = re.compile(
    r"^\W*(?:i(?:'|’)?m sorry|i am sorry|sorry,|i apologi[sz]e|i can(?:'|’)?t |i cannot |i(?:'|’)m (?:unable|not able)"
    r"|i am (?:unable|not able)|unfortunately, i|as an ai\b|as a language model|i(?:'|’)m an ai\b|i won(?:'|’)t )"
    r"|\b(?:can(?:'|’)?t|cannot|unable to|won(?:'|’)t) (?:assist|help|comply|describe this|caption this|process|view|"
    r"see the)",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^\s*(?:(?:sure|certainly|of course|here(?:'|’)?s|here is|okay|ok)\b[^.:!\n]*[.:!]\s*)?"
    r"(?:(?:in (?:this|the) (?:short )?(?:video|clip|image|scene|footage|audio)(?: clip)?,?\s+(?:we (?:can )?see\s+)?)"
    r"|(?:(?:this|the) (?:short )?(?:video|clip|image|picture|photo|footage|scene|recording|audio)(?: clip)?\s+"
    r"(?:shows?|depicts?|features?|captures?|presents?|begins? with|opens? with|is of|displays?|contains?)\s+)"
    r"|(?:we (?:can )?(?:see|hear)\s+)|(?:(?:the )?caption\s*:\s*))",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"^\s*(?:sure|certainly|of course|here(?:'|’)?s|here is|okay|ok)\b[^.:!\n]*[.:!]\s*", re.IGNORECASE
)
_CLOSING = re.compile(
    r"\s*(?:let me know if|i hope this|feel free to|would you like|is there anything)\b[^.!?]*[.!?]?\s*$", re.IGNORECASE
)
_HEADING = re.compile(
    r"(?:^|(?<=\n)|(?<=[.!?] ))\s*(?:#{1,6}\s*)?(?:\*\*|__)?(?:\d+[.)]\s*)?"
    r"(visuals?|audio|sounds?(?:scape)?|speech|dialogue|camera(?: movement)?|setting|scene(?: description)?|subject"
    r"|action|lighting|style|mood|background|description|summary|caption|shot type|details?|music|appearance|tags)"
    r"(?:\*\*|__)?\s*:(?:\*\*|__)?\s+(?=\S)",
    re.IGNORECASE,
)
_MARKDOWN = re.compile(r"\*\*(.+?)\*\*|__(.+?)__|`([^`]+)`|^\s{0,3}#{1,6}\s+|^\s*[-*+]\s+|^\s*\d+\.\s+|^\s*>\s+", re.M)
_ENGLISH = re.compile(
    r"\b(?:the|of|and|with|in|on|at|to|from|by|over|under|into|across|behind|is|are|has|its|it|his|her|their|they|he|she"
    r"|as|while|then|that|which|an|for|a|near|toward|through|around|against|up|down|out)\b"
)
_INSTRUCTION_LIKE = re.compile(
    r"ignore (?:all |any |the )?(?:previous|prior|above|earlier)|disregard (?:all|any|the|previous)|system prompt"
    r"|you are (?:now\b|an? (?:ai|assistant|helpful|different)\b)|new instructions?\s*:|</?(?:transcript|data|state|"
    r"system|tool_call|function)\b|\"(?:tool|function|arguments|name)\"\s*:|<\|[a-z_]+\|>|https?://",
    re.IGNORECASE,
)


def _empty(text: str, _: LintContext) -> str | None:
    return None if any(character.isalnum() for character in text) else "the caption is empty"


def _refusal(text: str, _: LintContext) -> str | None:
    return "the model refused instead of describing" if _REFUSAL.search(text[:240]) else None


def _truncated(text: str, context: LintContext) -> str | None:
    if context.style == "tags" or not text:
        return None
    end = text.rstrip()[-1:]
    return None if end in ".!?…\"'”’)»。！？」" else f"the caption ends in the middle: “…{text.rstrip()[-30:]}”"


def _mend_truncated(text: str, _: LintContext) -> str:
    ends = [match.end() for match in re.finditer(r"[.!?…。！？][\"'”’)]?(?=\s|$)", text)]
    return text[: ends[-1]] if ends else text.rstrip(" ,;:–-") + "."


def _opening(text: str, _: LintContext) -> str | None:
    match = _OPENING.match(text) or _POLITE.match(text) or _CLOSING.search(text)
    return f"boiler-plate: “{match[0].strip()[:40]}”" if match else None


def _mend_opening(text: str, _: LintContext) -> str:
    mended = _CLOSING.sub("", text)
    for pattern in (_POLITE, _POLITE, _OPENING, _OPENING):
        mended = pattern.sub("", mended, count=1)
    return mended[:1].upper() + mended[1:] if mended else text


def _short(text: str, context: LintContext) -> str | None:
    tokens, fewest = context.tokens(text), FEWEST_TOKENS[context.style]
    if context.clip.kind == "image":
        fewest //= 2
    return f"{tokens} tokens are too few for the style {context.style}: {fewest} or more" if tokens < fewest else None


def _long(text: str, context: LintContext) -> str | None:
    tokens, most = context.tokens(text), min(MOST_TOKENS[context.style], context.most_tokens)
    return f"{tokens} tokens are too many for the style {context.style}: {most} at most" if tokens > most else None


def _mend_long(text: str, context: LintContext) -> str:
    """Leave out whole sentences (or tags) from the end until it fits."""
    most = min(MOST_TOKENS[context.style], context.most_tokens)
    parts = re.split(r"(?<=,)\s+" if context.style == "tags" else r"(?<=[.!?])\s+", text)
    while len(parts) > 1 and context.tokens(" ".join(parts)) > most:
        parts.pop()
    return " ".join(parts).rstrip(",")


def _headings(text: str, context: LintContext) -> str | None:
    match = None if context.style == "tags" else _HEADING.search(text)
    return f"a section heading: “{match[0].strip()}”" if match else None


def _mend_headings(text: str, _: LintContext) -> str:
    without = _HEADING.sub(" ", text)
    sentences = re.split(r"(?<=[.!?])\s+", without.strip())
    return " ".join(sentence[:1].upper() + sentence[1:] for sentence in sentences)


def _leaked(text: str, context: LintContext) -> str | None:
    wanted = set(_shingles(context.instruction))
    shared = [words for words in _shingles(text) if words in wanted]
    return f"the instruction leaked into the caption: “{shared[0]}”" if shared else None


def _mend_leaked(text: str, context: LintContext) -> str:
    return _without_sentences(text, lambda sentence: _leaked(sentence, context) is not None)


def _shingles(text: str, length: int = 7) -> list[str]:
    words = re.findall(r"[^\W_]+", text.lower())
    return [" ".join(words[start : start + length]) for start in range(len(words) - length + 1)]


def _markdown(text: str, _: LintContext) -> str | None:
    match = _MARKDOWN.search(text)
    return f"Markdown: “{match[0].strip()[:30]}”" if match else None


def _mend_markdown(text: str, _: LintContext) -> str:
    return plain_text(_MARKDOWN.sub(lambda match: match[1] or match[2] or match[3] or "", text))


def _language(text: str, context: LintContext) -> str | None:
    unquoted = re.sub(r"[\"“«„][^\"”»“]*[\"”»“]", " ", text)
    letters = [character for character in unquoted if character.isalpha()]
    latin = sum("LATIN" in unicodedata.name(character, "") for character in letters)
    if letters and latin < 0.8 * len(letters):
        return "the caption is not written in English"
    words = re.findall(r"[a-zA-Zà-ÿ']+", unquoted.lower())
    if context.style == "tags" or len(words) < 12:
        return None
    share = sum(_ENGLISH.fullmatch(word) is not None for word in words) / len(words)
    return "the caption doesn't read like English" if share < 0.12 else None


def _trigger(text: str, context: LintContext) -> str | None:
    count = len(_trigger_word(context.trigger).findall(text)) if context.trigger else 0
    return f"the trigger `{context.trigger}` stands {count} times; once is enough" if count > 1 else None


def _mend_trigger(text: str, context: LintContext) -> str:
    """Keep the first trigger alone."""
    assert context.trigger is not None
    word = _trigger_word(context.trigger)
    first = word.search(text)
    if first is None:
        return text
    rest = word.sub("", text[first.end() :])
    return re.sub(
        r"\s+([,.;:!?])", r"\1", re.sub(r"(?:^|(?<=\s))[,;]\s*|\s{2,}", " ", text[: first.end()] + rest)
    ).strip()


def _trigger_word(trigger: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)


def _instruction_like(text: str, _: LintContext) -> str | None:
    match = _INSTRUCTION_LIKE.search(text)
    if match is None and text.lstrip()[:1] in "{[":
        try:
            match = None if not isinstance(json.loads(text), dict | list) else re.match(r".*", text)
        except ValueError:
            match = None
    return f"it reads like an instruction or markup, not like a caption: “{match[0][:40]}”" if match else None


def _mend_instruction_like(text: str, context: LintContext) -> str:
    return _without_sentences(text, lambda sentence: _instruction_like(sentence, context) is not None)


def _one_shot(text: str, context: LintContext) -> str | None:
    claims = re.search(r"\b(?:single|one|unbroken|continuous)(?: continuous)? (?:shot|take)\b", text, re.IGNORECASE)
    if claims and context.shots is not None and context.shots > 1:
        return f"it says “{claims[0]}”, but {context.shots} shots were measured"
    return None


def _mend_one_shot(text: str, context: LintContext) -> str:
    return _without_sentences(text, lambda sentence: _one_shot(sentence, context) is not None)


def _without_sentences(text: str, is_wrong: Callable[[str], bool]) -> str:
    return " ".join(sentence for sentence in re.split(r"(?<=[.!?])\s+", text) if not is_wrong(sentence)).strip()


CHECKS: tuple[CaptionCheck, ...] = (
    CaptionCheck("empty", _empty, hint="Describe what is there, however plain it is."),
    CaptionCheck("refusal", _refusal, hint="This is ordinary footage. Describe only what can be seen and heard in it."),
    CaptionCheck("leaked_prompt", _leaked, _mend_leaked, "Write the caption itself; repeat nothing of these rules."),
    CaptionCheck(
        "instruction_like", _instruction_like, _mend_instruction_like, "Writing in the picture is to be quoted."
    ),
    CaptionCheck("markdown", _markdown, _mend_markdown, "Use no Markdown."),
    CaptionCheck("headings", _headings, _mend_headings, "Write one text without headings."),
    CaptionCheck("boilerplate", _opening, _mend_opening, "Begin with the subject itself."),
    CaptionCheck("truncated", _truncated, _mend_truncated, "End with a whole sentence; be a little shorter."),
    CaptionCheck("language", _language, hint="Write in English; only quoted speech keeps its language."),
    CaptionCheck("doubled_trigger", _trigger, _mend_trigger, ""),
    CaptionCheck("claims_one_shot", _one_shot, _mend_one_shot, "The clip has cuts: it is not one continuous shot."),
    CaptionCheck("too_long", _long, _mend_long, "Be shorter: keep to what matters most."),
    CaptionCheck("too_short", _short, hint="Be more thorough: movements, looks, surroundings, light, camera."),
)
"""In the order in which fixes are made: what takes words away comes before what counts them."""
