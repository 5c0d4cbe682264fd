"""The precomputed folder as training samples, and the endless stream of batches that a run takes from it.

The stream is a pure function of (seed, position): nothing about the order has to be saved to resume.
"""

import random
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer_core.data.batch import Batch, ModalityBatch, token_width
from trainer_core.data.encoding.cache import read_header, read_tensors
from trainer_core.errors import DataError
from trainer_core.model.source import InputWidths
from trainer_core.objective import (
    ModalityName,
    ModalityObjective,
    Objective,
    VaeFactors,
    check_shape,
    reference_scales,
)

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class SampleFiles:
    """One sample: its name, the file of each of the objective's directories, and the shape that decides its batch."""

    name: str
    paths: dict[str, Path]
    shape: tuple[Any, ...]


def find_samples(
    root: Path, objective: Objective, factors: VaeFactors, only: Collection[str] | None = None
) -> list[SampleFiles]:
    """Return the samples under `root` that have every input of the objective, sorted by name; `only` these, if given.

    Raises DataError when a sample lacks an input (naming the dataset column it is made from) or when there is none,
    and ConfigError when the conditions leave a sample nothing to train on.
    """
    columns = objective.columns()
    target = objective.video if objective.video.present else objective.audio
    folder = root / target.latents_dir
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*.pt")) if folder.is_dir() else []
    if only is not None:
        wanted = {f"{name}.pt" for name in only}
        if missing_latents := sorted(wanted - set(names)):
            raise DataError(
                f"{len(missing_latents)} of {len(wanted)} samples of the dataset are not encoded; the first is "
                f"{missing_latents[0]}.",
                "Encode the clips first: `ltx-agent encode`.",
            )
        names = sorted(wanted)
    if not names:
        raise DataError(
            f"There are no latents in {folder}.",
            f"Encode the clips first; the dataset needs the column `{columns[target.latents_dir]}`.",
        )
    lacking = {
        directory: missing
        for directory in columns
        if (missing := [name for name in names if not (root / directory / name).exists()])
    }
    if lacking:
        directory, missing = next(iter(lacking.items()))
        raise DataError(
            f"{len(missing)} of {len(names)} samples have no `{columns[directory]}` (no file in {root / directory}); "
            f"the first is {missing[0]}.",
            "Add the column to the dataset and encode again, or remove those samples' latents.",
        )
    samples = []
    for name in names:
        paths = {directory: root / directory / name for directory in columns}
        samples.append(SampleFiles(name, paths, _shape(name, paths, objective, factors)))
    return samples


def check_widths(samples: list[SampleFiles], objective: Objective, widths: InputWidths) -> None:
    """Refuse samples that were encoded by another model than the one that trains. Raises DataError naming the first."""
    text = {"video": widths.video_text, "audio": widths.audio_text}
    for sample in samples:
        features = _text(read_header(sample.paths["conditions"]), sample.paths["conditions"])
        for name, role, wanted in (("video", objective.video, widths.video), ("audio", objective.audio, widths.audio)):
            if not role.present:
                continue
            reference = role.condition("reference")
            directories = [role.latents_dir] if reference is None else [role.latents_dir, reference.latents_dir]
            found = {
                f"{name} latents": (token_width(_tensor(sample.paths[directory], "latents")), wanted)
                for directory in directories
            }
            found[f"{name} text features"] = (features[name].shape[-1], text[name])
            for what, (width, expected) in found.items():
                if width != expected:
                    raise DataError(
                        f"{sample.name}: its {what} are {width} wide, this model takes {expected}: they were encoded "
                        "with another version of LTX.",
                        "Encode the clips with this model into a folder of their own, or name the model they are for.",
                    )


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
    loader: DataLoader[Batch] = DataLoader(
        stream, batch_size=None, sampler=positions, num_workers=workers, generator=torch.Generator().manual_seed(0)
    )
    if workers == 0:
        yield from map(prepare, loader)
        return
    arriving = iter(loader)

    def take() -> Prepared | None:
        batch = next(arriving, None)
        return None if batch is None else prepare(batch)

    # taking a batch over from a worker and preparing it cost milliseconds too: a thread does it while the step runs
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as taking:
        upcoming = taking.submit(take)
        while (prepared := upcoming.result()) is not None:
            upcoming = taking.submit(take)
            yield prepared


