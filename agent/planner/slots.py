"""Rules that read objectives, values, clips and directions from plain English. Knows nothing of the chat."""

import re
from typing import Any

from agent.planner.selections import selection_in
from trainer_core.objective import OBJECTIVE_NAMES

_CLIP = r"(?:video|clip|shot|footage|movie|film)s?"
_SOUND = r"(?:sound|audio|music|foley|voice|soundtrack)s?"
_STILL = r"(?:image|picture|photo|still)s?"
_SUBJECT = (
    r"(?:dog|cat|pet|horse|bird|puppy|kitten|character|mascot|hero|heroine|face|head|person|actor|actress|daughter|son|"
    r"wife|husband|mother|father|friend|child|kid|baby|product|car|bike|puppet|doll|toy|robot|sculpture|guitar)"
)

_OBJECTIVES: tuple[tuple[str, str], ...] = (
    ("v2a", rf"\b(?:add|make|generate|create|give|put)\b[^.]*\b{_SOUND}\b[^.]*\b(?:to|for|on|under)\b[^.]*\b{_CLIP}\b"),
    ("v2a", rf"\bgive\b[^.]*\b{_CLIP}\b[^.]*\b{_SOUND}\b"),
    ("v2a", rf"\b{_SOUND} for (?:my |the |our )?(?:silent |mute )?{_CLIP}\b|\bvideo[- ]to[- ](?:audio|sound|music)\b"),
    ("v2a", r"\bfoley\b|\bsound design\b|\bscore (?:my|the|our) (?:film|clips|footage|videos?)\b"),
    (
        "a2v",
        rf"\b{_CLIP} (?:from|for|to) (?:my |the |our )?{_SOUND}\b|\b(?:audio|sound|music|voice|song)[- ]to[- ]video\b"
        r"|\blip[- ]?sync|\bmusic video\b|\btalking head",
    ),
    ("v2v_ic", r"\bvideo[- ]to[- ]video\b|\brestyl|\bturn [^.]* into (?:a )?(?:cartoon|anime|painting|sketch)"),
    ("v2v_ic", r"\b(?:follow|from) (?:a |the |my )?(?:depth|pose|canny|edge)\b|\bupscal"),
    (
        "a2a_ic",
        r"\baudio[- ]to[- ]audio\b|\bvoice (?:conversion|changer)\b|\bdenois\w* (?:my |the )?(?:voice|sound|audio)",
    ),
    ("i2v", rf"\b{_STILL}[- ]to[- ]video\b|\banimat\w* (?:my |the |these |a |our )?(?:old )?{_STILL}\b"),
    ("i2v", rf"\bbring [^.]*\b{_STILL} to life\b|\bstart(?:s|ing)? from (?:a |an |one |my )?{_STILL}\b"),
    (
        "i2v",
        r"^(?:\w+ )?(?:(?:learn|train|teach|of|about|on|for|is|be|it's)\s+)*(?:it\s+)?(?:my|our)\s+(?:\w+\s+)?"
        rf"{_SUBJECT}\b",
    ),
    ("audio_inpainting", rf"\b(?:repair|fill|inpaint|restore|fix)\w*\b[^.]*\b{_SOUND}\b"),
    ("audio_extension", rf"\b(?:extend|continue|lengthen)\w*\b[^.]*\b{_SOUND}\b|\baudio extension\b"),
    ("audio_extension", rf"\bmake (?:my |the |our )?{_SOUND} longer\b"),
    ("video_extension", rf"\b(?:extend|lengthen)\w*\b[^.]*\b{_CLIP}\b|\bvideo extension\b"),
    ("video_extension", rf"\bmake (?:it|them|these|my {_CLIP}|the {_CLIP}|each {_CLIP}) longer\b|\blonger {_CLIP}\b"),
    ("video_extension", rf"\bcontinue (?:my |the |these |each )?{_CLIP}\b|\bwhat (?:happens|comes) (?:next|before)\b"),
    ("video_outpainting", r"\boutpaint|\b(?:widen|expand) (?:the |my )?(?:frame|picture|shot)s?\b"),
    ("video_outpainting", r"\b(?:portrait|vertical|4:3|square) (?:to|into) (?:landscape|wide ?screen|16:9)\b"),
    ("video_inpainting", r"\binpaint|\b(?:remove|erase) (?:an? |the )?(?:object|person|people|logo|watermark)s?\b"),
    (
        "t2a",
        rf"\b(?:only|just) (?:the )?{_SOUND}\b|\b{_SOUND}[- ]only\b|\btext[- ]to[- ](?:audio|sound|music|speech)\b",
    ),
    ("t2a", r"\b(?:no|without) (?:the )?(?:video|pictures?)\b"),
    ("t2v", r"\btext[- ]to[- ]video\b"),
)
VIDEO_ONLY = re.compile(
    r"\b(?:only|just) (?:the )?(?:video|pictures?|images?|visuals?)\b|\b(?:video|picture)[- ]only\b"
    r"|\b(?:video|picture) alone\b|\b(?:no|without|skip the|leave out the|drop the|mute the) (?:any )?(?:sound|audio)\b"
    r"|\bnur (?:das |die )?(?:bild|bilder|video)\b|\bohne (?:den )?ton\b|\bsolo (?:la imagen|el "
    r"v[ií]deo|imagen|il video|"
    r"l'immagine)|\bsin (?:sonido|audio)\b|\b(?:seulement|juste|uniquement) l'image\b|\bsans (?:le )?son\b"
    r"|\b(?:s[oó]|apenas) (?:a imagem|o v[ií]deo)|\bsem (?:som|[áa]udio)\b|\bsenza (?:audio|suono)\b"
    r"|映像だけ|映像のみ|音なし|音は(?:なし|いらない)|只要画面|不要声音|没有声音"
)
_WITH_SOUND = re.compile(
    r"\b(?:with|keep|include|use|train) (?:the |its |their )?(?:sound|audio) (?:too|as well|again|after all)\b"
    r"|\b(?:keep|include) (?:the |its |their )?(?:sound|audio)\b|\bsound (?:too|as well)\b"
    r"|^\W*with (?:sound|audio)\b(?: please| too)*\W*$"
    r"|\bwith (?:its|their|the|it'?s) (?:own )?(?:sound|audio)\b|\band (?:its|their|the) (?:own )?(?:sound|audio)\W*$"
    r"|\b(?:bring|put|turn|get|switch|want|need)\b[^.]*\b(?:sound|audio) (?:back|on|again)\b|\bmit (?:dem )?ton\b"
    r"|\bcon (?:el )?sonido\b|\bavec (?:le )?son\b|\bcom (?:o )?som\b|\bcon (?:l'audio|il suono)\b|音も|带声音|保留声音"
)
_DIRECTIONS: tuple[tuple[str, str], ...] = (
    (
        "before",
        r"\bbackwards?\b|\bat the (?:beginning|start|front)\b|\bwhat (?:came|comes|happened|happens|was) before\b",
    ),
    ("before", r"\b(?:comes?|came|goes) before\b|\blead(?:s|ing)? up to\b|^\W*before\W*$|\bprequel\b"),
    (
        "after",
        r"\bforwards?\b|\bat the end\b|\bwhat (?:comes|happens|came) (?:next|after)\b|^\W*after\W*$|\bafter it\b",
    ),
    ("after", r"\bcontinu(?:e|es|ing) forward\b"),
)

