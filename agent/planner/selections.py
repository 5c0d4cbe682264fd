"""The clips that a sentence takes in or leaves out, as references of tools/draft/references.py."""

import re
from functools import cache
from pathlib import Path

import yaml

_THE = (
    r"(?:the |these |those |all the |all of the |any |my |os |as |los |las |les |le |i |gli |die |den |das |de |het )?"
)
_MEDIA = (
    r"(?:clips?|videos?|vídeos?|shots?|files?|takes?|recordings?|footage|dateien|aufnahmen|plans|"
    r"fichiers|動画|クリップ|视频)"
)
_ONES = rf"(?:ones?|{_MEDIA}|photos?|images?|stills?)"
_OUT = (
    r"(?:skip|leave out|leave away|leave|drop|exclude|ignore|remove|delete|discard|omit|lose|"
    r"ditch|forget|throw out|throw away|"
    r"kick out|get rid of|cut out|don'?t (?:use|take|train on|include)|do not (?:use|take|train on|include)|without|"
    r"not|no|except(?: for)?|but not|minus|"
    r"überspring\w*|ohne|lass|lasse|nicht|sans|saute|ignore|enl[eè]ve|sin|salta|omite|quita|sem|pula|tira|senza|"
    r"escludi|zonder)"
)
_ALL_BUT = (
    r"(?:(?:use |take |keep |train on )?(?:all|everything|every clip|all clips|all of them|all the clips|alle|todos|"
    r"tous|todas|tutti)(?: of them)? (?:but|except(?: for)?|apart from|besides|other than|without|"
    r"minus|au[sß]er|excepto|menos|"
    r"sauf|exceto|tranne))"
)
_ONLY = (
    r"(?:(?:use |take |keep |train on |train |train with |with )?(?:only|just|nothing but|solely)"
    r"(?: use| take| train on| train| keep)?|stick to|nur|nimm nur|solo|s[oó]lo|usa solo|seulement|uniquement|juste|"
    r"só|apenas|soltanto|alleen)"
)
_REST = r"(?P<what>(?:[^.;!?]|\.(?=\S))*)"
_USE = r"(?:use|take(?! \d)|train on|train with|keep|go with|nimm|verwende|usa|utilise|prends|gebruik)"
_BACK = re.compile(
    r"\b(?:put|take|bring|use|include|add|keep|want)\b (?P<what>[^.;!?]*?) ?\b(?:back(?: in)?|"
    r"again|after all|too|as well|in again)\b"
    r"|\b(?:but keep|also (?:use|take|include|keep|add)|include|add) (?P<also>(?:[^.;!?]|\.(?=\S))+)"
)
_ALL = re.compile(
    r"\b(?:use|take|train on|include|keep) (?:all|every(?:thing)?) ?(?:of )?(?:the |my |them)?\s*"
    r"(?:clips?|videos?|again|after all)?(?:\W*$|[.,;!])|^\W*(?:all of them|all clips|all the clips|everything)\W*$"
    r"|^\W*(?:nimm |benutze |verwende )?alle(?: clips| videos)?\W*$|^\W*(?:usa )?todos(?: los clips| os clipes)?\W*$"
    r"|^\W*(?:utilise |prends )?tous les clips\W*$|^\W*(?:usa )?tutte le clip\W*$"
    r"|^\W*(?:全部|すべて|全部使う|用全部)\W*$"
)
_NUMBERS = r"#?\d+(?:(?:\s*,\s*|\s*,?\s*(?:and|und|y|et|e|en|&)\s+|\s+)#?\d+)*"
_SUFFIXES = r"mp4|mov|mkv|webm|avi|m4v|mxf|wav|mp3|flac|ogg|png|jpe?g|webp|tiff?"
_NO_CLIP = (
    r"(?!(?:ltx|rank|step|h\.?26|fp|bf|int|mp|v)[-_]?\d|(?:image|img|text|video|audio|i|t|a|v|"
    r"av)2|[\w]+_(?:ic|extension|inpainting|outpainting)\b)"
)
_NAME = rf"(?<![\w.])(?:[^\s\"'“‘`,;]+?\.(?:{_SUFFIXES})\b|{_NO_CLIP}(?:[\w./*?-]*[_*][\w./*?-]*|[a-z]+-?\d+[\w./-]*))"
_WORD_BEFORE = re.compile(
    rf"(?:^|\b){_THE}(?:name[ds]? |called |titled )?[\"'“‘`]?(?P<word>[\w-]+)[\"'”’`]?\s+{_ONES}(?:\s|$)"
    rf"|\bwith [\"'“‘`]?(?P<within>[\w-]+)[\"'”’`]? in (?:the |their )?(?:file ?)?names?"
)
_NOT_A_NAME = frozenset(
    [
        "the",
        "these",
        "those",
        "all",
        "any",
        "my",
        "other",
        "same",
        "first",
        "last",
        "clip",
        "clips",
        "video",
        "videos",
        "shot",
        "shots",
        "file",
        "files",
        "ones",
        "one",
        "only",
        "just",
        "use",
        "few",
        "some",
        "many",
        "more",
        "less",
        "new",
        "old",
        "good",
        "best",
        "better",
        "which",
        "what",
        "whose",
        "it",
        "them",
        "this",
        "that",
        "and",
        "or",
        "but",
        "with",
        "to",
        "of",
        "in",
        "on",
        "for",
        "half",
        "every",
        "each",
    ]
)
_GROUPS: tuple[tuple[str, str], ...] = (
    ("first half", r"\bfirst half\b|\berste hälfte\b"),
    ("last half", r"\b(?:second|last|latter|other) half\b|\bzweite hälfte\b"),
    (
        "every 2",
        r"\bevery (?:other|second)\b|\bhalf (?:of )?(?:the |them|these |my )\s*(?:clips?|videos?|"
        r"footage)?|\bjede[sn]? zweite",
    ),
    ("every 3", r"\bevery third\b"),
)
_FIRST = re.compile(
    rf"\b(?P<side>first|last|ersten|erste|letzten|letzte|primeros|primeras|últimos|últimas|primi|prime|ultimi|ultime|"
    rf"premiers|premières|derniers|dernières|primeiros|eerste|laatste) (?P<count>\d+)\b"
    rf"|\b(?P<count_before>\d+) (?P<side_after>primeros|premiers|primeiros|últimos|derniers)\b"
    rf"|\b(?P<single>first|last) (?:one|{_MEDIA})\b|(?P<side_cjk>最初|最后|最後|前)の?(?P<count_cjk>\d+)"
)
_LAST = ("last", "letz", "últ", "ult", "dern", "laat", "最后", "最後")
_RANGE = re.compile(r"#?(?P<first>\d+)\s*(?:-|–|to|bis|through|a|à|al|until)\s*#?(?P<last>\d+)\b")
_LENGTH = re.compile(
    r"\b(?P<side>longer|shorter|over|under|above|below|more|less|länger|kürzer|plus longs?|plus "
    r"courts?) (?:than |als |que |de )?"
    r"(?P<seconds>\d+(?:\.\d+)?) ?(?:s|sec|secs|seconds?|sekunden|secondes|segundos|secondi)\b"
)
_LONGER = frozenset({"longer", "over", "above", "more", "länger", "plus long", "plus longs"})


