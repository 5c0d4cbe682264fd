"""captions.jsonl: the captions with where each came from. What a person wrote in it is never overwritten."""

import hashlib
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tools.caption.captioners.captioner import CaptionDraft, CaptionSource, Style, Transcript
from tools.inspect.report.clips import content_digest
from tools.inspect.report.report import Clip
from trainer_core.errors import ConfigError
from trainer_core.files import read_jsonl, write_jsonl
from trainer_core.strict import Strict


class CaptionFlag(Strict):
    """Something to know about a caption."""

    id: str
    message: str


class CaptionEntry(Strict):
    """One row of captions.jsonl; `edited_at` is in Unix seconds, `seconds` how long the captioner took.

    `written_sha256` is the digest of the caption as a tool wrote it: a caption that differs was edited by a person.
    `origin_sha256` is the digest of what the captioner gave, `mended` are the lint's fixes made since. `heard`: the
    captioner heard the sound. `edited_from`: who wrote what the user then edited.
    """

    path: str
    sha256: str
    caption: str
    source: CaptionSource
    model: str | None = None
    style: Style | None = None
    instruction_version: str | None = None
    frames_s: list[float] = []
    mended: list[str] = []
    heard: bool = False
    transcript: str | None = None
    transcript_origin: str | None = None
    needs_review: bool = False
    flags: list[CaptionFlag] = []
    edited_at: float | None = None
    edited_from: CaptionSource | None = None
    written_sha256: str | None = None
    origin_sha256: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """Key of a row: its path and the content of its clip."""
        return self.path, self.sha256

    def with_caption(self, caption: str) -> "CaptionEntry":
        """Return the row with a caption that a tool edited."""
        return self.model_copy(update={"caption": caption, "written_sha256": digest(caption)})

    def by_person(self, caption: str) -> "CaptionEntry":
        """Return the row with a caption that a person wrote or approved word for word."""
        return self.model_copy(
            update={
                "caption": caption,
                "source": "person",
                "needs_review": False,
                "flags": [],
                "edited_at": time.time(),
                "edited_from": self.edited_from if self.source == "person" else self.source,
                "written_sha256": digest(caption),
            }
        )


def new_entry(
    clip: Clip, draft: CaptionDraft, style: Style | None = None, spoken: Transcript | None = None
) -> CaptionEntry:
    """Return the row of a caption just made."""
    return CaptionEntry(
        path=clip.path,
        sha256=content_digest(clip),
        caption=draft.caption,
        source=draft.source,
        model=draft.model,
        style=style,
        instruction_version=draft.instruction_version,
        frames_s=draft.frames_s,
        heard=draft.heard,
        transcript=spoken.text if spoken else None,
        transcript_origin=spoken.origin if spoken else None,
        needs_review=draft.needs_review,
        flags=[CaptionFlag(id=name, message=message) for name, message in draft.flags.items()],
        written_sha256=digest(draft.caption),
        origin_sha256=digest(draft.caption),
        prompt_tokens=draft.usage.prompt_tokens,
        completion_tokens=draft.usage.completion_tokens,
        seconds=round(draft.usage.seconds, 3),
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
    exact = {entry.key: entry for entry in entries}
    by_content = {entry.sha256: entry for entry in entries}
    found = {}
    for index, clip in enumerate(clips):
        entry = exact.get((clip.path, content_digest(clip))) or by_content.get(content_digest(clip))
        if entry is not None:
            found[index] = entry
    return found


def digest(caption: str) -> str:
    """Return the sha256 of a caption's UTF-8."""
    return hashlib.sha256(caption.encode("utf-8", errors="surrogateescape")).hexdigest()


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
    return entry if entry.written_sha256 in (None, digest(entry.caption)) else entry.by_person(entry.caption)
