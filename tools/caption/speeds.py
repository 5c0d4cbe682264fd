"""Measured speeds of captioners, kept on this machine between projects for estimates before a clip is timed."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict, ValidationError

from tools.caption.captioners.captioner import Captioner, Style
from tools.caption.store.captions import CaptionEntry
from trainer_core.errors import LtxError
from trainer_core.files import read_json, write_json


class CaptionerSpeed(BaseModel):
    """Means a clip of the last time a captioner wrote in a style; `measured_at` is in Unix seconds."""

    model_config = ConfigDict(extra="ignore")

    clips: int
    seconds: float
    prompt_tokens: float
    completion_tokens: float
    measured_at: float


def earlier_speed(captioner: Captioner, style: Style) -> CaptionerSpeed | None:
    """Return how fast this model was the last time it wrote in this style on this machine, in whatever project."""
    try:
        return CaptionerSpeed.model_validate(_kept()[_key(captioner, style)])
    except (KeyError, ValidationError):
        return None


def keep_speed(captioner: Captioner, style: Style, rows: Sequence[CaptionEntry]) -> None:
    """Remember how fast `rows` were written; a machine that can't keep it loses an estimate and nothing else."""
    timed = [row for row in rows if row.source == captioner.source and row.seconds > 0]
    if not timed:
        return
    speed = CaptionerSpeed(
        clips=len(timed),
        seconds=fmean(row.seconds for row in timed),
        prompt_tokens=fmean(row.prompt_tokens for row in timed),
        completion_tokens=fmean(row.completion_tokens for row in timed),
        measured_at=time.time(),
    )
    with contextlib.suppress(OSError, LtxError):
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_json(_path(), {**_kept(), _key(captioner, style): speed.model_dump()})


def _key(captioner: Captioner, style: Style) -> str:
    return f"{captioner.source}:{captioner.model}:{style}"


def _kept() -> dict[str, object]:
    with contextlib.suppress(OSError, ValueError, LtxError):
        document = read_json(_path())
        if isinstance(document, dict):
            return document
    return {}


def _path() -> Path:
    import platformdirs

    return Path(platformdirs.user_state_dir("ltx-agent")) / "captioners.json"