def load_batch(samples: list[SampleFiles], objective: Objective, indices: tuple[int, ...], epoch: int = 0) -> Batch:
    """Read `samples` (of one shape) from disk and stack them."""
    texts = [_text(read_tensors(path), path) for path in (sample.paths["conditions"] for sample in samples)]
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
    contents = [read_tensors(sample.paths[role.latents_dir]) for sample in samples]
    reference, mask = role.condition("reference"), role.condition("mask")
    return ModalityBatch(
        latents=torch.stack([content["latents"].float() for content in contents]),
        frame_rate=torch.tensor([float(content["fps"]) for content in contents]) if name == "video" else None,
        mask=_stacked(samples, mask.mask_dir, "mask") if mask is not None else None,
        reference=_stacked(samples, reference.latents_dir, "latents") if reference is not None else None,
    )


def _stacked(samples: list[SampleFiles], directory: str, key: str) -> Tensor:
    return torch.stack([read_tensors(sample.paths[directory])[key].float() for sample in samples])


def _text(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Features of video and audio and their mask, of a conditions file; its legacy form has one `prompt_embeds`."""
    video = content.get("video_prompt_embeds", content.get("prompt_embeds"))
    if video is None or "prompt_attention_mask" not in content:
        raise DataError(f"{path} holds no prompt embeddings.", "Encode the captions again.")
    return {
        "video": video,
        "audio": content.get("audio_prompt_embeds", video),
        "mask": content["prompt_attention_mask"],
    }


def _shape(name: str, paths: dict[str, Path], objective: Objective, factors: VaeFactors) -> tuple[Any, ...]:
    """What must be equal within a batch: the grid of every tensor the sample brings. Refuses impossible samples."""
    text = _text(read_header(paths["conditions"]), paths["conditions"])
    grids: dict[str, tuple[int, ...]] = {"text": (len(text["mask"]),)}
    for side_name, side in (("video", objective.video), ("audio", objective.audio)):
        if not side.present:
            continue
        grid = _grid(_tensor(paths[side.latents_dir], "latents"))
        grids[side_name] = grid
        if side_name == "video" and "fps" not in read_header(paths[side.latents_dir]):
            raise DataError(f"{paths[side.latents_dir]} doesn't say its frame rate (`fps`).", "Encode the clip again.")
        mask, reference = side.condition("mask"), side.condition("reference")
        if mask is not None:
            shape = tuple(_tensor(paths[mask.mask_dir], "mask").shape)
            if shape != grid:
                raise DataError(
                    f"{name}: its {side_name} mask is {shape}, its latents are {grid}.", "Encode the masks again."
                )
            _refuse_full_mask(name, side_name, side, read_tensors(paths[mask.mask_dir])["mask"] > 0.5)
        if reference is not None:
            own = _grid(_tensor(paths[reference.latents_dir], "latents"))
            if side_name == "video":
                reference_scales(grid, own, name)
            grids[f"{side_name}_reference"] = own
    video = grids.get("video")
    audio = grids.get("audio")
    check_shape(
        objective, name, (video[0], video[1], video[2]) if video else None, audio[0] if audio else None, factors
    )
    return tuple(sorted(grids.items()))


def _refuse_full_mask(name: str, side_name: str, side: ModalityObjective, keep: Tensor) -> None:
    """Refuse a mask [F, H, W] or [T] that, with what a prefix and a suffix keep, leaves nothing to generate."""
    before, after = (getattr(side.condition(kind), "temporal_boundary", 0) for kind in ("prefix", "suffix"))
    if bool(keep[before : len(keep) - after].all()):
        raise DataError(
            f"{name}: its {side_name} mask keeps everything: nothing is left to train on.",
            "Give it a mask with some black (0 = generate, 1 = keep); is it the wrong way round?",
        )


def _tensor(path: Path, key: str) -> Tensor:
    tensor = read_header(path).get(key)
    if not isinstance(tensor, Tensor):
        raise DataError(f"{path} holds no tensor `{key}`.", "Delete it and encode again.")
    return tensor


def _grid(latents: Tensor) -> tuple[int, ...]:
    return tuple(latents.shape[1:]) if latents.ndim == 4 else (latents.shape[1],)
