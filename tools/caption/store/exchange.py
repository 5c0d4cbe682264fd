"""Captions to and from other tools: upstream's metadata (CSV, JSON, JSONL) and text files beside the clips."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tools.caption.captioners.existing import captions_in
from tools.caption.store.captions import CaptionEntry, captions_by_clip, read_captions
from tools.caption.store.history import captions_locked, save_captions
from tools.inspect.discover.names import displayed
from tools.inspect.report.clips import USABLE_STATUSES, clip_file, content_digest, decodable_clips, read_report
from tools.inspect.report.report import Clip
from tools.plain_text import MAX_CAPTION_CHARACTERS, plain_text, shortened
from tools.project import Progress, Project
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import write_json, write_jsonl, write_text
from trainer_core.strict import Strict

METADATA_ENDINGS = (".csv", ".json", ".jsonl")


class ExportCaptionsArguments(Strict):
    """Target of exported captions."""

    target: Annotated[
        str,
        Field(
            description="A metadata file (.csv, .json, .jsonl) or a folder for one .txt a clip; not the clips folder."
        ),
    ]
    with_trigger: Annotated[
        bool, Field(description="Put the trigger word into each caption, for trainers that don't put it there.")
    ] = False


class ImportCaptionsArguments(Strict):
    """Source of imported captions."""

    source: Annotated[str, Field(description="A metadata file (.csv, .json, .jsonl) or a folder of .txt files.")]


class ExchangeResult(Strict):
    """Number of captions that went over, and the clips that had none."""

    captions: int
    without: list[str]
    path: str
    notes: list[str]


def export_captions(
    project: Project, arguments: ExportCaptionsArguments, _progress: Progress | None = None
) -> ExchangeResult:
    """Write the captions for another trainer: upstream's metadata columns, or a .txt file a clip in a new folder."""
    clips = decodable_clips(read_report(project, unusable=True))
    found = captions_by_clip(read_captions(project.captions_path), clips)
    if not found:
        raise DataError(f"{project.path} has no captions yet.", "Caption the clips with `ltx-agent caption`.")
    target = Path(arguments.target).expanduser().absolute()
    _refuse_clips_folder(target, project)
    trigger = project.facts.trigger
    rows = [(clips[index], _text(entry, trigger if arguments.with_trigger else None)) for index, entry in found.items()]
    if target.suffix.lower() in METADATA_ENDINGS:
        _write_metadata(target, [_columns(clip, text, target.parent) for clip, text in rows])
    else:
        _write_sidecars(target, rows)
    notes = []
    if trigger and not arguments.with_trigger:
        notes.append(
            f"The trigger `{trigger}` is not in these captions: name it to the other trainer, or --with-trigger."
        )
    return ExchangeResult(
        captions=len(rows),
        without=[
            clip.path for index, clip in enumerate(clips) if index not in found and clip.status in USABLE_STATUSES
        ],
        path=str(target),
        notes=notes,
    )


def import_captions(
    project: Project, arguments: ImportCaptionsArguments, _progress: Progress | None = None
) -> ExchangeResult:
    """Take captions over from a metadata file or a folder of .txt files; they count as the user's own."""
    source = Path(arguments.source).expanduser().absolute()
    clips = decodable_clips(read_report(project, unusable=True))
    texts = _from_metadata(source, clips) if source.is_file() else _from_folder(source, clips)
    with captions_locked(project):
        before = read_captions(project.captions_path)
        rows = {entry.key: entry for entry in before}
        for clip, text in texts:
            key = (clip.path, content_digest(clip))
            words = shortened(plain_text(text), MAX_CAPTION_CHARACTERS)
            known = rows.get(key) or CaptionEntry(path=key[0], sha256=key[1], caption="", source="person")
            if words and words != known.caption:
                rows[key] = known.by_person(words)
        changed = save_captions(project, before, list(rows.values()), "import")
    covered = {clip.path for clip, _ in texts}
    return ExchangeResult(
        captions=changed,
        without=[clip.path for clip in clips if clip.path not in covered],
        path=str(project.captions_path),
        notes=[] if texts else [f"No row of {displayed(str(source))} names one of the clips."],
    )


