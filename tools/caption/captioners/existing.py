"""Captions that are there already: a file beside the clip (.txt, .json, .srt), or a metadata file's caption column."""

import codecs
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from tools.caption.captioners.captioner import CaptionDraft, ClipFile, Transcript
from tools.caption.lint.sound_checks import with_quote
from tools.inspect.discover.metadata import CAPTION_COLUMNS, METADATA_NAMES, METADATA_SUFFIXES, read_rows
from tools.plain_text import MAX_CAPTION_CHARACTERS, plain_text, shortened
from trainer_core.errors import DataError

MEDIA_COLUMNS = ("video", "media_path", "audio")
MAX_SIDECAR_BYTES = 65536

_CUE_TIMES = re.compile(r"^\s*[\d:.,]+\s*-->\s*[\d:.,]+.*$")
_CUE_MARKUP = re.compile(r"<[^>\n]*>|\{\\[^}\n]*\}")


class ExistingCaptioner:
    """Finds captions in files beside the clips and in the rows of the metadata files it was given."""

    def __init__(self, rows: dict[Path, str]) -> None:
        self._rows = rows

    def caption(self, clip: ClipFile) -> CaptionDraft | None:
        """Return the clip's caption, None when there is none; subtitles are no caption, only what is spoken."""
        for sidecar in find_sidecars(clip.path):
            text, flags = _read_text(sidecar)
            if sidecar.suffix.lower() == ".json":
                text = _json_caption(text, sidecar)
            draft = _draft(text, f"sidecar {plain_text(sidecar.name)}", flags)
            if draft is not None:
                return draft
        row = self._rows.get(_absolute(clip.path))
        if row is None:
            return None
        try:
            text, flags = _decoded(row.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:  # half a character, as JSON's escapes can spell it
            text, flags = row, {}
        return _draft(text, "metadata row", flags)


def find_sidecar(clip: Path) -> Path | None:
    """Return the first caption file beside a clip, or None."""
    return next(iter(find_sidecars(clip)), None)


def find_sidecars(clip: Path) -> list[Path]:
    """Return the caption files beside a clip: `clip.mp4.txt` before `clip.txt`, text before JSON."""
    return [path for ending in (".txt", ".json") for path in _beside(clip, ending)]


def subtitles(clip: Path) -> Transcript | None:
    """Return what the .srt or .vtt file beside a clip says is spoken in it, None without one."""
    for ending in (".srt", ".vtt"):
        for path in _beside(clip, ending):
            spoken = _cue_text(_read_text(path)[0])
            if spoken:
                return Transcript(shortened(spoken, MAX_CAPTION_CHARACTERS), f"subtitles {plain_text(path.name)}")
    return None


def subtitle_draft(transcript: Transcript) -> CaptionDraft:
    """Return a draft that says what the subtitles say, and nothing of what is shown."""
    message = "made of subtitles alone: it says what is spoken, not what is shown"
    return CaptionDraft(with_quote("", transcript.text), "existing", True, flags={"subtitles": message})


def metadata_captions(sources: Iterable[Path]) -> dict[Path, str]:
    """Return the captions of every metadata file among `sources` or at the top of a folder among them, by media path.

    Metadata is CSV, JSON or JSONL with a `video` (`media_path`) or `audio` column; paths are relative to the file.
    Raises DataError when such a file can't be read.
    """
    found: dict[Path, str] = {}
    for source in sources:
        if source.is_file():
            files = [source] if source.suffix.lower() in METADATA_SUFFIXES else []  # else it is a clip
        else:
            files = [source / name for name in METADATA_NAMES if (source / name).is_file()]
        for file in files:
            found |= captions_in(file)
    return found


def captions_in(file: Path) -> dict[Path, str]:
    """Return the captions of one metadata file by absolute media path. Raises DataError when it can't be read."""
    found: dict[Path, str] = {}
    for row in read_rows(file):
        caption = next((row[name] for name in CAPTION_COLUMNS if isinstance(row.get(name), str)), None)
        for column in MEDIA_COLUMNS:
            if caption is not None and isinstance(row.get(column), str):
                found[_absolute(file.parent / row[column])] = caption
    return found


def _beside(clip: Path, ending: str) -> list[Path]:
    candidates = (clip.with_name(clip.name + ending), clip.with_suffix(ending))
    return [path for path in dict.fromkeys(candidates) if path.is_file() and path != clip]


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (`..` goes, symbolic links stay as they are)


def _read_text(sidecar: Path) -> tuple[str, dict[str, str]]:
    try:
        with sidecar.open("rb") as handle:
            raw = handle.read(MAX_SIDECAR_BYTES)
    except OSError as error:
        raise DataError(
            f"The caption file {sidecar} can't be read: {error.strerror}.", "Make it readable or remove it."
        ) from error
    return _decoded(raw)


def _decoded(raw: bytes) -> tuple[str, dict[str, str]]:
    """The text, and a flag where its encoding was guessed."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace"), {}
    try:
        # a decoder that waits for more leaves out a character cut in two by the limit above
        return codecs.getincrementaldecoder("utf-8-sig")().decode(raw, final=len(raw) < MAX_SIDECAR_BYTES), {}
    except UnicodeDecodeError:
        message = "the caption is not UTF-8; it was read as Windows Latin-1 and may hold wrong letters"
        return raw.decode("cp1252", errors="replace"), {"encoding": message}


def _json_caption(text: str, sidecar: Path) -> str:
    """The caption in a JSON sidecar: a string, or an object with one of CAPTION_COLUMNS. A camera's JSON has none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"The caption file {sidecar} is not valid JSON: {str(error)[:100]}.", "Correct it or move it away."
        ) from error
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if isinstance(document, dict):
        document = next((document[name] for name in CAPTION_COLUMNS if isinstance(document.get(name), str)), "")
    return document if isinstance(document, str) else ""


def _cue_text(text: str) -> str:
    """What the cues of a subtitle file say, in one line: no numbers, times, styles, or lines repeated by overlap."""
    spoken: list[str] = []
    in_note = False
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for index, line in enumerate(lines):
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if not line.strip():
            in_note = False
        elif line.startswith(("WEBVTT", "NOTE", "STYLE", "REGION")):
            in_note = True
        elif not (in_note or _CUE_TIMES.match(line) or _CUE_TIMES.match(following)):
            words = plain_text(_CUE_MARKUP.sub("", line))
            if words and (not spoken or spoken[-1] != words):
                spoken.append(words)
    return " ".join(spoken)


def _draft(text: str, origin: str, flags: dict[str, str]) -> CaptionDraft | None:
    clean = plain_text(text)
    if not clean:
        return None
    flags = dict(flags)
    if " ".join(text.split()) != clean:
        flags["cleaned"] = f"control or invisible characters were removed from the {origin}"
    short = shortened(clean, MAX_CAPTION_CHARACTERS)
    if short != clean:
        flags["cut"] = f"the {origin} was cut to {len(short)} of {len(clean)} characters"
    return CaptionDraft(caption=short, source="existing", needs_review=bool(flags), flags=flags)
