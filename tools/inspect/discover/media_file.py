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