_NUMBER = r"(\d[\d,_]*(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+)(\s?k\b)?"
_SIGNED = r"(-?\s?\d[\d,_]*(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+)(\s?k\b)?"
_STEPS = r"(?:steps?\b|schritten?\b|pasos\b|étapes\b|etapes\b|passos\b|passi\b|stappen\b|ステップ|步)"
_RATE = r"(?:\blearning[- ]?rate|\blr|\blernrate|\btaux d'apprentissage|\btasa de aprendizaje|学習率|学习率)"
_RANK = r"(?:\brank|\brang|\brango|\brango|ランク|秩)"
_IS = r"\s*(?:from [\d.,e-]+ to|=|:|of|to|is|should be|at|auf|a|à|は|を|到|为)?\s*"
_VALUES: tuple[tuple[str, str], ...] = (
    ("steps", rf"(?:\b|(?<=\W))(?<!\d\s)(?<!\d){_STEPS}{_IS}{_SIGNED}"),
    ("steps", rf"(?<![A-Za-z0-9_.]){_SIGNED}\s*(?:training\s+|optimizer\s+)?{_STEPS}"),
    ("rank", rf"{_RANK}{_IS}{_SIGNED}"),
    ("rank", rf"(?<![\w.]){_SIGNED}\s*(?:as |for )?(?:the )?{_RANK}\b"),
    ("learning_rate", rf"{_RATE}{_IS}{_SIGNED}"),
    ("batch_size", rf"\bbatch(?:[- ]?size|es)?{_IS}{_SIGNED}"),
)
_VALUE_NAMES = {
    "steps": r"steps?|long|training|run",
    "rank": r"rank",
    "learning_rate": r"learning[- ]?rate|lr",
    "batch_size": r"batch(?:[- ]?size)?",
}
AMOUNTS = frozenset(_VALUE_NAMES)
"""Values that may be more or less: `vague_value` returns one of them where nobody says how much."""
_FACTORS: tuple[tuple[float, str], ...] = (
    (2.0, r"double|twice(?: as many| as long| the)?|two times"),
    (0.5, r"half|halve"),
    (3.0, r"triple|three times"),
    (0.1, r"a tenth of|ten times (?:lower|less|smaller)"),
    (10.0, r"ten times"),
)
_VAGUE = (
    r"more|fewer|less|higher|lower|bigger|smaller|larger|raise|increase|decrease|reduce|longer|shorter|faster|slower|"
    r"too (?:high|low|big|large|small|many|few|much|little|long|short)"
)
_POINTING = (
    r"(?:that|this|it|them|those|these|one|something|anything|whatever|him|her|his|its|so|das|"
    r"dies|eso|esto|ça|cela|isso|questo)"
)
_NO_NAME = (
    rf"(?!(?:{_POINTING}|for|is|are|which|word|words|please|on|in|and|or|the|a|an|to|should|must|"
    rf"mean|means|do|does|what|no|"
    r"not|my|your|same|be|as|when|if|with|of|at|too|now)\b)"
)
_TRIGGER = re.compile(
    rf"\btrigger(?:wort|[- ]?word| ?token)?\s*(?:=|:|(?:is|to|of|called|named|should be|shall be|"
    rf"will be|ist|es|est)\b:?)?\s*"
    rf"[\"'“‘`]?{_NO_NAME}(?P<behind>[\w-]+)"
    rf"|[\"'“‘`]?\b{_NO_NAME}(?P<before>[\w-]+)[\"'”’`]? (?:as|for|als|como|comme|come) (?:the |a |my |our |its )?"
    r"(?:(?:word|palabra|mot|parola) )?(?:trigger|auslöser|disparador|déclencheur)",
    re.IGNORECASE,
)
_POINTED_TRIGGER = re.compile(
    rf"\b{_POINTING} (?:word |one |name )?(?:as|for|als|como|comme|come) (?:the |a |my |our |its )?trigger"
    rf"|\btrigger(?:[- ]?word)?\s*(?:=|:|is|to|should be|shall be)?\s*\b{_POINTING}\W*$",
    re.IGNORECASE,
)
_WANTED_TRIGGER = re.compile(
    r"\b(?:set|use|add|give|make|choose|change|pick|have|want|need|invent)\b[^.]*\btrigger(?:[- ]?word)?\W*$",
    re.IGNORECASE,
)
_HOLD_OUT = re.compile(
    rf"\b(?:hold(?:ing)? (?:back|out)|keep|use|set aside)\s*(?:about |some )?{_NUMBER}\s*(?:%|percent)"
    r"(?=(?: of [^.]*)? (?:for|as|aside|apart|out)\b|\W*$|[.,;])"
)
_FORGET = re.compile(
    r"\b(?:forget(?: about)?|never mind|your own|the default|default|usual|you (?:choose|decide|"
    r"pick)|whatever you think for)\b"
    r"[^.,;]*?\b(?P<name>steps|rank|learning[- ]?rate|lr|batch(?:[- ]?size)?)\b"
)


