"""The samples of a precomputed folder: their files, what shape each has, and what is refused before training."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer_core.config import TrainingConfig
from trainer_core.data.batch import token_width
from trainer_core.data.encoding.cache import read_header, read_tensors
from trainer_core.data.stored import USUAL_FRAME_RATE, grid_of, latents_of, tensor_of, text_of
from trainer_core.data.windows import OR_LEAVE_OUT
from trainer_core.errors import DataError
from trainer_core.model.source import InputWidths
from trainer_core.objective import ModalityName, ModalityObjective, Objective, VaeFactors
from trainer_core.sample_shape import check_shape, reference_scales

LeaveOut = Callable[[str, str], None]
"""Called with a sample's name and the columns that it lacks."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleFiles:
    """One sample: its name, the file of each of the objective's directories, and the shape that decides its batch."""

    name: str
    paths: dict[str, Path]
    shape: tuple[Any, ...]


def leave_out_of(config: TrainingConfig, left_out: dict[str, str] | None = None) -> LeaveOut | None:
    """Return `find_samples`' `leave_out`: notes in `left_out` where the config leaves incomplete samples out."""
    if config.ltx_agent.incomplete_samples == "refuse":
        return None
    found: dict[str, str] = {} if left_out is None else left_out
    return found.__setitem__


def find_samples(
    root: Path,
    objective: Objective,
    factors: VaeFactors,
    only: Collection[str] | None = None,
    leave_out: LeaveOut | None = None,
) -> list[SampleFiles]:
    """Return the samples under `root` that have every input of the objective, sorted by name; `only` these, if given.

    A sample that lacks an input is left out where `leave_out` is given, which is told. Raises DataError when one lacks
    an input and `leave_out` is None (naming the dataset column it is made from) or when there is none, and ConfigError
    when the conditions leave a sample nothing to train on.
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
    names = _complete(root, columns, names, leave_out)
    samples = []
    for name in names:
        paths = {directory: root / directory / name for directory in columns}
        samples.append(SampleFiles(name, paths, _shape(name, paths, objective, factors)))
    _tell_of_missing_rates(samples, objective)
    return samples


def _complete(root: Path, columns: dict[str, str], names: list[str], leave_out: LeaveOut | None) -> list[str]:
    """The samples that have a file in every directory of `columns`."""
    lacking = {
        name: missing
        for name in names
        if (missing := [directory for directory in columns if not (root / directory / name).exists()])
    }
    if not lacking:
        return names
    if leave_out is None:
        name, missing = next(iter(lacking.items()))
        directory = missing[0]
        count = sum(directory in others for others in lacking.values())
        raise DataError(
            f"{count} of {len(names)} samples have no `{columns[directory]}` (no file in {root / directory}); "
            f"the first is {name}.",
            f"Add the column to the dataset and encode again, or {OR_LEAVE_OUT}.",
        )
    for name, missing in lacking.items():
        leave_out(name.removesuffix(".pt"), " and ".join(columns[directory] for directory in missing))
    complete = [name for name in names if name not in lacking]
    if not complete:
        missing = next(iter(lacking.values()))
        raise DataError(
            f"None of {len(names)} samples under {root} is complete; the first lacks "
            f"{' and '.join(f'`{columns[directory]}`' for directory in missing)}.",
            "Add what is missing and encode again, or choose an objective that does without.",
        )
    return complete


def _tell_of_missing_rates(samples: list[SampleFiles], objective: Objective) -> None:
    if not objective.video.present:
        return
    directory = objective.video.latents_dir
    without = [sample.name for sample in samples if read_header(sample.paths[directory]).get("fps") is None]
    if without:
        logger.warning(
            "%d of %d samples don't state their frame rate (`fps`), the first is %s; %g per second is assumed.",
            len(without),
            len(samples),
            without[0],
            USUAL_FRAME_RATE,
        )


def check_widths(samples: list[SampleFiles], objective: Objective, widths: InputWidths) -> None:
    """Refuse samples that were encoded by another model than the one that trains. Raises DataError naming the first."""
    text = {"video": widths.video_text, "audio": widths.audio_text}
    for sample in samples:
        features = text_of(read_header(sample.paths["conditions"]), sample.paths["conditions"])
        sides: list[tuple[ModalityName, int]] = [("video", widths.video), ("audio", widths.audio)]
        for name, wanted in sides:
            role = objective.modality(name)
            if not role.present:
                continue
            directories = [role.latents_dir, *(reference.latents_dir for reference in role.references)]
            found = {
                f"{name} latents" if directory == role.latents_dir else f"{name} reference latents": (
                    token_width(_header_latents(sample.paths[directory], name)),
                    wanted,
                )
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


def reference_key(name: str, number: int) -> str:
    """The name of a modality's `number`-th reference in a sample's shape."""
    return f"{name}_reference" if number == 1 else f"{name}_reference_{number}"


def _shape(name: str, paths: dict[str, Path], objective: Objective, factors: VaeFactors) -> tuple[Any, ...]:
    """What must be equal within a batch: the grid of every tensor the sample brings. Refuses impossible samples."""
    text = text_of(read_header(paths["conditions"]), paths["conditions"])
    grids: dict[str, tuple[int, ...]] = {"text": (len(text["mask"]),)}
    names: tuple[ModalityName, ModalityName] = ("video", "audio")
    for side_name in names:
        side = objective.modality(side_name)
        if not side.present:
            continue
        grid = grid_of(_header_latents(paths[side.latents_dir], side_name))
        grids[side_name] = grid
        mask = side.condition("mask")
        if mask is not None:
            shape = tuple(tensor_of(read_header(paths[mask.mask_dir]), "mask", paths[mask.mask_dir]).shape)
            if shape != grid:
                raise DataError(
                    f"{name}: its {side_name} mask is {shape}, its latents are {grid}.", "Encode the masks again."
                )
            _refuse_full_mask(name, side_name, side, read_tensors(paths[mask.mask_dir])["mask"] > 0.5)
        for number, reference in enumerate(side.references, start=1):
            own = grid_of(_header_latents(paths[reference.latents_dir], side_name))
            if side_name == "video":
                reference_scales(grid, own, name)
            grids[reference_key(side_name, number)] = own
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


def _header_latents(path: Path, modality: ModalityName) -> Tensor:
    return latents_of(read_header(path), path, modality)
