"""captions.jsonl: the captions with where each came from. What a person wrote in it is never overwritten."""

import hashlib
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tools.caption.captioner import CaptionDraft, CaptionSource
from tools.caption.clips import content_digest
from tools.inspect.report import Clip
from trainer_core.errors import ConfigError
from trainer_core.files import read_jsonl, write_jsonl


class CaptionFlag(BaseModel):
    """Something to know about a caption."""

    model_config = ConfigDict(extra="forbid")

    id: str
    message: str


class CaptionEntry(BaseModel):
    """One row of captions.jsonl; `edited_at` is in Unix seconds.

    `written_sha256` is the digest of the caption as a tool wrote it: a caption that differs was edited by a person.
    """

    model_config = ConfigDict(extra="forbid")

    path: str
    sha256: str
    caption: str
    source: CaptionSource
    model: str | None = None
    instruction_version: str | None = None
    frames_s: list[float] = []
    needs_review: bool = False
    flags: list[CaptionFlag] = []
    edited_at: float | None = None
    written_sha256: str | None = None


def new_entry(clip: Clip, draft: CaptionDraft) -> CaptionEntry:
    """Return the row of a caption just made."""
    return CaptionEntry(
        path=clip.path,
        sha256=content_digest(clip),
        caption=draft.caption,
        source=draft.source,
        model=draft.model,
        instruction_version=draft.instruction_version,
        frames_s=draft.frames_s,
        needs_review=draft.needs_review,
        flags=[CaptionFlag(id=name, message=message) for name, message in draft.flags.items()],
        written_sha256=_digest(draft.caption),
    )


def read_captions(path: Path) -> list[CaptionEntry]:
    """Return the rows of `path`, those a person edited marked so; empty when there is no file yet.

    Raises ConfigError naming the row that is not as it should be.
    """
    if not path.exists():
        return []
    return [_as_edited(_parse(row, number, path)) for number, row in enumerate(_rows(path), start=1)]


def write_captions(path: Path, entries: list[CaptionEntry]) -> None:
    """Replace `path` by `entries`."""
    write_jsonl(path, [entry.model_dump() for entry in entries])


def captions_by_clip(entries: list[CaptionEntry], clips: list[Clip]) -> dict[int, CaptionEntry]:
    """Return each clip's entry by the clip's index: of the same content and path, else of the same content."""
    exact = {(entry.path, entry.sha256): entry for entry in entries}
    by_content = {entry.sha256: entry for entry in entries}
    found = {}
    for index, clip in enumerate(clips):
        entry = exact.get((clip.path, content_digest(clip))) or by_content.get(content_digest(clip))
        if entry is not None:
            found[index] = entry
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.read_bytes().endswith(b"\n"):  # an editor left the last newline out; nothing may get lost
        raise ConfigError(f"{path} ends in the middle of a row.", "Add a line break after its last row.")
    return read_jsonl(path)


def _parse(row: Any, number: int, path: Path) -> CaptionEntry:
    try:
        return CaptionEntry.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}, row {number}: {where or 'the row'}: {first['msg']}.", "Correct the row or remove it."
        ) from error


def _as_edited(entry: CaptionEntry) -> CaptionEntry:
    if entry.written_sha256 in (None, _digest(entry.caption)):
        return entry
    return entry.model_copy(
        update={
            "source": "person",
            "needs_review": False,
            "flags": [],
            "edited_at": time.time(),
            "written_sha256": _digest(entry.caption),
        }
    )


def _digest(caption: str) -> str:
    return hashlib.sha256(caption.encode("utf-8", errors="surrogateescape")).hexdigest()
