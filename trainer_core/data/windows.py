"""dataset.jsonl as windows: one training sample each, a stretch of one clip cut to a bucket. No torch."""

import hashlib
import mimetypes
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainer_core.config import TrainingConfig
from trainer_core.data.buckets import Bucket, parse_buckets
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import read_jsonl
from trainer_core.objective import objective_of

Split = Literal["train", "heldout"]
OR_LEAVE_OUT = "set ltx_agent.incomplete_samples: leave_out to train without such clips"
"""The way out where a sample lacks what the objective needs."""
_NAME_BYTES = 200

_INPUT_COLUMN = re.compile(r"reference_(?:video|audio)(?:_[2-9]\d*)?|(?:video|audio)_mask")
"""Columns that name a file beside the clip's own; further references are numbered from 2."""
_COLUMN_ALIASES = {"ref_media_path": "reference_video"}


@dataclass(frozen=True)
class Window:
    """One training sample: a stretch of one clip, in seconds, cut to a bucket (None for sound alone).

    `sound` is the file its sound is read from: `media`, unless the row names another in `audio`. All windows of a clip
    are on one side of the `split`, and so is every clip of its `group`. `gain_db` is added to its sound's level.
    """

    name: str
    media: Path
    sound: Path
    sha256: str
    caption: str
    start_s: float
    duration_s: float
    bucket: Bucket | None
    has_audio: bool
    split: Split = "train"
    group: str | None = None
    gain_db: float = 0.0
    inputs: dict[str, Path] = field(default_factory=dict)

    def input(self, column: str) -> Path:
        """The file in another column of the row. Raises DataError when the row lacks it."""
        if column not in self.inputs:
            raise DataError(
                f"{self.name}: the objective needs `{column}`, but the dataset's row has none.",
                f"Add the column, {OR_LEAVE_OUT}, or choose another objective.",
            )
        return self.inputs[column]

    def picture(self) -> Bucket:
        """The size its pictures are cut to. Raises DataError for sound alone."""
        if self.bucket is None:
            raise DataError(f"{self.name}: the objective needs pictures, but this clip has none.", "Leave it out.")
        return self.bucket


def lacking_columns(window: Window, needed: Collection[str]) -> list[str]:
    """The dataset columns among `needed` that a window has nothing for."""
    have = {"caption", *window.inputs}
    if window.bucket is not None:
        have.add("video")
    if window.has_audio:
        have.add("audio")
    return sorted(set(needed) - have)


def training_windows(config: TrainingConfig, tell: Callable[[str, str], None] | None = None) -> list[Window]:
    """Return the samples that the dataset declares and the config trains on, as `read_windows` does.

    With `ltx_agent.incomplete_samples: leave_out` those that lack an input of the objective are left out; `tell` hears
    their names and what they lack. Raises DataError when none is left.
    """
    windows = read_windows(config)
    if config.ltx_agent.incomplete_samples == "refuse":
        return windows
    needed = set(objective_of(config.strategy).columns().values())
    lacking = {window.name: lacking_columns(window, needed) for window in windows}
    for name, columns in lacking.items():
        if columns and tell is not None:
            tell(name, " and ".join(columns))
    complete = [window for window in windows if not lacking[window.name]]
    if not complete:
        raise DataError(
            f"None of {len(windows)} samples of {config.ltx_agent.dataset} is complete; the first lacks "
            f"{' and '.join(f'`{column}`' for column in lacking[windows[0].name])}.",
            "Add what is missing, or choose an objective that does without.",
        )
    return complete


def read_windows(config: TrainingConfig) -> list[Window]:
    """Return the samples that the dataset file declares. Raises ConfigError or DataError naming the row."""
    if config.ltx_agent.dataset is None:
        raise ConfigError(
            "The config names no dataset (ltx_agent.dataset), so there is nothing to encode.", "Name one."
        )
    dataset = Path(config.ltx_agent.dataset)
    if not dataset.exists():
        raise ConfigError(f"There is no dataset file {dataset}.", "Make one with `ltx-agent draft`.")
    windows = windows_of(read_jsonl(dataset), dataset, config.ltx_agent.trigger)
    if not windows:
        raise DataError(f"{dataset} declares no sample to train on.", "Inspect the clips again: `ltx-agent inspect`.")
    return windows


def windows_of(rows: Sequence[Mapping[str, Any]], dataset: Path, trigger: str | None) -> list[Window]:
    """Return the samples of a dataset's rows, whose paths are relative to the folder of `dataset`; reads nothing.

    Raises ConfigError or DataError naming the row.
    """
    windows = []
    for number, row in enumerate(rows, start=1):
        media = row.get("video") or row.get("media_path") or row.get("audio")
        if not isinstance(media, str) or not isinstance(row.get("caption"), str):
            raise DataError(f"{dataset}, row {number} lacks `video` or `caption`.", "Add the column or remove the row.")
        caption = with_trigger(row["caption"], trigger)
        split = _split(row.get("split", "train"), f"{dataset}, row {number}")
        for index, sample in enumerate(row.get("samples", [])):
            windows.append(
                Window(
                    name=sample_name(media, index),
                    media=dataset.parent / media,
                    sound=dataset.parent / (row.get("audio") or media),
                    sha256=row.get("sha256", ""),
                    caption=caption,
                    start_s=float(sample["start_s"]),
                    duration_s=float(sample["duration_s"]),
                    bucket=parse_buckets(sample["bucket"])[0] if sample.get("bucket") else None,
                    has_audio=bool(row.get("has_audio")),
                    split=split,
                    group=row.get("group"),
                    gain_db=float(row.get("gain_db", 0.0)),
                    inputs=_inputs(row, dataset.parent),
                )
            )
    return windows


def _inputs(row: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """The files beside the clip's own, by column; a column under its own name wins over an alias."""
    found: dict[str, Path] = {}
    for name, given in row.items():
        column = _COLUMN_ALIASES.get(name, name)
        wins = name == column or not row.get(column)
        if given and isinstance(given, str) and wins and _INPUT_COLUMN.fullmatch(column):
            found[column] = folder / given
    return found


def is_image(path: Path) -> bool:
    """True if the name says that the file is a picture."""
    kind, _ = mimetypes.guess_type(path.name)
    return kind is not None and kind.startswith("image/")


def with_trigger(caption: str, trigger: str | None) -> str:
    """Return `caption` with the trigger word in front, unless it holds the word already: it never stands twice."""
    if not trigger or re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE):
        return caption
    return f"{trigger} {caption}"


def _split(value: object, where: str) -> Split:
    if value not in ("train", "heldout"):
        raise DataError(f"{where}: split is {value!r}.", "Write `train` or `heldout`, or leave it out for `train`.")
    return "train" if value == "train" else "heldout"


def sample_name(media: str, window: int) -> str:
    """Return the cache name of one window of a media file, from its path relative to the dataset file.

    The suffix is kept, so that same-stem files don't collide. A folder outside the dataset's own is named by its last
    part and a digest of its path; an over-long name ends in a digest.
    """
    path = Path(media)
    folder = path.parent.as_posix()
    if path.is_absolute() or ".." in path.parts:
        folder = f"{_cut(path.parent.name) or 'clips'}-{_digest(folder)[:8]}"
    name = f"{path.name}.{window:03d}"
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = f"{_cut(name)}-{_digest(name)[:16]}"
    return name if folder == "." else f"{folder}/{name}"


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _cut(name: str) -> str:
    return os.fsencode(name)[: _NAME_BYTES - 24].decode("utf-8", errors="ignore").strip(".")