def draft_values(text: str) -> dict[str, Any]:
    """Arguments of draft_config that lower-case `text` names."""
    values: dict[str, Any] = {}
    objective = objective_in(text)
    if objective is not None:
        values["objective"] = objective
    adapter = _adapter(text)
    if adapter is not None:
        values["adapter"] = adapter
    corrected = re.search(r"\bnot\b.*\bbut\b|\bfrom\b.*\bto\b|\bno[,:]", text) is not None
    values.update({name: numbers[-1 if corrected else 0] for name, numbers in numbers_in(text).items()})
    selection = selection_in(_TRIGGER.sub(" ", text))
    about_sound = any(one in ("is:silent", "is:sound") for chosen in selection.values() for one in chosen)
    if VIDEO_ONLY.search(text) and not about_sound:
        values["video_only"] = True
    elif not about_sound and _WITH_SOUND.search(text):
        values["video_only"] = False
    direction = direction_in(text)
    if direction is not None:
        values["direction"] = direction
    held = _HOLD_OUT.search(text)
    if held:
        values["held_out"] = _number(held[1], None) / 100
    forgotten = _FORGET.search(text)
    if forgotten and not numbers_in(text):
        spelled = forgotten["name"]
        values["forget"] = [next(name for name, words in _VALUE_NAMES.items() if re.fullmatch(words, spelled))]
    return values | selection


