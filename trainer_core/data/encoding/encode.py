"""Clips to latents: video VAE, audio VAE and text features into upstream's precomputed layout, once.

One big model is resident at a time; a file whose fingerprint is unchanged is not made again, however the encode before
ended. Several processes (accelerate) share the windows.
"""

import fcntl
import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import torch

from trainer_core.config import TrainingConfig
from trainer_core.data.encoding.ahead import ahead
from trainer_core.data.encoding.cache import Cache, open_cache
from trainer_core.data.encoding.jobs import EncodingJob, Place, jobs_of, load
from trainer_core.data.encoding.manifest import Entry, difference, entry_of, refuse_foreign
from trainer_core.data.media.pictures import ClipReader
from trainer_core.data.windows import Window, training_windows
from trainer_core.errors import ConfigError
from trainer_core.model.load import open_model
from trainer_core.objective import objective_of

Progress = Callable[[str, int, int], None]
Tell = Callable[[str], None]
KEPT = 0.5
"""A cell whose mask is above this is given, not learned."""
PIECES_AHEAD = 4
"""Blocks of pictures, or sounds, that are read while the model works on the one before."""
LONGEST_SHARE = timedelta(hours=12)
"""How long a process may wait for the slowest of the others."""
_END = object()


@dataclass(frozen=True)
class EncodeSummary:
    """Counts of an encode, in files; `reasons` says why some that were there were encoded again."""

    samples: int
    encoded: int
    reused: int
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _EncodingWork:
    """One job's windows that need a file, each with its entry; and why files that are there are made again."""

    job: EncodingJob
    todo: list[tuple[Window, Entry]]
    reasons: list[str]


def encode_dataset(config: TrainingConfig, progress: Progress | None = None, tell: Tell | None = None) -> EncodeSummary:
    """Encode what the objective needs of `config.ltx_agent.dataset` into `config.data.preprocessed_data_root`.

    `tell` hears, before anything is made, why files that are there are made again; then which masks leave nothing to
    learn, and when captions are encoded on the CPU because the card has no room. Paths in `config` are absolute
    (`resolve_paths`). Raises DataError naming the clip that can't be encoded.
    """
    processes = _processes()
    objective = objective_of(config.strategy)
    windows = training_windows(config, _told_by(tell))
    root = Path(config.data.preprocessed_data_root)
    source = open_model(config.model)
    jobs = jobs_of(config, objective, source)
    with _alone(root, processes.is_main_process):
        if processes.is_main_process:
            refuse_foreign(root, (f"{job.directory}/{window.name}.pt" for job in jobs for window in windows))
            _remove_unfinished(root, jobs)
        processes.wait_for_everyone()
        cache = open_cache(root, processes.process_index)
        works = [_work(cache, job, windows) for job in jobs]
        reasons = [reason for work in works for reason in work.reasons]
        if tell is not None and processes.is_main_process:
            for reason in reasons:
                tell(reason)
        precision = torch.bfloat16 if processes.device.type == "cuda" else torch.float32
        place = Place(processes.device, precision, config.acceleration.load_text_encoder_in_8bit)
        processes.wait_for_everyone()
        one_was_loaded = False
        try:
            for model, stage in groupby(works, key=lambda work: work.job.model):
                shares = [_share(work, processes.process_index, processes.num_processes) for work in stage]
                if any(work.todo for work in shares):
                    if one_was_loaded:
                        _free_memory()
                    loaded = load(model, source, place, tell or _unheard)
                    _run(shares, loaded, cache, progress or _silent, tell or _unheard)
                    del loaded
                    one_was_loaded = True
            processes.wait_for_everyone()
        finally:
            if processes.is_main_process and (any(work.todo for work in works) or cache.manifest.has_journals):
                cache.manifest.compact()
    made = sum(len(work.todo) for work in works)
    return EncodeSummary(len(windows), made, len(windows) * len(jobs) - made, reasons)


def _work(cache: Cache, job: EncodingJob, windows: list[Window]) -> _EncodingWork:
    """Which windows lack their file, or have one made from something else."""
    todo = []
    changed: Counter[str] = Counter()
    for window in windows:
        entry = entry_of(job.facts(window))
        if cache.holds(job.directory, window.name, entry):
            continue
        todo.append((window, entry))
        old = cache.manifest.entries.get(f"{job.directory}/{window.name}.pt")
        if old is not None:
            gone = not cache.path(job.directory, window.name).exists()
            changed["the file was removed" if gone else difference(old, entry)] += 1
    reasons = [f"{job.what}: {count} of {len(windows)} redone because {why}" for why, count in changed.most_common()]
    return _EncodingWork(job, todo, reasons)


def _share(work: _EncodingWork, rank: int, ranks: int) -> _EncodingWork:
    """The consecutive windows that this process makes: those of one clip stay together."""
    count = len(work.todo)
    return _EncodingWork(work.job, work.todo[count * rank // ranks : count * (rank + 1) // ranks], work.reasons)


def _run(works: list[_EncodingWork], loaded: Any, cache: Cache, report: Progress, tell: Tell) -> None:
    """Make the files of the jobs that use one model. One is read and one written while it works on another."""
    for work in works:
        job, total = work.job, len(work.todo)
        reading = closing(ahead(_pieces(job, loaded, work.todo), PIECES_AHEAD))
        with reading as pieces, ThreadPoolExecutor(1, "write-behind") as disk, torch.no_grad():
            writing: Future[None] | None = None
            for done, (window, entry) in enumerate(work.todo):
                report(job.what, done, total)
                own = takewhile(lambda piece: piece is not _END, pieces)
                content = job.encode(loaded, window, own)
                for _ in own:
                    pass
                if "mask" in content and bool((content["mask"] > KEPT).all()):
                    tell(f"{window.name}: its mask keeps every latent cell, so nothing of it is learned.")
                if writing is not None:
                    writing.result()
                writing = disk.submit(cache.write, job.directory, window.name, entry, content)
            if writing is not None:
                writing.result()
        report(job.what, total, total)


def _free_memory() -> None:
    """Give back what the model before held: only one is resident at a time."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _pieces(job: EncodingJob, loaded: Any, todo: list[tuple[Window, Entry]]) -> Iterator[Any]:
    """What the media give for all windows, one after the other, each ended by `_END`."""
    with ClipReader() as reader:
        for window, _ in todo:
            yield from job.read(loaded, window, reader)
            yield _END


def _processes() -> Any:
    """The processes that share this encode; alone if nobody launched several."""
    from accelerate import PartialState

    several = {"timeout": LONGEST_SHARE} if int(os.environ.get("WORLD_SIZE", "1")) > 1 else {}
    return PartialState(cpu=not torch.cuda.is_available(), **several)


@contextmanager
def _alone(root: Path, is_main: bool) -> Iterator[None]:
    """Hold the folder's lock in the main process, so that two encodes never write one cache at once."""
    if not is_main:
        yield
        return
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another process is encoding into {root}.", "Wait until it is done, or stop it; nothing gets lost."
            ) from error
        except OSError:  # some network file systems have no locks
            pass
        yield


def _remove_unfinished(root: Path, jobs: list[EncodingJob]) -> None:
    """Remove what a killed process left half-written."""
    for job in jobs:
        for path in (root / job.directory).rglob(".part-*"):
            with suppress(OSError):
                path.unlink()


def _told_by(tell: Tell | None) -> Callable[[str, str], None] | None:
    """Says by `tell` which samples are left out."""
    if tell is None:
        return None
    return lambda name, columns: tell(f"{name} is left out: it has no {columns}.")


def _unheard(_reason: str) -> None:
    """Nobody listens."""


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""
