"""Linting of all captions, with the checks across them: duplicates, and traits that every caption names."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tools.caption.lint.checks import CHECKS, CaptionCheck, LintContext
from tools.caption.lint.sound_checks import SOUND_CHECKS

ALL_CHECKS: dict[str, CaptionCheck] = {check.id: check for check in (*CHECKS[:-2], *SOUND_CHECKS, *CHECKS[-2:])}
SET_HINTS = {
    "duplicate": "Name what sets this clip apart from the others: another action, framing, place or moment.",
    "identity_leak": "Don't describe what never changes about the subject.",
}
LINT_IDS = frozenset({*ALL_CHECKS, *SET_HINTS})
MENDED_AT_ONCE = frozenset({"markdown", "headings", "boilerplate", "doubled_trigger", "speech_not_quoted"})
"""Fixes of form that a machine's caption gets unasked; what it claims is left for a person to see, flagged."""
SERIOUS = frozenset(
    {"empty", "refusal", "leaked_prompt", "instruction_like", "language", "duplicate"}
    | {"claims_sound", "claims_speech", "claims_music", "claims_one_shot", "identity_leak"}
)
"""A machine's caption with one of these needs a person's eye."""

MOST_SHARED = 0.5
"""A trait named in more than this share of the captions binds the subject to the word."""
FEWEST_FOR_TRAITS = 4
_TRAIT_NOUNS = (
    "hair|eyes?|beard|moustache|mustache|freckles|glasses|skin|scars?|tattoos?|complexion|dimples|eyebrows?|nose|ears?|"
    "fur|coat|snout|tail|whiskers|mane|stripes|spots|build|face|cheekbones|lips|wrinkles|ponytail|braids?|curls|bangs"
)
_TRAIT = re.compile(
    rf"\b((?:(?!with|and|the|his|her|their|its|a|an|of|in|on|has|have|into|over)[a-z-]+\s+){{1,2}})({_TRAIT_NOUNS})\b"
    r"|\b([a-z]+-(?:haired|eyed|bearded|skinned|faced|furred))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class CaptionFinding:
    """Something wrong with a caption; `mends` says whether its fix edits the words alone."""

    id: str
    message: str
    mends: bool


def lint_captions(captions: Sequence[tuple[str, LintContext]], *, identity: bool) -> list[list[CaptionFinding]]:
    """Return what is wrong with each caption, alone and among the others."""
    found = [lint_caption(text, context) for text, context in captions]
    texts = [text for text, _ in captions]
    for index, message in _duplicates(texts).items():
        found[index].append(CaptionFinding("duplicate", message, mends=False))
    if identity:
        traits = invariant_traits(texts)
        for index, text in enumerate(texts):
            named = [trait for trait in traits if trait in traits_of(text)]
            if named:
                words = (
                    f"{', '.join(named)}: named in most captions, so the look binds to these words, not to the trigger"
                )
                found[index].append(CaptionFinding("identity_leak", words, mends=True))
    return found


def lint_caption(text: str, context: LintContext) -> list[CaptionFinding]:
    """Return what is wrong with one caption; an empty one or a refusal needs no further words."""
    found: list[CaptionFinding] = []
    for check in ALL_CHECKS.values():
        message = check.find(text, context)
        if message is not None:
            found.append(CaptionFinding(check.id, message, check.mend is not None))
        if found and found[-1].id in ("empty", "refusal"):
            break
    return found


def mended(
    text: str, context: LintContext, *, traits: Sequence[str] = (), only: Collection[str] = LINT_IDS
) -> tuple[str, list[str]]:
    """Return the caption with every fix made that edits words alone, and the ids of those fixes.

    A fix that would leave nothing of the caption isn't made: it stays flagged, for a person or another try.
    """
    made: list[str] = []
    for check in ALL_CHECKS.values():
        if check.id not in only or check.mend is None or check.find(text, context) is None:
            continue
        better = check.mend(text, context)
        if better != text and any(character.isalnum() for character in better):
            text = better
            made.append(check.id)
    without = without_traits(text, traits)
    return without, made if without == text else [*made, "identity_leak"]


def hint_for(ids: Sequence[str]) -> str:
    """Return what to tell the captioner when it writes a caption with these findings again."""
    hints = [ALL_CHECKS[name].hint if name in ALL_CHECKS else SET_HINTS.get(name, "") for name in ids]
    return " ".join(dict.fromkeys(hint for hint in hints if hint))


def invariant_traits(texts: Sequence[str]) -> list[str]:
    """Return the traits (such as "red hair") that more than MOST_SHARED of the captions name, most frequent first."""
    if len(texts) < FEWEST_FOR_TRAITS:
        return []
    counts = Counter(trait for text in texts for trait in traits_of(text))
    return [trait for trait, count in counts.most_common() if count > MOST_SHARED * len(texts)]


def traits_of(text: str) -> set[str]:
    """The traits a caption names, as adjective and noun ("long red hair" gives "red hair" too)."""
    found: set[str] = set()
    for adjectives, noun, compound in _TRAIT.findall(text.lower()):
        if compound:
            found.add(f"{compound.split('-')[0]} {_NOUN_OF.get(compound.split('-')[1], compound.split('-')[1])}")
        for adjective in adjectives.split():
            found.add(f"{adjective} {noun}")
    return found


def without_traits(text: str, traits: Sequence[str]) -> str:
    """Return the caption without phrases that name these traits: "with red hair", "red-haired", "her red hair"."""
    for trait in traits:
        adjective, noun = (re.escape(word) for word in trait.split(" ", 1))
        phrase = rf"(?:[\w-]+\s+)?{adjective}\s+(?:[\w-]+\s+)?{noun}"
        text = re.sub(rf",?\s*\b(?:with|wearing|sporting)\s+(?:a\s+|an\s+)?{phrase}(?=[\s,.;])", "", text, flags=re.I)
        text = re.sub(rf"\b{adjective}-(?:{'|'.join(_NOUN_OF)})\s+", "", text, flags=re.I)
        text = re.sub(rf"\b{adjective}\s+(?={noun}\b)", "", text, flags=re.I)
    return re.sub(r"\s+([,.;])", r"\1", re.sub(r"\s{2,}", " ", text)).strip()


_NOUN_OF = {"haired": "hair", "eyed": "eyes", "bearded": "beard", "skinned": "skin", "faced": "face", "furred": "fur"}


def _duplicates(texts: Sequence[str]) -> dict[int, str]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        key = " ".join(re.findall(r"\w+", text.lower()))
        if key:
            groups[key].append(index)
    return {
        index: f"{len(indices)} clips share this caption"
        for indices in groups.values()
        if len(indices) > 1
        for index in indices
    }
