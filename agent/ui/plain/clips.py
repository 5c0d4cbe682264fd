"""The clips in line mode: a page at a time, found by words, and their captions written and reviewed."""

from collections.abc import Callable

from agent.text.sanitize import clean
from agent.ui.plain.face import Face
from agent.ui.shared.clips import ClipRow, clip_rows, matching
from agent.ui.shared.viewer import open_with_system
from tools.caption.store.edit import edit_caption
from trainer_core.errors import ConfigError

ROWS_A_PAGE = 10
NO_CLIPS = 'No clips are known yet. Say "/inspect".'


def clips(face: Face, argument: str) -> list[str]:
    """`/clips`, `/clips PAGE`, `/clips WORDS`, `/clips show|caption|reviewed|open CLIP …`."""
    rows = rows_of(face)
    if not rows:
        return [NO_CLIPS]
    word, _, rest = argument.partition(" ")
    if word in _OF_ONE and rest.strip():
        row, text = _named(rows, rest.strip())
        return _OF_ONE[word](face, row, text)
    if word in _OF_ONE and not matching(rows, argument):
        raise ConfigError(f"/clips {word} needs a clip.", f"Say /clips {word} {rows[0].path}, or its number.")
    page = int(argument) if argument.isdigit() else 1
    words = "" if argument.isdigit() else argument
    return _page(rows, words, page)


def rows_of(face: Face) -> list[ClipRow]:
    project = face.project
    paths = (project.report_path, project.captions_path, project.dataset_path)
    return clip_rows(
        *(path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else None for path in paths)
    )


def _page(rows: list[ClipRow], words: str, page: int) -> list[str]:
    found = matching(rows, words)
    pages = max(1, -(-len(found) // ROWS_A_PAGE))
    if not 1 <= page <= pages:
        raise ConfigError(f"There is no page {page}: {len(found)} clips make {pages}.", "Name one of them.")
    numbers = {row.path: number for number, row in enumerate(rows, start=1)}
    shown = found[(page - 1) * ROWS_A_PAGE : page * ROWS_A_PAGE]
    review, blocked = sum(row.needs_review for row in rows), sum(_is_blocked(row) for row in rows)
    lines = [f"{len(rows)} clips, {review} captions to review, {blocked} that can't be trained on."]
    lines += [f"{len(found)} of them match {words}."] if words else []
    for row in shown:
        lines.append(f"{numbers[row.path]}. {clean(_in_short(row))}")
        lines.append(f"   {clean(_caption(row))}")
    if pages > 1:
        further = f" /clips {page + 1} shows the next." if page < pages and not words else ""
        lines.append(f"Page {page} of {pages}.{further}" if not words else f"The first {len(shown)} of {len(found)}.")
    return lines


def _in_short(row: ClipRow) -> str:
    state = "can't be trained on" if _is_blocked(row) else {"warn": "look at it"}.get(row.worst, "fine")
    state = "no footage" if row.kind == "other" else state
    parts = [row.path, row.kind, f"{row.duration_s:.1f} s" if row.duration_s else "", row.size, state]
    flags = ", ".join(dict.fromkeys(flag.id.replace("_", " ") for flag in row.flags))
    return ", ".join(part for part in parts if part) + (f". Flags: {flags}" if flags else "") + "."


def _is_blocked(row: ClipRow) -> bool:
    return row.kind != "other" and (row.worst == "block" or row.status in ("unusable", "unreadable"))


def _caption(row: ClipRow) -> str:
    if not row.source:
        return "No caption."
    review = ", to be reviewed" if row.needs_review else ""
    return f"Caption ({row.source}{review}): {row.caption}"


def _show(_: Face, row: ClipRow, __: str) -> list[str]:
    lines = [
        _in_short(row),
        f"Sound: {row.sound or 'not looked at'}. Samples: {row.samples}. Split: {row.split or 'none yet'}.",
    ]
    lines += [
        f"{_GRAVITY.get(flag.severity, flag.severity)}, {flag.id}: {flag.message} {flag.remedy}" for flag in row.flags
    ]
    lines.append(_caption(row))
    return [*lines, *(f"About the caption: {flag}" for flag in row.caption_flags), f"File: {row.file}"]


def _write(face: Face, row: ClipRow, text: str) -> list[str]:
    _refuse_uncaptioned(row)
    words = text or face.terminal.ask(f"{clean(_caption(row))}\nThe new one (Enter keeps it)")
    if not words:
        return ["The caption stays as it is."]
    edited = edit_caption(face.project, row.path, row.sha256, words)
    return [f"The caption of {row.path} is kept as yours: {edited.caption}"]


def _reviewed(face: Face, row: ClipRow, _: str) -> list[str]:
    _refuse_uncaptioned(row)
    edit_caption(face.project, row.path, row.sha256, row.caption)
    waiting = [other.path for other in rows_of(face) if other.needs_review]
    return [f"Reviewed: {row.path}.", f"Next to review: {waiting[0]}." if waiting else "No caption waits for a review."]


def _open(_: Face, row: ClipRow, __: str) -> list[str]:
    return [f"Opened: {row.file}" if open_with_system(row.file) else f"No display here. The file: {row.file}"]


def _refuse_uncaptioned(row: ClipRow) -> None:
    if not row.source:
        raise ConfigError(f"{row.path} has no caption: it wasn't captioned.", 'Say "/caption".')


def _named(rows: list[ClipRow], words: str) -> tuple[ClipRow, str]:
    """The clip that the words begin with, by its path, its number or the beginning of its name, and what follows."""
    for row in sorted(rows, key=lambda row: -len(row.path)):
        if words == row.path or words.startswith(f"{row.path} "):
            return row, words[len(row.path) :].strip()
    first, _, rest = words.partition(" ")
    if first.isdigit() and 1 <= int(first) <= len(rows):
        return rows[int(first) - 1], rest.strip()
    found = [row for row in rows if row.path.startswith(first)]
    if len(found) != 1:
        few = f"{len(found)} clips begin with {first}" if found else f"There is no clip {first}"
        raise ConfigError(f"{few}.", "Name it as /clips does, or by its number.")
    return found[0], rest.strip()


_GRAVITY = {"block": "Can't be trained on", "warn": "Look at it", "note": "Handled"}
_OF_ONE: dict[str, Callable[[Face, ClipRow, str], list[str]]] = {
    "show": _show,
    "caption": _write,
    "reviewed": _reviewed,
    "open": _open,
}
