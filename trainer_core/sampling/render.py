"""From a sample's latents to files: decode, write, enter in the index. Page and contact sheets follow every file."""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer_core.errors import TrainingError
from trainer_core.model.source import ModelSource
from trainer_core.objective import ModalityName
from trainer_core.sampling.cached_inputs import Prepared, original_pictures, original_sound
from trainer_core.sampling.decode import Tiles, decode_audio, decode_video
from trainer_core.sampling.index import TINY_NOTE, PromptRow, SampleIndex, SampleRow
from trainer_core.sampling.mux import write_png, write_sample
from trainer_core.sampling.page import write_page
from trainer_core.sampling.pictures import contact_sheet, poster, strip_indices
from trainer_core.sections.validation import SampleCondition

Latents = dict[ModalityName, Tensor]
TileChoice = Callable[[Any, Tensor], Tiles]
"""Takes the video VAE and the latents [C, F, H, W] of a clip; raises when there is no room to decode it."""
_KINDS = {".mp4": "video", ".png": "image", ".wav": "audio"}


@dataclass(frozen=True)
class Shot:
    """One sample as latents, still to be decoded: which prompt, of which weights, how long it took."""

    prepared: Prepared
    step: int
    adapter: bool
    latents: Latents
    seconds: float


class Decoders:
    """The VAEs and the vocoder, each loaded at its first use and let go by `close`."""

    def __init__(self, source: ModelSource, device: torch.device, choose_tiles: TileChoice | None = None) -> None:
        self._source, self._device, self._choose_tiles = source, device, choose_tiles
        self._dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        self._loaded: dict[str, Any] = {}

    def part(self, name: str) -> Any:
        if name not in self._loaded:
            # the vocoder runs in float32: its long sums lose too much in bfloat16
            dtype = torch.float32 if name == "vocoder" else self._dtype
            self._loaded[name] = getattr(self._source, name)(dtype).to(self._device)
        return self._loaded[name]

    def pictures(self, latents: Tensor) -> Iterator[np.ndarray]:
        vae = self.part("video_vae")
        tiles = Tiles() if self._choose_tiles is None else self._choose_tiles(vae, latents)
        return decode_video(vae, latents, tiles)

    def sound(self, latents: Tensor) -> tuple[np.ndarray, int]:
        return decode_audio(self.part("audio_vae"), self.part("vocoder"), latents)

    @property
    def sound_rate_hz(self) -> int:
        return int(self.part("vocoder").config.output_sampling_rate)

    def close(self) -> None:
        self._loaded.clear()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def write_shots(
    shots: list[Shot],
    folder: Path,
    index: SampleIndex,
    decoders: Decoders,
    inference_steps: int,
    title: str,
    report: Callable[[str], None],
) -> None:
    """Decode and write `shots` into `folder`; each counts once its files are whole, the index and the page come last.

    A file that exists is never written again. `report` is told before every tile; it may raise to abandon the rest.
    """
    try:
        for number, shot in enumerate(shots, start=1):
            index.samples.append(
                _write(
                    shot, folder, index, decoders, partial(_say, report, f"decoding sample {number} of {len(shots)}")
                )
            )
            index.with_prompt(_prompt_row(shot.prepared, index, folder, inference_steps))
            index.write(folder)
            write_page(folder, index, title)
    finally:
        decoders.close()


def _say(report: Callable[[str], None], what: str, done: int, total: int) -> None:
    report(f"{what}: picture {done} of {total}" if done else what)


def _write(
    shot: Shot, folder: Path, index: SampleIndex, decoders: Decoders, report: Callable[[int, int], None]
) -> SampleRow:
    prepared, started = shot.prepared, time.perf_counter()
    name = f"step_{shot.step:05d}" if shot.adapter else "base"
    stem = folder / prepared.id / name
    for modality, latents in shot.latents.items():
        if not bool(torch.isfinite(latents).all()):
            raise TrainingError(
                f"The sample `{prepared.wanted.sample.prompt[:60]}` of step {shot.step} is not finite ({modality}).",
                "The weights are broken: see `ltx-agent doctor`.",
            )
    metadata = _metadata(shot, index)
    report(0, prepared.shape.frames)
    strip = _Strip(prepared.shape.frames, report)
    sound = _sound(shot, decoders)
    pictures = _pictures(shot, decoders)
    watched = strip.watching(pictures) if pictures is not None else None
    written = write_sample(stem, watched, prepared.shape.frames, sound, prepared.shape.frame_rate, metadata)
    shown = poster(strip.taken, sound[0] if sound is not None else None)
    poster_path = write_png(stem.with_name(f"{name}.poster.png"), shown, metadata)
    return SampleRow(
        prompt=prepared.id,
        step=shot.step,
        adapter=shot.adapter,
        kind=_KINDS[written.suffix],
        file=written.relative_to(folder).as_posix(),
        poster=poster_path.relative_to(folder).as_posix(),
        seconds=round(shot.seconds + time.perf_counter() - started, 3),
        created_at=time.time(),
    )


