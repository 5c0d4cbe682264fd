"""The endless stream of batches that a run takes from its samples, read ahead.

The stream is a pure function of (seed, position): nothing about the order has to be saved to resume.
"""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer_core.data.batch import Batch, ModalityBatch, Reference
from trainer_core.data.encoding.cache import read_tensors
from trainer_core.data.samples import SampleFiles, reference_key
from trainer_core.data.stored import frame_rate_of, grid_of, latents_of, tensor_of, text_of
from trainer_core.errors import DataError, LtxError, error_of
from trainer_core.objective import ModalityName, Objective

Prepared = TypeVar("Prepared")


def plan_epoch(samples: list[SampleFiles], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return one epoch's batches of sample indices: one shape a batch, every sample once, order from (seed, epoch)."""
    order = random.Random(f"{seed}:{epoch}")
    by_shape: dict[tuple[Any, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        by_shape.setdefault(sample.shape, []).append(index)
    batches = []
    for indices in by_shape.values():
        order.shuffle(indices)
        batches += [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    order.shuffle(batches)
    return batches


class BatchStream(Dataset[Batch]):
    """Batch number `position` of the endless stream: epoch after epoch, loaded from disk."""

    def __init__(self, samples: list[SampleFiles], objective: Objective, batch_size: int, seed: int) -> None:
        self.samples = samples
        self.objective = objective
        self.batch_size = batch_size
        self.seed = seed
        first = plan_epoch(samples, batch_size, seed, 0)
        self.batches_an_epoch = len(first)
        self._planned = (0, first)

    def __getitem__(self, position: int) -> Batch:
        """Batch number `position`. Raises DataError for a sample whose files changed or broke since it was found."""
        epoch, index = divmod(position, self.batches_an_epoch)
        if self._planned[0] != epoch:
            self._planned = (epoch, plan_epoch(self.samples, self.batch_size, self.seed, epoch))
        batches = self._planned[1]
        return load_batch(
            [self.samples[sample] for sample in batches[index]], self.objective, tuple(batches[index]), epoch
        )

    def every_sample(self) -> Iterator[Batch]:
        """Each sample alone, once, in the dataset's order."""
        for index, sample in enumerate(self.samples):
            yield load_batch([sample], self.objective, (index,))

    def positions(self, first_step: int, steps: int, rank: int, ranks: int, accumulation: int) -> Iterator[int]:
        """Stream positions of one rank: optimizer step s takes ranks·accumulation consecutive batches."""
        for step in range(first_step, steps):
            for micro in range(accumulation):
                yield (step * accumulation + micro) * ranks + rank


def load_batches(
    stream: BatchStream,
    first_step: int,
    steps: int,
    *,
    rank: int,
    ranks: int,
    accumulation: int,
    workers: int,
    prepare: Callable[[Batch], Prepared],
) -> Iterator[Prepared]:
    """Yield the prepared batches of `rank` from `first_step` on, read ahead by `workers` processes (0: in this one)."""
    positions = list(stream.positions(first_step, steps, rank, ranks, accumulation))
    # its own generator: the loader draws a seed from it, which must not move the random states that dropout uses
    loader: DataLoader[Batch | _Fault] = DataLoader(
        _CarryFaults(stream),
        batch_size=None,
        sampler=positions,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
    )
    if workers == 0:
        for arrived in loader:
            yield prepare(_raised(arrived))
        return
    arriving = iter(loader)

    def take() -> Prepared | None:
        batch = next(arriving, None)
        return None if batch is None else prepare(_raised(batch))

    # taking a batch over from a worker and preparing it cost milliseconds too: a thread does it while the step runs
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as taking:
        upcoming = taking.submit(take)
        while (prepared := upcoming.result()) is not None:
            upcoming = taking.submit(take)
            yield prepared


@dataclass(frozen=True)
class _Fault:
    """An error for people on its way out of a worker process: there it would turn into a traceback as text."""

    message: str
    hint: str
    exit_code: int


class _CarryFaults(Dataset["Batch | _Fault"]):
    """A stream whose faults come out as values."""

    def __init__(self, stream: BatchStream) -> None:
        self._stream = stream

    def __getitem__(self, position: int) -> "Batch | _Fault":
        try:
            return self._stream[position]
        except LtxError as error:
            return _Fault(error.message, error.hint, error.exit_code)


def _raised(arrived: "Batch | _Fault") -> Batch:
    if isinstance(arrived, _Fault):
        raise error_of(arrived.message, arrived.hint, arrived.exit_code)
    return arrived


def load_batch(samples: list[SampleFiles], objective: Objective, indices: tuple[int, ...], epoch: int = 0) -> Batch:
    """Read `samples` (of one shape) from disk and stack them."""
    texts = []
    for sample in samples:
        path = sample.paths["conditions"]
        texts.append(text_of(read_tensors(path), path))
        _expect_unchanged(sample, "text", tuple(texts[-1]["mask"].shape), path)
    return Batch(
        video=_load_modality("video", samples, objective),
        audio=_load_modality("audio", samples, objective),
        video_features=torch.stack([text["video"].float() for text in texts]),
        audio_features=torch.stack([text["audio"].float() for text in texts]),
        text_mask=torch.stack([text["mask"].to(torch.int64) for text in texts]),
        clips=tuple(sample.name for sample in samples),
        indices=indices,
        epoch=epoch,
    )


def _load_modality(name: ModalityName, samples: list[SampleFiles], objective: Objective) -> ModalityBatch | None:
    role = objective.modality(name)
    if not role.present:
        return None
    mask = role.condition("mask")
    latents, rates = _stacked_latents(name, samples, role.latents_dir, name)
    references = {}
    for number, reference in enumerate(role.references, start=1):
        of, own_rates = _stacked_latents(name, samples, reference.latents_dir, reference_key(name, number))
        references[reference.latents_dir] = Reference(of, own_rates)
    return ModalityBatch(
        latents=latents,
        frame_rate=rates,
        mask=_stacked_masks(name, samples, mask.mask_dir) if mask is not None else None,
        references=references,
    )


def _stacked_latents(
    name: ModalityName, samples: list[SampleFiles], directory: str, key: str
) -> tuple[Tensor, Tensor | None]:
    """Latents [B, …] of one directory, and the frame rates [B] of video."""
    latents, rates = [], []
    for sample in samples:
        path = sample.paths[directory]
        content = read_tensors(path)
        own = latents_of(content, path, name).float()
        _expect_unchanged(sample, key, grid_of(own), path)
        latents.append(own)
        rates.append(frame_rate_of(content, path) if name == "video" else 0.0)
    return torch.stack(latents), torch.tensor(rates) if name == "video" else None


def _stacked_masks(name: ModalityName, samples: list[SampleFiles], directory: str) -> Tensor:
    masks = []
    for sample in samples:
        path = sample.paths[directory]
        masks.append(tensor_of(read_tensors(path), "mask", path).float())
        _expect_unchanged(sample, name, tuple(masks[-1].shape), path)
    return torch.stack(masks)


def _expect_unchanged(sample: SampleFiles, key: str, shape: tuple[int, ...], path: Path) -> None:
    known = dict(sample.shape)[key]
    if shape != known:
        raise DataError(
            f"{sample.name}: {path} is {shape} now; it was {known} when the samples were found.",
            "Don't encode into a folder that is being trained on. Encode again and resume.",
        )
