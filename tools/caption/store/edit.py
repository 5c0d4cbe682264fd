"""Writing one caption by hand: the words are the user's from then on, and no captioner ever overwrites them."""

import time
from typing import Annotated

from pydantic import Field

from tools.caption.store.captions import CaptionEntry, read_captions
from tools.caption.store.history import captions_locked, save_captions
from tools.inspect.discover.names import displayed
from tools.plain_text import plain_text
from tools.project import Progress, Project
from trainer_core.errors import ConfigError
from trainer_core.strict import Strict


def edit_caption(project: Project, path: str, sha256: str, caption: str) -> CaptionEntry:
    """Store `caption` for the clip of this path and content; the same words again mean that a person reviewed them.

    Raises ConfigError when captions.jsonl has no row for it, or an empty caption.
    """
    words = plain_text(caption)
    if not words:
        raise ConfigError("An empty caption trains nothing.", "Write what is to be seen and heard.")
    with captions_locked(project):
        before = read_captions(project.captions_path)
        found = next((n for n, entry in enumerate(before) if entry.key == (path, sha256)), None)
        if found is None:
            raise ConfigError(
                f"{project.captions_path} has no caption of {path!r}.",
                "Caption the clips first; it may have changed since.",
            )
        entry = before[found]
        if words == entry.caption:
            reviewed = {"needs_review": False, "flags": [], "edited_at": time.time()}
            edited = entry.model_copy(update=reviewed)
        else:
            edited = entry.by_person(words)
        save_captions(project, before, [*before[:found], edited, *before[found + 1 :]], "edit")
    return edited


class EditCaptionArguments(Strict):
    """A caption in the user's own words."""

    clip: Annotated[str, Field(description="The clip's path, as captions.jsonl has it.")]
    caption: Annotated[str, Field(description="The whole caption, word for word as the user gave it.")]


class EditCaptionResult(Strict):
    """The caption as it is stored now."""

    clip: str
    caption: str


def write_caption(
    project: Project, arguments: EditCaptionArguments, _progress: Progress | None = None
) -> EditCaptionResult:
    """Store a caption that the user dictated for one clip, word for word; no captioner ever overwrites it."""
    rows = [entry for entry in read_captions(project.captions_path) if entry.path == arguments.clip]
    if len(rows) != 1:
        raise ConfigError(
            f"{len(rows)} captions belong to {displayed(arguments.clip)}.",
            "Name the clip as captions.jsonl does; caption the clips first.",
        )
    edited = edit_caption(project, rows[0].path, rows[0].sha256, arguments.caption)
    return EditCaptionResult(clip=displayed(edited.path), caption=edited.caption)
