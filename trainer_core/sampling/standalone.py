"""Sampling outside a run: a model with any stack of adapters on it, prompts in, a folder with a page out.

The text encoder and the VAEs work first, then the transformer, then the VAEs again: one big model at a time.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from trainer_core.config import is_tiny
from trainer_core.errors import ConfigError
from trainer_core.files import write_json
from trainer_core.model.load import open_model
from trainer_core.model.ltx import LtxModel
from trainer_core.model.source import ModelSource, Placement
from trainer_core.objective import ModalityName
from trainer_core.sampling.cached_inputs import INPUTS_FOLDER, Prepared, prepare_inputs
from trainer_core.sampling.decode import Tiles
from trainer_core.sampling.guidance import UNGUIDED, Guidance, guidance_of
from trainer_core.sampling.index import SampleIndex
from trainer_core.sampling.memory_budget import Room, held_bytes, room_for_samples, tiles_that_fit
from trainer_core.sampling.multi_lora import (
    Conflict,
    Weighted,
    act_on_text,
    check_stack,
    conflicts,
    open_adapter,
    stack_adapters,
)
from trainer_core.sampling.prompts import Wanted
from trainer_core.sampling.render import Decoders, Shot, write_shots
from trainer_core.sampling.sampler import denoise, draw_noise
from trainer_core.sampling.schedule import DISTILLED_SIGMAS, dev_sigmas
from trainer_core.sections.own import MemorySection
from trainer_core.sections.run import ModelSection
from trainer_core.sections.validation import ReferenceSample, ValidationSection
from trainer_core.training.step import MODALITIES

ScheduleName = Literal["auto", "dev", "distilled"]
Report = Callable[[str, int, int], None]
STACK_NAME = "adapters.json"
FROZEN_KINDS: dict[ModalityName, str] = {"video": "video_to_audio", "audio": "audio_to_video"}
"""The condition of a sample that gives a frozen modality."""


@dataclass(frozen=True)
class Order:
    """Samples to make. `adapters` are files with their weights; `step` is what the newest of them is labelled with.

    `base` renders the model without any adapter beside it, at the same seed.
    """

    model: ModelSection
    section: ValidationSection
    wanted: list[Wanted]
    adapters: list[tuple[Path, float]]
    schedule: ScheduleName = "auto"
    base: bool = True
    step: int = 0
    quantization: str | None = None
    swap_blocks: int = 0
    text_in_8bit: bool = False
    title: str = "adapters"


@dataclass(frozen=True)
class _Way:
    """How every sample of an order is denoised, and what has to be said about it."""

    guidance: Guidance
    sigmas: Sequence[float]
    notes: list[str]

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1


@dataclass(frozen=True)
class Gallery:
    """Samples made, their folder, and notes on them."""

    folder: Path
    index: SampleIndex
    conflicts: list[Conflict]
    notes: list[str]


def sample(order: Order, folder: Path, report: Report) -> Gallery:
    """Render `order` into `folder`, which must be empty or new, or hold no more than what a try before it encoded.

    Refuses what can't work before the model is loaded.
    """
    if folder.exists() and any(path.name != INPUTS_FOLDER for path in folder.iterdir()):
        raise ConfigError(f"{folder} isn't empty; samples are written once.", "Name another folder.")
    if not order.wanted:
        raise ConfigError("There is no prompt to sample.", "Give one with --prompt.")
    source = open_model(order.model, distilled_too=True)
    stack = [Weighted(open_adapter(path, source), weight) for path, weight in order.adapters]
    check_stack(stack)
    _check_references(order, stack)
    tiny = is_tiny(order.model.model_path)
    way = _way_of(order, source, tiny)
    notes = [note for one in stack for note in one.file.notes]
    notes += _given_otherwise(order, stack)
    found = conflicts(stack)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepared = prepare_inputs(
        source,
        order.section,
        order.wanted,
        folder / INPUTS_FOLDER,
        device,
        lambda what: report(what, 0, len(order.wanted)),
        text_in_8bit=order.text_in_8bit,
        tell=notes.append,
    )
    _free(device)
    index = SampleIndex(source.label, tiny)
    with _few_threads(tiny):
        shots = _shoot_all(order, source, stack, prepared, way, device, report)
    notes += way.notes
    _free(device)
    if stack:
        write_json(folder / STACK_NAME, _stack_document(stack, found, notes))
    decoders = Decoders(source, device, partial(_tiles, room_for_samples(MemorySection(), device), device))
    write_shots(
        shots, folder, index, decoders, way.steps, order.title, lambda what: report(what, len(shots), len(shots))
    )
    return Gallery(folder, index, found, notes)


def _tiles(room: Room, device: torch.device, vae: Any, latents: torch.Tensor) -> Tiles:
    grid = (latents.shape[1], latents.shape[2], latents.shape[3])
    return tiles_that_fit(vae.config, grid, vae.dtype.itemsize, room, held_bytes(device, vae.parameters()))


def _way_of(order: Order, source: ModelSource, tiny: bool) -> _Way:
    if source.distilled if order.schedule == "auto" else order.schedule == "distilled":
        return _Way(UNGUIDED, DISTILLED_SIGMAS, ["The distilled schedule: 8 steps, no guidance."])
    guidance, notes = guidance_of(order.section, source, tiny)
    return _Way(guidance, dev_sigmas(order.section.inference_steps), notes)


def _shoot_all(
    order: Order,
    source: ModelSource,
    stack: Sequence[Weighted],
    prepared: list[Prepared],
    way: _Way,
    device: torch.device,
    report: Report,
) -> list[Shot]:
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    transformer = source.transformer(dtype, Placement(device, order.quantization, order.swap_blocks))
    connectors = source.connectors(dtype).to(device)
    model = LtxModel(transformer)
    passes = [False, True] if order.base and stack else [bool(stack)]
    shots: list[Shot] = []
    # the base comes first: a full checkpoint replaces its weights
    for adapter in passes:
        if adapter:
            stack_adapters(transformer, stack)
            act_on_text(connectors, stack)
        for one in prepared:
            one.given.notes.extend(note for note in way.notes if note not in one.given.notes)
            number, total = len(shots) + 1, len(prepared) * len(passes)
            shots.append(_shoot(model, connectors, one, way, order.step, adapter, _reporter(report, number, total)))
    return shots


def _shoot(
    model: LtxModel,
    connectors: Any,
    prepared: Prepared,
    way: _Way,
    step: int,
    adapter: bool,
    progress: Callable[[int, int], None],
) -> Shot:
    started = time.perf_counter()
    inputs = prepared.inputs()
    noise = draw_noise(inputs, prepared.wanted.seed)
    latents = denoise(model, connectors, inputs, way.guidance, way.sigmas, noise, progress)
    return Shot(prepared, step, adapter, latents, time.perf_counter() - started)


def _reporter(report: Report, number: int, total: int) -> Callable[[int, int], None]:
    return lambda done, steps: report(f"sample {number} of {total}, steps", done, steps)


def _check_references(order: Order, stack: Sequence[Weighted]) -> None:
    """An IC-LoRA that learned from smaller references can't be given larger ones: it would see a strange scale.

    Files that say that they know no reference, such as a style beside an IC-LoRA, have no say; one that says nothing
    has it where no other does.
    """
    takers = [one for one in stack if one.file.takes_reference]
    for one in takers or [one for one in stack if one.file.takes_reference is None]:
        known = one.file.reference_scales
        for wanted in order.wanted:
            for number, condition in enumerate(_video_references(wanted)):
                spatial, temporal = known[min(number, len(known) - 1)]
                if (condition.downscale_factor, condition.temporal_scale_factor) != (spatial, temporal):
                    which = "" if len(known) == 1 else f" its reference {number + 1}:"
                    raise ConfigError(
                        f"{one.file.path.name} was trained with references at 1/{spatial} of the size and "
                        f"1/{temporal} of the frames;{which} this one is given at 1/{condition.downscale_factor} and "
                        f"1/{condition.temporal_scale_factor}.",
                        f"Set downscale_factor={spatial},temporal_scale_factor={temporal}.",
                    )


def _given_otherwise(order: Order, stack: Sequence[Weighted]) -> list[str]:
    """What these adapters were given in training and aren't now, or the other way round, a sentence each."""
    notes = []
    kinds = {condition.type for one in order.wanted for condition in one.sample.conditions}
    if "reference" in kinds and stack and all(one.file.takes_reference is False for one in stack):
        notes.append("A reference is given, but none of these files was trained with one.")
    for one in stack:
        known, name = one.file.trained_as, one.file.path.name
        if known is None:
            continue
        for side, kind in FROZEN_KINDS.items():
            if known.modality(side).role == "frozen" and kind not in kinds:
                notes.append(f"{name} was trained to follow a given {side}, and none is given: add {kind}=FILE.")
        for side in MODALITIES:
            learned = len(known.modality(side).references)
            given = min(_references(wanted, side) for wanted in order.wanted)
            if given < learned:
                files = "a reference" if learned == 1 else f"{learned} references"
                notes.append(f"{name} was trained with {files} of {side}; {given or 'none'} given: add reference=FILE.")
    return notes


def _references(wanted: Wanted, side: ModalityName) -> int:
    return sum(
        condition.type == "reference" and getattr(condition, side) is not None for condition in wanted.sample.conditions
    )


def _video_references(wanted: Wanted) -> list[ReferenceSample]:
    return [
        condition
        for condition in wanted.sample.conditions
        if isinstance(condition, ReferenceSample) and condition.video is not None
    ]


def _stack_document(stack: Sequence[Weighted], found: Sequence[Conflict], notes: Sequence[str]) -> dict[str, Any]:
    return {
        "adapters": [
            {
                "file": str(one.file.path),
                "sha256": one.file.digest,
                "kind": one.file.kind,
                "weight": one.weight,
                "ranks": one.file.ranks,
                "modules": len(one.file.pairs),
                "objective": one.file.metadata.get("objective"),
            }
            for one in stack
        ],
        "conflicts": [{**asdict(conflict), "sentence": conflict.sentence} for conflict in found],
        "notes": list(notes),
    }


@contextmanager
def _few_threads(tiny: bool) -> Iterator[None]:
    """One thread for the tiny model: its tensors are so small that threads mostly wait for each other."""
    threads = torch.get_num_threads()
    if tiny:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
