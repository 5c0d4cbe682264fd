"""The clips of a project as rows: what inspection found, the caption of each, the flags. No Textual."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEVERITIES = ("block", "warn", "note")


@dataclass(frozen=True)
class FlagRow:
    """A flag of a clip, as the report says it."""

    id: str
    severity: str
    message: str
    remedy: str


@dataclass(frozen=True)
class ClipRow:
    """One clip; texts are as they stand in the project's files."""

    path: str
    file: Path
    sha256: str
    kind: str
    status: str
    duration_s: float
    size: str
    sound: str
    samples: int
    split: str
    caption: str
    source: str
    needs_review: bool
    flags: tuple[FlagRow, ...]
    caption_flags: tuple[str, ...]

    @property
    def worst(self) -> str:
        """The gravest severity of its flags, an empty string without any."""
        found = {flag.severity for flag in self.flags}
        return next((severity for severity in SEVERITIES if severity in found), "")


def clip_rows(report: str | None, captions: str | None, dataset: str | None) -> list[ClipRow]:
    """Return the rows from the texts of report.json, captions.jsonl and dataset.jsonl; unreadable rows are left out."""
    try:
        clips = json.loads(report)["clips"] if report else []
    except (ValueError, KeyError, TypeError):
        return []
    entries = _rows(captions)
    exact = {(row.get("path"), row.get("sha256")): row for row in entries}
    by_content = {row.get("sha256"): row for row in entries}
    splits = {_dataset_path(row): str(row.get("split", "train")) for row in _rows(dataset)}
    return [
        _row(clip, exact.get((clip["path"], clip.get("sha256"))) or by_content.get(clip.get("sha256")) or {}, splits)
        for clip in clips
    ]


def _row(clip: dict[str, Any], entry: dict[str, Any], splits: dict[str, str]) -> ClipRow:
    audio = clip.get("audio") or {}
    width, height = clip.get("width"), clip.get("height")
    file = Path(clip.get("source", ".")) / clip["path"]
    return ClipRow(
        path=clip["path"],
        file=file,
        sha256=str(entry.get("sha256") or clip.get("sha256") or ""),
        kind=clip.get("kind", "other"),
        status=clip.get("status", ""),
        duration_s=float(clip.get("duration_s") or 0),
        size=f"{width}×{height}" if width and height else "",
        sound=str(audio.get("status", "")),
        samples=len(clip.get("samples") or []),
        split=splits.get(str(file), splits.get(clip["path"], "")),
        caption=str(entry.get("caption", "")),
        source=str(entry.get("source", "")),
        needs_review=bool(entry.get("needs_review", False)),
        flags=tuple(
            FlagRow(flag["id"], flag["severity"], flag.get("message", ""), flag.get("remedy", ""))
            for flag in clip.get("flags") or []
        ),
        caption_flags=tuple(f"{flag['id']}: {flag['message']}" for flag in entry.get("flags") or []),
    )


def _dataset_path(row: dict[str, Any]) -> str:
    return str(row.get("video") or row.get("media_path") or row.get("audio") or row.get("path") or "")


def _rows(text: str | None) -> list[dict[str, Any]]:
    rows = []
    for line in (text or "").split("\n"):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def matching(rows: list[ClipRow], words: str) -> list[ClipRow]:
    """The rows that hold every word of `words`: in name, caption, flags, or as `review`, `blocked`, `silent`."""
    wanted = words.lower().split()
    return [row for row in rows if all(word in _searched(row) for word in wanted)]


def _searched(row: ClipRow) -> str:
    parts = [row.path, row.caption, row.status, row.source, row.sound, row.kind, row.split]
    parts += [flag.id for flag in row.flags] + [flag.severity for flag in row.flags]
    parts.append("review" if row.needs_review else "")
    return " ".join(parts).lower()
