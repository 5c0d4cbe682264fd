"""`encode --check`: a few cached samples decoded back, beside what they were made of, to look at and to listen to."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from trainer_core.config import TrainingConfig, is_tiny
from trainer_core.data.encoding.cache import read_tensors
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.media.sounds import read_audio
from trainer_core.data.stored import latents_of, tensor_of
from trainer_core.data.windows import Window, is_image, read_windows
from trainer_core.errors import DataError
from trainer_core.model.load import open_model
from trainer_core.model.source import ModelSource
from trainer_core.objective import ModalityName, ModalityObjective, objective_of
from trainer_core.sampling.decode import decode_audio, decode_video
from trainer_core.sampling.mux import write_png, write_sample
from trainer_core.sampling.pictures import contact_sheet, poster, strip_indices

SAMPLES = 3
NOISE = "tiny random model: what it decodes is noise, whatever the latents hold"

Progress = Callable[[str, int, int], None]
Row = tuple[str, np.ndarray]


@dataclass(frozen=True)
class LookBack:
    """Files written: one picture of all samples, an audio file each; `label` says what decoded them."""

    picture: str | None
    sounds: list[str]
    samples: list[str]
    label: str
    note: str | None


def look_back(config: TrainingConfig, folder: Path, progress: Progress | None = None) -> LookBack:
    """Decode SAMPLES of the cache, of as many shapes as there are, into `folder`: look-back.png and a WAV each.

    Paths in `config` are absolute. Raises DataError when they aren't encoded.
    """
    objective, source = objective_of(config.strategy), open_model(config.model)
    windows = _chosen(read_windows(config))
    root = Path(config.data.preprocessed_data_root)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    label = f"decoded by {source.label}"
    note = NOISE if is_tiny(config.model.model_path) else None
    report = progress or (lambda _what, _done, _total: None)
    picture = None
    if objective.video.present:
        rows = _picture_rows(config, objective.video, source, windows, root, device, report)
        sheet = contact_sheet(rows, f"{label} - {note}" if note else label)
        picture = str(write_png(folder / "look-back.png", sheet, {"model": source.label, "note": note or ""}))
    sounds: list[str] = []
    if objective.audio.present:
        sounds = _sounds(objective.audio, source, windows, root, device, folder, note, report)
    return LookBack(picture, sounds, [window.name for window in windows], label, note)


def _chosen(windows: list[Window]) -> list[Window]:
    """A few windows: first one of each shape, then others, spread over the dataset."""
    by_shape = {str(window.bucket): window for window in reversed(windows)}
    step = max(1, len(windows) // SAMPLES)
    wanted = [*by_shape.values(), *windows[::step]]
    return list({window.name: window for window in wanted}.values())[:SAMPLES]


def _picture_rows(
    config: TrainingConfig,
    side: ModalityObjective,
    source: ModelSource,
    windows: list[Window],
    root: Path,
    device: torch.device,
    report: Progress,
) -> list[Row]:
    rate = config.ltx_agent.frame_rate or 24.0
    vae = source.video_vae(torch.bfloat16 if device.type == "cuda" else torch.float32).to(device)
    mask = side.condition("mask")
    rows: list[Row] = []
    for done, window in enumerate(windows):
        report("decoding latents", done, len(windows))
        bucket = window.picture()
        frames = 1 if is_image(window.media) else bucket.frames
        taken = read_frames(window.media, window.start_s, frames, rate, bucket.width, bucket.height)
        rows.append((f"{done + 1} source", _strip(taken)))
        decoded = _decoded(vae, _latents(root, side.latents_dir, window, "video"))
        rows.append((f"{done + 1} decoded", _strip(decoded)))
        for number, reference in enumerate(side.references, start=1):
            stored = _latents(root, reference.latents_dir, window, "video")
            which = "reference" if number == 1 else f"reference {number}"
            rows.append((f"{done + 1} {which}", _strip(_decoded(vae, stored))))
        if mask is not None:
            content, path = _content(root, mask.mask_dir, window)
            keep = tensor_of(content, "mask", path).float()
            rows.append((f"{done + 1} mask", _strip(_kept(keep, decoded))))
    del vae
    gc.collect()
    return rows


def _sounds(
    side: ModalityObjective,
    source: ModelSource,
    windows: list[Window],
    root: Path,
    device: torch.device,
    folder: Path,
    note: str | None,
    report: Progress,
) -> list[str]:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    vae, vocoder = source.audio_vae(dtype).to(device), source.vocoder(torch.float32).to(device)
    written = []
    for done, window in enumerate(windows):
        report("decoding sound", done, len(windows))
        heard = decode_audio(vae, vocoder, _latents(root, side.latents_dir, window, "audio"))
        facts = {"model": source.label, "sample": window.name, "note": note or ""}
        path = write_sample(folder / f"look-back-{done + 1}-decoded", None, 0, heard, 1.0, facts)
        written.append(str(path))
        given = read_audio(window.sound, window.start_s, window.duration_s, heard[1])
        if given is not None:
            path = write_sample(folder / f"look-back-{done + 1}-source", None, 0, (given, heard[1]), 1.0, facts)
            written.append(str(path))
    return written


def _content(root: Path, directory: str, window: Window) -> tuple[dict[str, Any], Path]:
    path = root / directory / f"{window.name}.pt"
    if not path.exists():
        raise DataError(f"{window.name} is not encoded ({path} is missing).", "Encode first: `ltx-agent encode`.")
    return read_tensors(path), path


def _latents(root: Path, directory: str, window: Window, modality: ModalityName) -> torch.Tensor:
    return latents_of(*_content(root, directory, window), modality)


def _decoded(vae: Any, latents: Any) -> np.ndarray:
    return np.concatenate(list(decode_video(vae, latents)))


def _kept(keep: torch.Tensor, pictures: np.ndarray) -> np.ndarray:
    """The mask [F', H', W'] (1 = keep) as pictures of the sample's size: white is given, black is generated."""
    height, width = pictures.shape[1:3]
    masks = [
        cv2.resize((one.numpy() * 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        for one in keep
    ]
    return np.stack(masks)[..., None].repeat(3, axis=-1)


def _strip(pictures: np.ndarray) -> np.ndarray:
    return poster([pictures[index] for index in strip_indices(len(pictures))], None)
