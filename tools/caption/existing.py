"""Captions that are there already: a text file beside the clip, or a metadata file's caption column."""

import codecs
import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.caption.captioner import CaptionDraft, ClipFile
from tools.caption.text import MAX_CAPTION_CHARACTERS, plain_text, shortened
from trainer_core.errors import DataError

METADATA_NAMES = tuple(f"{stem}.{ending}" for stem in ("metadata", "dataset") for ending in ("csv", "json", "jsonl"))
MEDIA_COLUMNS = ("video", "media_path", "audio")
CAPTION_COLUMN = "caption"
MAX_SIDECAR_BYTES = 65536


class ExistingCaptioner:
    """Finds captions in sidecar files and in the rows of the metadata files it was given."""

    def __init__(self, rows: dict[Path, str]) -> None:
        self._rows = rows

    def caption(self, clip: ClipFile) -> CaptionDraft | None:
        sidecar = find_sidecar(clip.path)
        if sidecar is not None:
            text, flags = _read_sidecar(sidecar)
            draft = _draft(text, f"sidecar {plain_text(sidecar.name)}", flags)
            if draft is not None:
                return draft
        row = self._rows.get(_absolute(clip.path))
        return _draft(row, "metadata row", {}) if row is not None else None


def find_sidecar(clip: Path) -> Path | None:
    """Return the text file beside a clip, `clip.mp4.txt` before `clip.txt`, or None."""
    candidates = (clip.with_name(clip.name + ".txt"), clip.with_suffix(".txt"))
    return next((path for path in candidates if path.is_file() and path != clip), None)


def metadata_captions(sources: Iterable[Path]) -> dict[Path, str]:
    """Return the captions of every metadata file among `sources` or at the top of a folder among them, by media path.

    Metadata is CSV, JSON or JSONL with a `video` (`media_path`) or `audio` column; paths are relative to the file.
    Raises DataError when such a file can't be read.
    """
    found: dict[Path, str] = {}
    for source in sources:
        files = (
            [source] if source.is_file() else [source / name for name in METADATA_NAMES if (source / name).is_file()]
        )
        for file in files:
            for row in _rows(file):
                caption = row.get(CAPTION_COLUMN)
                if not isinstance(caption, str):
                    continue
                for column in MEDIA_COLUMNS:
                    if isinstance(row.get(column), str):
                        found[_absolute(file.parent / row[column])] = caption
    return found


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (`..` goes, symbolic links stay as they are)


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        if file.suffix.lower() == ".csv":
            with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
                return list(csv.DictReader(handle))
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
        whole = file.suffix.lower() == ".json"
        rows = json.loads(text) if whole else [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"The metadata file {file} can't be read: {error}.", "Correct it or move it away.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"The metadata file {file} is not a list of rows.", "Write one object a clip, with `video` and `caption`."
        )
    return rows


def _read_sidecar(sidecar: Path) -> tuple[str, dict[str, str]]:
    try:
        with sidecar.open("rb") as handle:
            raw = handle.read(MAX_SIDECAR_BYTES)
    except OSError as error:
        raise DataError(
            f"The caption file {sidecar} can't be read: {error.strerror}.", "Make it readable or remove it."
        ) from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace"), {}
    try:
        # a decoder that waits for more leaves out a character cut in two by the limit above
        return codecs.getincrementaldecoder("utf-8-sig")().decode(raw), {}
    except UnicodeDecodeError:
        message = "the caption file is not UTF-8; it was read as Windows Latin-1 and may hold wrong letters"
        return raw.decode("cp1252", errors="replace"), {"encoding": message}


def _draft(text: str, origin: str, flags: dict[str, str]) -> CaptionDraft | None:
    clean = plain_text(text)
    if not clean:
        return None
    flags = dict(flags)
    if " ".join(text.split()) != clean:
        flags["cleaned"] = f"control or invisible characters were removed from the {origin}"
    short = shortened(clean, MAX_CAPTION_CHARACTERS)
    if short != clean:
        flags["truncated"] = f"the {origin} was cut to {len(short)} of {len(clean)} characters"
    return CaptionDraft(caption=short, source="existing", needs_review=bool(flags), flags=flags)