class _Strip:
    """Keeps the few pictures of the strip while all pass by, and tells how many did."""

    def __init__(self, frames: int, report: Callable[[int, int], None]) -> None:
        self._frames, self._report = frames, report
        self._wanted, self._seen = strip_indices(frames), 0
        self.taken: list[np.ndarray] = []

    def watching(self, stretches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for stretch in stretches:
            for index in self._wanted:
                if self._seen <= index < self._seen + len(stretch):
                    self.taken.append(stretch[index - self._seen].copy())
            self._seen += len(stretch)
            self._report(self._seen, self._frames)
            yield stretch


def _pictures(shot: Shot, decoders: Decoders) -> Iterator[np.ndarray] | None:
    side = shot.prepared.given.video
    if side is None:
        return None
    if side.original is not None:
        return iter([original_pictures(shot.prepared, side.original)])
    pictures = decoders.pictures(shot.latents["video"][0])
    reference = shot.prepared.given.shown_reference
    return pictures if reference is None else _beside(original_pictures(shot.prepared, reference), pictures)


def _beside(reference: np.ndarray, stretches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    seen = 0
    for stretch in stretches:
        shown = reference[seen : seen + len(stretch)]
        seen += len(stretch)
        yield np.concatenate([shown, stretch], axis=2)


def _sound(shot: Shot, decoders: Decoders) -> tuple[np.ndarray, int] | None:
    side = shot.prepared.given.audio
    if side is None:
        return None
    if side.original is not None:
        rate_hz = decoders.sound_rate_hz
        return original_sound(shot.prepared, side.original, rate_hz), rate_hz
    return decoders.sound(shot.latents["audio"][0])


def _metadata(shot: Shot, index: SampleIndex) -> dict[str, str]:
    weights = f"step {shot.step}" if shot.adapter else "base model, no adapter"
    said = {
        "title": f"ltx-agent sample, {weights}",
        "comment": TINY_NOTE if index.tiny else "Made by ltx-agent.",
        "model": index.model,
        "weights": weights,
        "prompt": shot.prepared.wanted.sample.prompt,
        "seed": str(shot.prepared.wanted.seed),
    }
    return {key: value.replace("\x00", "") for key, value in said.items()}


def _prompt_row(prepared: Prepared, index: SampleIndex, folder: Path, steps: int) -> PromptRow:
    shape, wanted = prepared.shape, prepared.wanted
    return PromptRow(
        id=prepared.id,
        kind=wanted.kind,
        prompt=wanted.sample.prompt,
        seed=wanted.seed,
        conditions=[_condition_text(condition) for condition in wanted.sample.conditions],
        width=shape.width,
        height=shape.height,
        frames=shape.frames,
        frame_rate=shape.frame_rate,
        steps=steps,
        sheet=_write_sheet(prepared, index, folder),
        notes=prepared.given.notes,
    )


def _write_sheet(prepared: Prepared, index: SampleIndex, folder: Path) -> str:
    """Draw the contact sheet of a prompt again: base on top, then every step."""
    from PIL import Image

    rows = []
    for row in index.of(prepared.id):
        with Image.open(folder / row.poster) as image:
            rows.append((row.label, np.asarray(image.convert("RGB"))))
    title = "tiny random model: noise" if index.tiny else index.model
    path = folder / prepared.id / "sheet.png"
    write_png(path, contact_sheet(rows, f"{title} - seed {prepared.wanted.seed}"), {"comment": title})
    return path.relative_to(folder).as_posix()


def _condition_text(condition: SampleCondition) -> str:
    document = condition.model_dump(exclude_none=True, exclude_defaults=True)
    kind = document.pop("type")
    details = [Path(value).name if isinstance(value, str) else f"{key} {value}" for key, value in document.items()]
    return f"{kind} ({', '.join(details)})" if details else kind
