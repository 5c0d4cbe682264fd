"""Linting the captions of a project: what each is held against, and its flags and need for review as they come out."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tools.caption.captioners.captioner import ClipFile, Transcript
from tools.caption.captioners.instruction import default_style, learns_identity
from tools.caption.lint.checks import LintContext, estimated_tokens
from tools.caption.lint.set_checks import LINT_IDS, SERIOUS, lint_captions
from tools.caption.store.captions import CaptionEntry, CaptionFlag
from tools.inspect.report.report import Clip
from tools.project import Project

_DRAFT_FLAGS = frozenset({"measured", "subtitles", "refusal", "failed"})


def lint_context(
    project: Project, clip: Clip, file: ClipFile, entry: CaptionEntry, instruction: str = ""
) -> LintContext:
    """Return what the caption of a clip is held against."""
    facts = project.facts
    spoken = Transcript(entry.transcript, entry.transcript_origin or "transcript") if entry.transcript else None
    count = _token_counter(facts.model)
    return LintContext(
        style=entry.style or default_style(facts.objective),
        clip=file,
        trigger=facts.trigger,
        instruction=instruction,
        transcript=spoken,
        wants_sound=wants_sound(facts.objective),
        shots=len(clip.measures.cuts_s) + 1 if clip.measures.motion is not None else None,
        tokens=count or estimated_tokens,
    )


def reviewed(
    project: Project,
    clips: Sequence[Clip],
    files: Sequence[ClipFile],
    entries: Sequence[CaptionEntry],
    instruction: str = "",
) -> list[CaptionEntry]:
    """Return the rows with the flags of the lint beside their own; a serious one asks for a person's eye.

    A measured description is linted for what it is: it is a draft anyhow.
    """
    contexts = [
        (entry.caption, lint_context(project, clip, file, entry, instruction))
        for clip, file, entry in zip(clips, files, entries, strict=True)
    ]
    found = lint_captions(contexts, identity=learns_identity(project.facts))
    rows = []
    for entry, findings in zip(entries, found, strict=True):
        if entry.source == "measured":
            findings = [finding for finding in findings if finding.id == "duplicate"]
        own = [flag for flag in entry.flags if flag.id not in LINT_IDS or flag.id in _DRAFT_FLAGS]
        flags = own + [CaptionFlag(id=finding.id, message=finding.message) for finding in findings]
        serious = bool(own) or any(finding.id in SERIOUS for finding in findings)
        rows.append(entry.model_copy(update={"flags": flags, "needs_review": entry.edited_at is None and serious}))
    return rows


@cache
def wants_sound(objective: str | None) -> bool:
    """True if the objective trains or reads sound; without an objective, yes."""
    from trainer_core.objective import OBJECTIVE_NAMES, load_recipe

    if objective not in OBJECTIVE_NAMES:
        return True
    return load_recipe(objective)["training_strategy"].get("audio") is not None


@cache
def _token_counter(model: str) -> Any:
    """Count with the model's own tokenizer where it lies beside it as a file; None where it doesn't."""
    folder = Path(model)
    places = (folder / "tokenizer" / "tokenizer.json", folder / "tokenizer.json", folder.parent / "tokenizer.json")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # the library raises a bare Exception for a file of another kind
        return None
    return lambda text: len(tokenizer.encode(text).ids)