_OUT_CJK = re.compile(r"除|外し|外す|飛ばし|飛ばす|抜い|使わない|跳过|不用|不要|去掉|排除")
_ONLY_CJK = re.compile(r"だけ|のみ|只用|只要|仅")
_POINTS_BACK = re.compile(r"\s*(?:it|them|that|those|these|this)(?: one| ones)?\s*(?:please|out|away)?\W*")
_POINTED_OUT = re.compile(
    r"\W*(?:(?:please|pls|just|no|ok|then|and)[\s,]+)*(?:skip|drop|leave out|exclude|ditch|lose|"
    r"throw out|kick out|only|use only|just use)"
    r"\s+(?:it|them|that|those|these|this|some)(?: ones?| out| please)*\W*"
)
_SAID_ALONE = re.compile(r"(?:[^\w*#]|\b(?:the|these|those|and|clips?|videos?|shots?|please|ok|okay|no|only)\b)*")


def selection_in(text: str) -> dict[str, list[str]]:
    """The clips that lower-case `text` (spelled numbers as digits) names: `skip`, `only` or `back`, each references.

    Both `skip` and `only` empty: all clips again. Nothing is returned where the sentence selects no clips.
    """
    if match := re.search(rf"\b{_ALL_BUT}\b{_REST}", text):
        found = references_in(match["what"])
        return {"skip": found} if found else {}
    if _ALL.search(text):
        return {"skip": [], "only": []}
    values: dict[str, list[str]] = {}
    if match := _BACK.search(text):
        found = references_in(match["what"] or match["also"] or "")
        if found:
            return {"back": found}
    only = re.search(rf"(?:^|(?<=\W)){_ONLY}\b{_REST}", text)
    kept = re.search(rf"(?:^|(?<=\W)){_USE}\b{_REST}", text)
    out = re.search(rf"(?:^|(?<=\W)){_OUT}\b{_REST}", text)
    taken = only if only is not None and references_in(only["what"]) else kept or only
    if taken is not None and _is_denied(text, taken.start()):
        taken = None
    if taken is not None:
        what = taken["what"] if out is None or out.start() < taken.start() else text[taken.start("what") : out.start()]
        found = references_in(what)
        if found:
            values["only"] = found
    if out is not None and _POINTS_BACK.fullmatch(out["what"]) and (found := references_in(text[: out.start()])):
        return {"skip": found}
    if out is not None:
        what = out["what"] if taken is None or taken.start() < out.start() else text[out.start("what") : taken.start()]
        found = references_in(what)
        if found:
            values["skip"] = found
    return values or _without_a_verb(text)