def _text(entry: CaptionEntry, trigger: str | None) -> str:
    from trainer_core.data.windows import with_trigger

    return with_trigger(entry.caption, trigger)


def _columns(clip: Clip, text: str, folder: Path) -> dict[str, Any]:
    files = {"audio" if clip.kind == "audio" else "video": clip.path, **clip.columns}
    paths = {name: os.path.relpath(Path(clip.source) / path, folder) for name, path in files.items()}
    return {**paths, "caption": text}


def _write_metadata(target: Path, rows: list[dict[str, Any]]) -> None:
    ending = target.suffix.lower()
    if ending == ".json":
        write_json(target, rows)
    elif ending == ".jsonl":
        write_jsonl(target, rows)
    else:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
        write_text(target, buffer.getvalue())


def _write_sidecars(folder: Path, rows: list[tuple[Clip, str]]) -> None:
    """Write one .txt a clip, under its path; a name that two clips share keeps the clips' suffixes."""
    stems = [Path(clip.path).with_suffix("") for clip, _ in rows]
    targets = [
        folder / (f"{clip.path}.txt" if stems.count(stem) > 1 else f"{stem}.txt")
        for (clip, _), stem in zip(rows, stems, strict=True)
    ]
    there = [path for path, (_, text) in zip(targets, rows, strict=True) if path.exists() and _says(path) != text]
    if there:
        raise ConfigError(
            f"{len(there)} of the files exist and say something else: {displayed(str(there[0]))}.",
            "Choose another folder; nothing was written.",
        )
    for path, (_, text) in zip(targets, rows, strict=True):
        write_text(path, text + "\n")


def _says(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape").strip()


def _refuse_clips_folder(target: Path, project: Project) -> None:
    for source in project.facts.sources:
        root = Path(source).resolve()
        if root.is_dir() and (target.resolve() == root or root in target.resolve().parents):
            raise ConfigError(
                f"{displayed(str(target))} lies in the clips folder, which is never written to.",
                "Choose a file or folder elsewhere.",
            )
    if target.is_file() and target.suffix.lower() not in METADATA_ENDINGS:
        raise ConfigError(
            f"{displayed(str(target))} is a file.", f"Name a folder, or a {' '.join(METADATA_ENDINGS)} file."
        )


def _from_metadata(file: Path, clips: list[Clip]) -> list[tuple[Clip, str]]:
    if file.suffix.lower() not in METADATA_ENDINGS:
        raise ConfigError(f"{displayed(str(file))} is no metadata file.", f"Give a {' '.join(METADATA_ENDINGS)} file.")
    by_path = captions_in(file)
    by_name = {path.name: text for path, text in by_path.items()}
    unique = len(by_name) == len(by_path)
    found = []
    for clip in clips:
        path = Path(os.path.abspath(clip_file(clip)))  # noqa: PTH100 (symbolic links stay as they are)
        text = by_path.get(path) or (by_name.get(path.name) if unique else None)
        if text:
            found.append((clip, text))
    return found


def _from_folder(folder: Path, clips: list[Clip]) -> list[tuple[Clip, str]]:
    if not folder.is_dir():
        raise ConfigError(f"There is no file or folder {displayed(str(folder))}.", "Check the spelling of the path.")
    return [(clip, text) for clip in clips for text in _sidecar(folder, clip)]


def _sidecar(folder: Path, clip: Clip) -> Iterator[str]:
    for name in (f"{clip.path}.txt", f"{Path(clip.path).with_suffix('')}.txt"):
        path = folder / name
        if path.is_file():
            yield path.read_text(encoding="utf-8-sig", errors="replace")
            return
