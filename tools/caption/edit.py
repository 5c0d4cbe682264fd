"""Writing one caption by hand: the words are the person's from then on, and no captioner ever overwrites them."""

import time

from tools.caption.captions import CaptionEntry, read_captions, write_captions
from tools.project import Project
from trainer_core.errors import ConfigError


def edit_caption(project: Project, path: str, sha256: str, caption: str) -> CaptionEntry:
    """Store `caption` for the clip of this path and content; the same words again mean that a person reviewed them.

    Raises ConfigError when captions.jsonl has no row for it, or an empty caption.
    """
    if not caption.strip():
        raise ConfigError("An empty caption trains nothing.", "Write what is to be seen and heard.")
    entries = read_captions(project.captions_path)
    found = next((n for n, entry in enumerate(entries) if (entry.path, entry.sha256) == (path, sha256)), None)
    if found is None:
        raise ConfigError(
            f"{project.captions_path} has no caption of {path!r}.",
            "Caption the clips first; it may have changed since.",
        )
    entry = entries[found]
    changes = {"needs_review": False, "flags": [], "edited_at": time.time()}
    if caption != entry.caption:
        changes |= {"caption": caption, "source": "person", "model": None, "instruction_version": None}
        changes |= {"written_sha256": None}
    edited = entry.model_copy(update=changes)
    entries[found] = edited
    write_captions(project.captions_path, entries)
    return edited
