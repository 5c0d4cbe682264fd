"""The project's recorded rehearsal, compared with the config as it now stands. Reads only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.project import Project
from tools.rehearsal.rehearse import REHEARSAL_NAME, RehearseResult, Trial, digest, switches_of
from trainer_core.config import TrainingConfig, load_config
from trainer_core.config_paths import resolve_paths
from trainer_core.errors import LtxError
from trainer_core.files import read_json


@dataclass(frozen=True)
class Rehearsed:
    """The trial whose settings the config has, and the switches it still lacks to fit, by dotted key."""

    result: RehearseResult
    trial: Trial
    lacking: dict[str, Any]


def rehearsed(project: Project) -> Rehearsed | None:
    """Return what was rehearsed of config.yaml; None when nothing was, or what was tells nothing of it any more."""
    try:
        config = resolve_paths(load_config(project.config_path), project.path)
    except LtxError:
        return None
    result = kept_rehearsal(project.path, config)
    now = switches_of(config)
    trial = next((trial for trial in result.trials if trial.switches == now), None) if result is not None else None
    if result is None or trial is None:
        return None
    return Rehearsed(result, trial, {} if trial.fits or not result.fits else result.changes)


def kept_rehearsal(folder: Path, config: TrainingConfig) -> RehearseResult | None:
    """Return the rehearsal kept in `folder` if it was of this training, whatever its memory settings now are."""
    path = folder / REHEARSAL_NAME
    if not path.exists():
        return None
    try:
        found = RehearseResult.model_validate(read_json(path))
    except (LtxError, ValueError):  # written by another version: rehearse again
        return None
    return found if found.config_digest == digest(config) and found.trials else None
