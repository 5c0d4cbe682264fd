"""Lines the user typed in a project, kept for the next time; one JSON text per line. No Textual."""

import json
from pathlib import Path

from trainer_core.errors import LtxError
from trainer_core.files import append_jsonl

KEPT = 500


class PromptHistory:
    """Walks through earlier inputs as a shell does; the line being typed is kept at its end."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries = _read(path) if path is not None else []
        self._at = len(self._entries)
        self._draft = ""

    @property
    def entries(self) -> tuple[str, ...]:
        """The inputs, oldest first."""
        return tuple(self._entries)

    def add(self, text: str) -> None:
        """Remember an input; a disk that is full or read-only costs only the memory of it."""
        if text.strip() and (not self._entries or self._entries[-1] != text):
            self._entries.append(text)
            if self._path is not None:
                try:
                    append_jsonl(self._path, {"text": text})
                except LtxError:
                    self._path = None
        self._at = len(self._entries)
        self._draft = ""

    def earlier(self, current: str) -> str | None:
        """Return the input before; None at the beginning."""
        if self._at == 0:
            return None
        if self._at == len(self._entries):
            self._draft = current
        self._at -= 1
        return self._entries[self._at]

    def later(self) -> str | None:
        """Return the input after, at last the line that was being typed; None there."""
        if self._at >= len(self._entries):
            return None
        self._at += 1
        return self._draft if self._at == len(self._entries) else self._entries[self._at]


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines[-KEPT:]:
        try:
            found.append(str(json.loads(line)["text"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
