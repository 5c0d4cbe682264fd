"""Instructions for captioners: the style's text with the user's notes, and the words beside one clip's frames.

The one place in tools/ that reads prompts/: the texts are the captioner's input, and their digest is what a caption
carries as its instruction version.
"""

import hashlib
import re

from prompts.fence import fence
from prompts.render import section
from tools.caption.captioners.captioner import CaptionRequest, Instruction, Style
from tools.plain_text import plain_text, shortened
from tools.project import ProjectFacts

MAX_TRANSCRIPT_CHARACTERS = 1200
_IDENTITY = re.compile(
    r"\b(character|person|face|faces|actor|actress|likeness|identity|myself|mascot|my (?:dog|cat|pet|son|daughter|wife"
    r"|husband|friend|product|car))\b",
    re.IGNORECASE,
)


def default_style(objective: str | None) -> Style:
    """The style an objective trains with: sound alone for audio objectives, the change for in-context ones."""
    if objective and objective.endswith("_ic"):
        return "edit"
    if objective == "t2a" or (objective or "").startswith("audio_"):
        return "audio"
    return "ltx"


def learns_identity(facts: ProjectFacts) -> bool:
    """True if the goal is a subject that must be bound to the trigger rather than to words for its looks."""
    return bool(_IDENTITY.search(facts.goal))


def make_instruction(style: Style, *, identity: bool, notes: list[str]) -> Instruction:
    """Return the system text of a style with what the user added, and its version.

    The version is the style, what was asked for (identity, notes) and the text itself, the latter two as
    digests: a new text of ours alone doesn't make captions that were paid for count as old.
    """
    text = section(
        "caption_styles",
        "system",
        style=section("caption_styles", style),
        identity=identity,
        notes=notes,
    )
    asked = repr((identity, notes))
    return Instruction(text, style, f"{style}-{_short_digest(asked)}-{_short_digest(text)}")


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:6]


def clip_words(request: CaptionRequest, *, sees: bool, hears: bool) -> str:
    """Return the words beside one clip's pictures and sound; what is spoken stands in a fence nobody can close."""
    clip = request.clip
    spoken = request.transcript
    quoted = shortened(plain_text(spoken.text), MAX_TRANSCRIPT_CHARACTERS) if spoken else ""
    return section(
        "caption_styles",
        "clip",
        kind=clip.kind,
        frames=len(request.frames) if sees else 0,
        reference=len(request.reference) if sees else 0,
        duration=f"{clip.duration_s:.1f}",
        times=", ".join(f"{frame.time_s:.1f}" for frame in request.frames),
        silent=clip.has_sound is False,
        speechless=clip.speech_s is not None and clip.speech_s <= 0.0,
        musicless=clip.music_likely is False,
        hears=hears and request.sound is not None,
        hears_reference=hears and request.reference_sound is not None,
        transcript=fence("transcript", quoted) if quoted else "",
        language=plain_text(spoken.language)[:20] if spoken and spoken.language else "",
        hint=request.hint,
    )
