"""Checks of a caption's claims about sound against what was measured and transcribed."""

import re
from collections.abc import Callable

from tools.caption.lint.checks import CaptionCheck, LintContext
from tools.plain_text import plain_text

_SPEECH = (
    r"says?|saying|said|speaks?|speaking|spoken|talks?|talking|whispers?|whispering|shouts?|shouting|yells?|narrat\w+"
    r"|dialogue|speech|conversation|voice-?over|voices?|sings?|singing|sung|chants?"
)
_MUSIC = r"music\w*|songs?|melod\w+|soundtrack|tunes?|orchestra\w*|sings?|singing"
_SOUND = (
    r"sounds?|audio|audibl[ey]|heard|hears?|nois\w+|rustl\w+|hum(?:s|ming)?|footsteps|ambien\w+|echo\w*|bark(?:s|ing)|"
    r"chirp\w*|rumbl\w+|roar\w*|hiss\w*|buzz\w*|crackl\w*|click\w*|clang\w*|splash\w*|thud\w*|whir\w*|birdsong"
    r"|applause|laughter|silence|silent|quiet\w*|reverb\w*|loud\w*"
)
_NEGATION = re.compile(
    r"\b(?:no|not|without|never|nobody|no one|neither|nor|free of|lacks?|absence of|isn(?:'|’)t|silent|muted)\b[^.;]*$",
    re.IGNORECASE,
)
_ANIMALS = (
    r"birds?|songbirds?|robins?|sparrows?|larks?|nightingales?|blackbirds?|finch(?:es)?|canar(?:y|ies)|thrush(?:es)?"
    r"|wrens?|warblers?|parrots?|owls?|cockerels?|roosters?|crickets?|cicadas?|grasshoppers?|insects?|frogs?|toads?|whales?"
)
_OF_ANIMALS = re.compile(  # "birds sing", "crickets are singing", "singing birds", "the song of a lark"
    rf"\b(?:{_ANIMALS})\b(?:\s+\w+){{0,3}}?\s+(?:sings?|singing|sang|songs?|chants?)\b"
    rf"|\b(?:singing|songs? of)(?:\s+\w+){{0,2}}?\s+(?:{_ANIMALS})\b",
    re.IGNORECASE,
)
_QUIET_WORDS = frozenset({"silence", "silent", "quiet", "quietly", "audio"})
LEAST_SPEECH_S = 0.3
"""Less measured speech than this counts as none."""


def claimed(text: str, words: str) -> str | None:
    """Return the first of `words` (a pattern) that the caption claims; what it denies ("no music") is no claim."""
    unquoted = re.sub(r"[\"“«][^\"”»]*[\"”»]", lambda match: " " * len(match[0]), text)
    for match in re.finditer(rf"\b(?:{words})\b", unquoted, re.IGNORECASE):
        clause = re.split(r"[.;!?]", unquoted[: match.start()])[-1]
        if match[0].lower() not in _QUIET_WORDS and not _NEGATION.search(clause):
            return match[0]
    return None


def mentions_sound(text: str) -> bool:
    """True if the caption says anything of sound at all, its absence included."""
    return bool(re.search(rf"\b(?:{_SPEECH}|{_MUSIC}|{_SOUND})\b", text, re.IGNORECASE))


def is_quoted(transcript: str, text: str) -> bool:
    """True if the words of the transcript stand in the caption, punctuation and case aside."""
    return _letters(transcript) in _letters(text)


def with_quote(caption: str, spoken: str) -> str:
    """Return the caption with what is spoken quoted at its end."""
    quoted = plain_text(spoken).replace('"', "'")
    return f'{caption.rstrip()} A voice says, "{quoted}"'.strip()


def _claimed_of_people(text: str, words: str) -> str | None:
    """The first of `words` that the caption claims of anything but an animal: a bird's song is no singing voice."""
    return claimed(_OF_ANIMALS.sub(lambda match: " " * len(match[0]), text), words)


def _claims_sound(text: str, context: LintContext) -> str | None:
    if context.clip.has_sound is not False and context.clip.kind != "image":
        return None
    word = claimed(text, f"{_SPEECH}|{_MUSIC}|{_SOUND}")
    reason = "a still picture has none" if context.clip.kind == "image" else "it was measured that the clip has none"
    return f"it tells of sound (“{word}”), but {reason}" if word else None


def _claims_speech(text: str, context: LintContext) -> str | None:
    seconds = context.clip.speech_s
    if context.clip.has_sound is not True or seconds is None or seconds >= LEAST_SPEECH_S:
        return None
    word = _claimed_of_people(text, _SPEECH)
    return f"it tells of speech (“{word}”), but {seconds:.1f} s of speech were measured" if word else None


def _claims_music(text: str, context: LintContext) -> str | None:
    word = _claimed_of_people(text, _MUSIC) if context.clip.has_sound and context.clip.music_likely is False else None
    return f"it tells of music (“{word}”), but none was measured" if word else None


def _missing(text: str, context: LintContext) -> str | None:
    if not context.wants_sound or context.clip.has_sound is not True or context.style in ("tags", "edit"):
        return None
    return None if mentions_sound(text) else "the clip has sound and the caption says nothing of it"


def _speech_not_quoted(text: str, context: LintContext) -> str | None:
    spoken = context.transcript
    if spoken is None or context.style in ("tags", "edit") or is_quoted(spoken.text, text):
        return None
    return f"what is spoken is not quoted: “{spoken.text[:60]}” ({spoken.origin})"


def _quote_speech(text: str, context: LintContext) -> str:
    assert context.transcript is not None
    return with_quote(text, context.transcript.text)


def _leaving_out(words: str, claims: Callable[[str, str], str | None]) -> Callable[[str, LintContext], str]:
    """Return a fix that leaves out the sentences which claim `words`."""

    def mend(text: str, _: LintContext) -> str:
        sentences = re.split(r"(?<=[.!?])\s+", text)
        return " ".join(sentence for sentence in sentences if claims(sentence, words) is None).strip()

    return mend


def _letters(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


SOUND_CHECKS: tuple[CaptionCheck, ...] = (
    CaptionCheck(
        "claims_sound",
        _claims_sound,
        _leaving_out(f"{_SPEECH}|{_MUSIC}|{_SOUND}", claimed),
        "The clip has no sound: write nothing about sound.",
    ),
    CaptionCheck(
        "claims_speech", _claims_speech, _leaving_out(_SPEECH, _claimed_of_people), "Nobody speaks in the clip."
    ),
    CaptionCheck(
        "claims_music", _claims_music, _leaving_out(_MUSIC, _claimed_of_people), "There is no music in the clip."
    ),
    CaptionCheck(
        "speech_not_quoted", _speech_not_quoted, _quote_speech, "Quote the transcript in full, in double quotes."
    ),
    CaptionCheck("missing_sound", _missing, hint="Describe what is heard as well."),
)
