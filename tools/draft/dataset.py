"""dataset.jsonl: the clips that will train, with their captions, in upstream's column names plus ours."""

import os
from pathlib import Path
from typing import Any

from tools.caption.store.captions import captions_by_clip, read_captions
from tools.draft.choices import Draft
from tools.draft.levels import even_gain_db
from tools.inspect.discover.names import displayed
from tools.inspect.report.clips import content_digest
from tools.inspect.report.report import Clip
from tools.project import Project
from trainer_core.errors import DataError
from trainer_core.files import write_jsonl


def write_dataset(project: Project, draft: Draft) -> None:
    """Write one row a clip to dataset.jsonl, media paths relative to its folder, held-out clips marked.

    Raises DataError naming the clips that have no caption.
    """
    write_jsonl(project.dataset_path, dataset_rows(project, draft))


def dataset_rows(project: Project, draft: Draft) -> list[dict[str, Any]]:
    """Return the rows of the draft's clips in their order. Raises DataError naming the clips that have no caption."""
    clips, split = draft.training, draft.split
    sound_alone = draft.config["training_strategy"]["video"] is None
    captions = captions_by_clip(read_captions(project.captions_path), clips)
    missing = [clip for index, clip in enumerate(clips) if index not in captions or not captions[index].caption.strip()]
    if missing:
        names = ", ".join(displayed(clip.path) for clip in missing)
        raise DataError(
            f"{len(missing)} of the {len(clips)} clips to train on have no caption: {names}.",
            "Caption them with `ltx-agent caption`.",
        )
    return [
        {
            **_row(project, clip, captions[index].caption),
            **({"gain_db": gain} if sound_alone and (gain := even_gain_db(clip)) else {}),
            "split": split.side(index),
            "group": split.groups[index],
        }
        for index, clip in enumerate(clips)
    ]


def _row(project: Project, clip: Clip, caption: str) -> dict[str, Any]:
    source, here = Path(clip.source).resolve(), project.path.resolve()
    files = {"audio" if clip.kind == "audio" else "video": clip.path, **clip.columns}
    return {
        **{column: os.path.relpath(source / path, here) for column, path in files.items()},
        "caption": caption,
        "samples": [sample.model_dump() for sample in clip.samples],
        "sha256": content_digest(clip),
        "has_audio": clip.audio.status == "ok",
    }