def _without_a_verb(text: str) -> dict[str, list[str]]:
    """Where the verb stands behind its object, and where clips are all that is said: "the first five"."""
    if _OUT_CJK.search(text):
        return {"skip": found} if (found := references_in(text)) else {}
    if _ONLY_CJK.search(text):
        return {"only": found} if (found := references_in(text)) else {}
    for pattern in (
        *(re.compile(one) for _, one in _GROUPS[:2]),
        _FIRST,
        re.compile(rf"\b{_MEDIA} {_RANGE.pattern}"),
        re.compile(_NAME),
    ):
        if (pattern.search(text)) and _SAID_ALONE.fullmatch(pattern.sub("", text)):
            return {"only": references_in(text)}
    return {}


def points_at_clips(text: str) -> bool:
    """Whether lower-case `text` leaves something out that only the sentence before names: "skip them"."""
    return _POINTED_OUT.fullmatch(text) is not None


def references_in(text: str) -> list[str]:
    """The references in the words behind "skip" or "only", in the order they stand; empty where they name no clip."""
    found: list[tuple[int, str]] = []
    rest = text
    for reference, pattern in _GROUPS:
        if match := re.search(pattern, rest):
            found.append((match.start(), reference))
            rest = _without(rest, match)
    for match in list(_FIRST.finditer(rest)):
        side = match["side"] or match["side_after"] or match["single"] or match["side_cjk"]
        count = match["count"] or match["count_before"] or match["count_cjk"] or "1"
        found.append((match.start(), f"{'last' if side.startswith(_LAST) else 'first'} {int(count)}"))
        rest = _without(rest, match)
    for match in list(_LENGTH.finditer(rest)):
        side = "longer" if match["side"] in _LONGER else "shorter"
        found.append((match.start(), f"{side} than {float(match['seconds']):g}"))
        rest = _without(rest, match)
    for match in list(re.finditer(_NAME, rest)):
        found.append((match.start(), match[0].strip("-.?")))
        rest = _without(rest, match)
    found += _numbers(rest) or []
    found += _traits(rest)
    if not found:
        match = _WORD_BEFORE.search(rest)
        word = (match["word"] or match["within"]) if match else None
        if match and word and word not in _NOT_A_NAME and not word.isdigit():
            found.append((match.start(), f"*{word}*"))
    return list(dict.fromkeys(reference for _, reference in sorted(found)))


def _numbers(text: str) -> list[tuple[int, str]]:
    """Numbers that mean clips: after a word for clips or a #, or the only thing said."""
    named = re.search(rf"(?:\b{_MEDIA}|\bnumbers?|\bnr\.?|\bno\.)\s*(?P<which>{_RANGE.pattern}|{_NUMBERS})", text)
    if named is None:
        named = re.fullmatch(rf"\W*(?:the )?(?P<which>{_RANGE.pattern}|{_NUMBERS})\W*", text) or re.search(
            r"(?P<which>#\d+(?:\D{1,5}#\d+)*)", text
        )
    if named is None:
        return []
    at, which = named.start("which"), named["which"]
    if match := _RANGE.fullmatch(which.strip()):
        return [(at, f"{match['first']}-{match['last']}")]
    return [(at + number.start(), number[0]) for number in re.finditer(r"\d+", which)]


def _traits(text: str) -> list[tuple[int, str]]:
    found = []
    for trait, pattern in _trait_patterns().items():
        if match := pattern.search(text):
            found.append((match.start(), f"is:{trait}"))
    kinds = {reference for _, reference in found}
    if "is:silent" in kinds:  # "with no sound" holds "sound", "no audio" holds "audio"
        found = [one for one in found if one[1] not in ("is:sound", "is:music")]
    return found


@cache
def _trait_patterns() -> dict[str, re.Pattern[str]]:
    """Where a trait's words speak of clips: before a word for them, after "that are", or as all that is said."""
    words = yaml.safe_load((Path(__file__).parent / "traits.yaml").read_text(encoding="utf-8"))
    patterns = {}
    for trait, spelled in words.items():
        any_word = "|".join(re.escape(word) for word in sorted(spelled, key=len, reverse=True))
        cjk = "|".join(re.escape(word) for word in spelled if ord(word[0]) >= 0x2E80)
        patterns[trait] = re.compile(
            rf"\b(?:{any_word})\s+(?:\w+\s+)?{_ONES}\b|{_ONES}\s+(?:that |which )?(?:are |is )?(?:\w+ "
            rf")?(?:{any_word})\b"
            rf"|\b(?:that are|which are|whatever is|anything|everything|what is|what's) (?:that is |that's "
            rf"|which is )?(?:too )?(?:{any_word})\b"
            rf"|\b(?:{any_word})\b(?=(?:,| and| or|,? und| et| y) [^.;]*{_ONES}\b)"
            rf"|^\W*{_THE}(?:{any_word})\W*(?:weg|aus|bitte|please)?\W*$"
            rf"|\b(?:and|or|und|y|et|e) {_THE}(?:{any_word})\b(?=\W*$| {_ONES})" + (rf"|(?:{cjk})" if cjk else "")
        )
    return patterns


def _is_denied(text: str, start: int) -> bool:
    """Whether "don't" or "not" stands right before: "don't use clip 3" takes nothing in."""
    return re.search(r"\b(?:don'?t|do not|not|never|nicht)\s*$", text[:start]) is not None


def _without(text: str, match: re.Match[str]) -> str:
    return text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]