def numbers_in(text: str) -> dict[str, list[Any]]:
    """Every number that stands with the name of a value, in the order they stand."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for name, pattern in _VALUES:
        for match in re.finditer(pattern, text):
            number = _number(match[1], match[2])
            value = number if name == "learning_rate" or number != int(number) else int(number)
            seen = found.setdefault(name, [])
            if all(abs(match.start(1) - place) > len(match[1]) for place, _ in seen):
                seen.append((match.start(1), value))
    return {name: [value for _, value in sorted(pairs)] for name, pairs in found.items()}


def without_values(text: str) -> str:
    """Lower-case `text` without the numbers that stand with the name of a value, and without a trigger."""
    for pattern in (*(pattern for _, pattern in _VALUES), _TRIGGER.pattern):
        text = re.sub(rf"[,;]?\s*(?:\b(?:and|with|at)\s+)?(?:{pattern})", "", text)
    return " ".join(text.split()).strip(" ,;")


def relative_values(text: str) -> dict[str, float]:
    """Factors of values that shall be multiplied, such as "double the rank", by name."""
    found: dict[str, float] = {}
    for name, spelled in _VALUE_NAMES.items():
        for factor, words in _FACTORS:
            if re.search(rf"\b(?:{words})\b[^.,;]*\b(?:{spelled})\b", text):
                found.setdefault(name, factor)
    return found


def added_values(text: str) -> dict[str, float]:
    """What shall be added to a value, such as "400 more steps" or "100 steps less", by name."""
    found: dict[str, float] = {}
    for name, spelled in _VALUE_NAMES.items():
        named = r"steps?" if name == "steps" else spelled
        match = re.search(
            rf"{_NUMBER} (?P<sign>more|extra|additional|further|fewer|less) (?:training )?(?:{named})\b"
            rf"|{_NUMBER} (?:{named}) (?P<sign_after>more|extra|longer|fewer|less|shorter)\b"
            rf"|\b(?P<verb>add|subtract|take away) {_NUMBER} (?:more )?(?:{named})\b",
            text,
        )
        if match:
            digits = next(index for index in (1, 4, 8) if match[index])
            fewer = (match["sign"] or match["sign_after"] or match["verb"]) in _FEWER
            found[name] = _number(match[digits], match[digits + 1]) * (-1 if fewer else 1)
    return found


_FEWER = frozenset({"fewer", "less", "shorter", "subtract", "take away"})


def vague_value(text: str) -> str | None:
    """The value that shall be more or less, where nobody says how much."""
    for name, spelled in _VALUE_NAMES.items():
        if name == "steps":
            spelled = r"steps?|training"
        if re.search(rf"\b(?:{_VAGUE})\b[^.,;]*\b(?:{spelled})\b|\b(?:{spelled})\b[^.,;]*\b(?:{_VAGUE})\b", text):
            return name
    return "steps" if re.search(r"\btrain (?:it |them )?(?:longer|shorter|more|less)\b", text) else None


def objective_in(text: str) -> str | None:
    """The objective that lower-case `text` names or describes."""
    for name in sorted(OBJECTIVE_NAMES, key=len, reverse=True):
        if re.search(rf"\b{name.replace('_', '[ _]')}\b", text):
            return name
    return next((name for name, pattern in _OBJECTIVES if re.search(pattern, text)), None)


def direction_in(text: str) -> str | None:
    return next((name for name, pattern in _DIRECTIONS if re.search(pattern, text)), None)


def caption_values(words: str) -> dict[str, Any]:
    """Arguments of caption_clips that `words` name; a trigger keeps its case."""
    values: dict[str, Any] = {}
    trigger = _TRIGGER.search(words)
    if trigger and not _POINTED_TRIGGER.search(words):
        values["trigger"] = trigger["behind"] or trigger["before"]
    if re.search(r"\b(?:my|existing|own) captions\b", words, re.IGNORECASE):
        values["captioner"] = "existing"
    elif re.search(r"\bmeasured captions\b", words, re.IGNORECASE):
        values["captioner"] = "measured"
    return values


def lacks_trigger(words: str) -> bool:
    """Whether `words` want a trigger without naming the word: "use that as the trigger"."""
    wanted = _POINTED_TRIGGER.search(words) or _WANTED_TRIGGER.search(words)
    return wanted is not None and "trigger" not in caption_values(words)


def contradiction_in(text: str) -> str | None:
    """What two things in one sentence exclude each other, in words; None when nothing does."""
    for name, numbers in numbers_in(text).items():
        distinct = sorted(set(numbers))
        if len(distinct) > 1 and not re.search(r"\bnot\b|\binstead\b|\bfrom\b|\brather than\b", text):
            return f"{name.replace('_', ' ')} {' and '.join(str(number) for number in distinct)}"
    sound_only = re.search(rf"\b(?:only|just) (?:the )?{_SOUND}\b|\b{_SOUND}[- ]only\b", text)
    if sound_only and VIDEO_ONLY.search(text):
        return "only the picture and only the sound"
    directions = {name for name, pattern in _DIRECTIONS if re.search(pattern, text)}
    if len(directions) > 1 and not re.search(r"\bnot\b|\binstead\b", text):
        return "what comes before the clip and what comes after it"
    return None


def _adapter(text: str) -> str | None:
    if re.search(r"\bic[- ]lora\b", text):
        return "ic-lora"
    if re.search(r"\bfull (?:fine[- ]?tun\w*|training|model)\b|\ball (?:the )?weights\b", text):
        return "full"
    return "lora" if re.search(r"\blora\b", text) else None


def _number(digits: str, thousands: str | None) -> float:
    return float(re.sub(r"[,_\s]", "", digits)) * (1000 if thousands else 1)
