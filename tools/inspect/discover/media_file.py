"""A file to look at, and what it is to the others."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools.inspect.report.report import Kind, Origin, Role
from tools.media_types import media_kind

COLUMNS: tuple[Role, ...] = ("audio", "reference_video", "reference_audio", "video_mask", "audio_mask")
TEXT_SUFFIXES = frozenset({".txt", ".json", ".jsonl", ".csv", ".tsv", ".srt", ".vtt", ".md", ".yaml", ".yml"})


def expected_kind(file: Path) -> Kind:
    """Return what a file's name promises."""
    return media_kind(file) or "other"


_MAGIC: tuple[tuple[int, bytes], ...] = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"RIFF"), (0, b"FORM"), (0, b"\x1aE\xdf\xa3"), (0, b"OggS"),
    (0, b"fLaC"), (0, b"ID3"), (0, b"\xff\xfb"), (0, b"\xff\xf1"), (0, b"FLV"), (0, b"\x00\x00\x01\xba"),
    (0, b"\x30\x26\xb2\x75"), (0, b"\x06\x0e\x2b\x34"), (0, b"\x89PNG"), (0, b"\xff\xd8\xff"), (0, b"GIF8"),
    (0, b"II*\x00"), (0, b"MM\x00*"), (0, b"YUV4MPEG2"), (0, b"caff"),
)  # fmt: skip
"""Offsets and first bytes of the containers and images that FFmpeg reads."""


def may_be_media(file: Path) -> bool:
    """True if a file's name or its first bytes promise a film, an image or a recording; decodes nothing."""
    if expected_kind(file) != "other":
        return True
    if file.suffix.lower() in TEXT_SUFFIXES:
        return False
    try:
        with file.open("rb") as opened:
            start = opened.read(16)
    except OSError:
        return False
    return any(start[at : at + len(magic)] == magic for at, magic in _MAGIC)


@dataclass(frozen=True)
class FoundFile:
    """A file to look at: `path` is relative to the folder `source`, in POSIX spelling, its name kept exactly.

    `columns` are the paths of files that belong to a clip. `paired_by` says how they were found: "metadata", "name" or
    "folder". `problem` says why the file can't even be opened. `unread_columns` of its metadata row mean nothing here.
    `origin` is what a remedied copy was made from.
    """

    source: str
    path: str
    columns: dict[str, str] = field(default_factory=dict)
    problem: str | None = None
    role: Role = "clip"
    paired_by: str | None = None
    unread_columns: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def file(self) -> Path:
        return Path(self.source) / self.path

    @property
    def key(self) -> bytes:
        """The file's path as the file system spells it."""
        return os.fsencode(os.path.join(self.source, self.path))  # noqa: PTH118 (a Path costs ten times as much)

    def moved_to(self, folder: Path) -> "FoundFile":
        """The same file, told from a folder above."""

        def within(path: str) -> str:
            return os.path.relpath(os.path.join(self.source, path), folder)  # noqa: PTH118

        columns = {column: within(path) for column, path in self.columns.items()}
        return replace(self, source=str(folder), path=within(self.path), columns=columns)
