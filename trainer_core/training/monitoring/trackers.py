"""Experiment trackers: a run's figures and samples for wandb, trackio and TensorBoard, through accelerate's classes.

A thread of the trainer reads what the run writes anyway and passes it on, so that no training step ever waits for a
network; a tracker that fails is an event, and the run goes on.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainer_core.config import TrainingConfig, wanted_trackers
from trainer_core.files import read_jsonl
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.index import SampleRow, read_index
from trainer_core.training.monitoring.status_writer import StatusKeeper

_POLL_S = 2.0
_SAMPLE_STEP = "samples/step"
_LEFT_OUT = frozenset({"step", "time_s", "clips"})


@contextmanager
def tracked(config: TrainingConfig, run: RunFolder, keeper: StatusKeeper, *, main: bool = True) -> Iterator[None]:
    """Feed the config's trackers while the block runs, and once more when it ends; only the `main` process does."""
    installed = [name for name in wanted_trackers(config) if find_spec(name) is not None]
    feeds = [_Feed(name, config, run, keeper) for name in installed] if main else []
    for feed in feeds:
        feed.start()
    try:
        yield
    finally:
        for feed in feeds:
            feed.finish()


class _Feed:
    """One tracker and how far it has read."""

    def __init__(self, name: str, config: TrainingConfig, run: RunFolder, keeper: StatusKeeper) -> None:
        self._name, self._config, self._run, self._keeper = name, config, run, keeper
        self._rows = 0
        self._samples: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Pass the rest on and close; a tracker that hangs is left behind after a minute."""
        self._ended.set()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        try:
            tracker = _OPENERS[self._name](self._config, self._run)
            tracker.store_init_configuration(_flat(self._config.model_dump(mode="json")))
            while not self._ended.wait(_POLL_S):
                self._pass_on(tracker)
            self._pass_on(tracker)
            tracker.finish()
        except Exception as error:  # whatever a tracker's library or network raises: the run doesn't depend on it
            self._keeper.record("tracker failed", tracker=self._name, error=f"{type(error).__name__}: {error}")

    def _pass_on(self, tracker: Any) -> None:
        """Pass on what is new, by step: figures first, then the samples made with those weights."""
        rows = read_jsonl(self._run.metrics_path) if self._run.metrics_path.exists() else []
        index = read_index(self._run.samples)
        shown = self._name != "wandb" or self._config.wandb.log_validation_videos
        samples = [one for one in index.samples if one.file not in self._samples] if index is not None and shown else []
        news: list[tuple[int, int, Any]] = [(row["step"], 0, row) for row in rows[self._rows :]]
        news += [(sample.step, 1, sample) for sample in samples]
        for step, kind, one in sorted(news, key=lambda new: new[:2]):
            if kind == 0:
                tracker.log(_numbers(one), step=step)
            else:
                self._samples.add(one.file)
                _SHOWERS[self._name](tracker, self._run.samples, one)
        self._rows = len(rows)


def _tensorboard(_config: TrainingConfig, run: RunFolder) -> Any:
    from accelerate.tracking import TensorBoardTracker

    return _started(TensorBoardTracker("tensorboard", logging_dir=str(run.path)))


def _trackio(config: TrainingConfig, run: RunFolder) -> Any:
    from accelerate.tracking import TrackioTracker

    return _started(TrackioTracker(config.wandb.project, name=run.id))


def _wandb(config: TrainingConfig, run: RunFolder) -> Any:
    from accelerate.tracking import WandBTracker

    section = config.wandb
    tracker = _started(
        WandBTracker(
            section.project,
            entity=section.entity,
            tags=section.tags,
            name=run.id,
            dir=str(run.path),
            resume="allow",
            id=run.id,
        )
    )
    tracker.tracker.define_metric("samples/*", step_metric=_SAMPLE_STEP)
    return tracker


def _started(tracker: Any) -> Any:
    tracker.start()
    return tracker


def _show_picture(tracker: Any, folder: Path, row: SampleRow) -> None:
    import numpy as np
    from PIL import Image

    with Image.open(folder / row.poster) as image:
        tracker.log_images({_title(row): np.asarray(image.convert("RGB"))[None]}, step=row.step, dataformats="NHWC")


def _show_wandb(tracker: Any, folder: Path, row: SampleRow) -> None:
    import wandb

    path = str(folder / row.file)
    media = {"video": wandb.Video, "audio": wandb.Audio, "image": wandb.Image}[row.kind](path)
    # wandb drops what is older than its newest row, and a sample comes some steps late: it has a step of its own
    run = tracker.tracker
    run.log({_title(row): media, _SAMPLE_STEP: row.step}, step=max(run.step, row.step))


def _show_trackio(tracker: Any, folder: Path, row: SampleRow) -> None:
    import trackio

    path = str(folder / row.file)
    media = {"video": trackio.Video, "audio": trackio.Audio, "image": trackio.Image}[row.kind](path)
    tracker.log({_title(row): media}, step=row.step)


_OPENERS: dict[str, Callable[[TrainingConfig, RunFolder], Any]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
    "wandb": _wandb,
}
_SHOWERS: dict[str, Callable[[Any, Path, SampleRow], None]] = {
    "tensorboard": _show_picture,
    "trackio": _show_trackio,
    "wandb": _show_wandb,
}


def _title(row: SampleRow) -> str:
    return f"samples/{row.prompt}/{'adapter' if row.adapter else 'base'}"


def _numbers(row: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Every figure of a row of metrics.jsonl; sections become paths: step_s/forward, heldout/video."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if name in _LEFT_OUT:
            continue
        if isinstance(value, dict):
            found |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = float(value)
    return found


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value if isinstance(value, int | float | str | bool) else str(value)
    return found
