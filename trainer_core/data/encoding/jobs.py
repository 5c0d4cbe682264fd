"""Encoding jobs of an objective: for each directory of the cache how one window is read, encoded and keyed."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from trainer_core.config import TrainingConfig
from trainer_core.data.buckets import Bucket
from trainer_core.data.encoding.latents import audio_content, audio_mask_content, pooled_mask, video_content
from trainer_core.data.encoding.manifest import Facts
from trainer_core.data.media.pictures import ClipReader
from trainer_core.data.media.sounds import read_audio
from trainer_core.data.windows import OR_LEAVE_OUT, Window, is_image
from trainer_core.errors import ConfigError, DataError
from trainer_core.model.source import ModelSource, sampled_digest
from trainer_core.model.text import count_tokens, encode_prompts, load_prompt_encoder
from trainer_core.objective import Objective

PICTURES_AT_ONCE = 16
"""Pictures that are handed over to the encoder together."""
ModelName = Literal["video VAE", "audio VAE", "text encoder"]


@dataclass(frozen=True)
class EncodingJob:
    """One directory of the cache.

    `facts` is what a file is made from; `read` yields what the media give, in pieces (in another thread: of the
    loaded model it reads settings alone), its pictures through one reader for all windows; `encode` makes the file's
    content of the loaded model and these pieces.
    """

    directory: str
    what: str
    model: ModelName | None
    facts: Callable[[Window], Facts]
    read: Callable[[Any, Window, ClipReader], Iterable[Any]]
    encode: Callable[[Any, Window, Iterator[Any]], dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """Device and precision of the models; `text_in_8bit` holds the text encoder's large layers as integers."""

    device: torch.device
    dtype: torch.dtype
    text_in_8bit: bool = False


def jobs_of(config: TrainingConfig, objective: Objective, source: ModelSource) -> list[EncodingJob]:
    """Return the objective's encoding jobs; the jobs that use one model stand together."""
    build = {
        "video": _video_job,
        "reference_video": _reference_video_job,
        "video_mask": _video_mask_job,
        "audio": _audio_job,
        "reference_audio": _reference_audio_job,
        "audio_mask": _audio_mask_job,
        "caption": _text_job,
    }
    columns = objective.columns()
    return [
        make(config, source, directory, column)
        for kind, make in build.items()
        for directory, column in columns.items()
        if column == kind or (column.startswith(f"{kind}_") and column.removeprefix(f"{kind}_").isdigit())
    ]


def load(model: ModelName | None, source: ModelSource, place: Place, tell: Callable[[str], None]) -> Any:
    """Load what jobs of this kind use; `tell` hears when that goes elsewhere than to `place`."""
    if model == "video VAE":
        return source.video_vae(place.dtype).to(place.device)
    if model == "audio VAE":
        return source.audio_vae(place.dtype).to(place.device)
    if model == "text encoder":
        return load_prompt_encoder(source, place.dtype, place.device, in_8bit=place.text_in_8bit, tell=tell)
    return None


def _video_job(config: TrainingConfig, source: ModelSource, directory: str, _column: str) -> EncodingJob:
    rate = _frame_rate(config)
    made_from = source.fingerprint("video_vae")

    def read(_vae: Any, window: Window, reader: ClipReader) -> Iterator[np.ndarray]:
        bucket = window.picture()
        return _blocks(reader, window.media, window.start_s, bucket.frames, rate, bucket)

    return EncodingJob(
        directory,
        "video latents",
        "video VAE",
        lambda window: {**_cut_facts(window), "video_vae": made_from, "fps": rate},
        read,
        lambda vae, _window, pieces: video_content(vae, itertools.chain.from_iterable(pieces), rate),
    )


def _reference_video_job(config: TrainingConfig, source: ModelSource, directory: str, column: str) -> EncodingJob:
    rate = _frame_rate(config)
    spatial, temporal = config.ltx_agent.reference_spatial_scale, config.ltx_agent.reference_temporal_scale
    made_from = source.fingerprint("video_vae")

    def read(_vae: Any, window: Window, reader: ClipReader) -> Iterator[np.ndarray]:
        path, bucket = window.input(column), window.picture()
        size = Bucket(bucket.width // spatial, bucket.height // spatial, bucket.frames)
        if is_image(path):
            return _blocks(reader, path, 0.0, 1, rate, size)
        return _blocks(reader, path, window.start_s, bucket.frames, rate, size)

    def encode(vae: Any, window: Window, pieces: Iterator[np.ndarray]) -> dict[str, Any]:
        pictures = itertools.chain.from_iterable(pieces)
        if is_image(window.input(column)):
            return video_content(vae, pictures, rate)
        # a temporally downscaled reference keeps the causal first frame, then every S-th: 0, 1, 1+S, 1+2S …
        kept = (picture for index, picture in enumerate(pictures) if index == 0 or (index - 1) % temporal == 0)
        return video_content(vae, kept, rate)  # the source's rate: trainers divide by S

    def facts(window: Window) -> Facts:
        reference = sampled_digest([window.input(column)])
        scales = [spatial, temporal]
        return {**_cut_facts(window), "video_vae": made_from, "fps": rate, "reference": reference, "scales": scales}

    return EncodingJob(directory, _called("reference video latents", column), "video VAE", facts, read, encode)


def _video_mask_job(config: TrainingConfig, source: ModelSource, directory: str, _column: str) -> EncodingJob:
    rate, factors = _frame_rate(config), source.factors

    def read(_vae: Any, window: Window, reader: ClipReader) -> Iterator[np.ndarray]:
        path, bucket = window.input("video_mask"), window.picture()
        if is_image(path):
            return _blocks(reader, path, 0.0, 1, rate, bucket)
        return _blocks(reader, path, window.start_s, bucket.frames, rate, bucket)

    def encode(_nothing: None, window: Window, pieces: Iterator[np.ndarray]) -> dict[str, Any]:
        levels = [torch.from_numpy(block).float().mean(dim=-1) / 255 for block in pieces]
        keep = torch.cat(levels)  # [F, H, W], 1 = keep
        if is_image(window.input("video_mask")):
            keep = keep.expand(window.picture().frames, -1, -1)
        return {"mask": pooled_mask(keep, factors)}

    def facts(window: Window) -> Facts:
        mask = sampled_digest([window.input("video_mask")])
        return {**_cut_facts(window), "fps": rate, "mask": mask, "factors": str(factors)}

    return EncodingJob(directory, "video masks", None, facts, read, encode)


def _audio_job(_config: TrainingConfig, source: ModelSource, directory: str, _column: str) -> EncodingJob:
    made_from = source.fingerprint("audio_vae")

    def read(vae: Any, window: Window, _reader: ClipReader) -> list[np.ndarray]:
        if not window.has_audio:
            raise DataError(
                f"{window.name}: the objective needs sound, but this clip has none.",
                f"Add sound to it, {OR_LEAVE_OUT}, or train a video-only objective.",
            )
        return [_sound(window.sound, window, vae)]

    def facts(window: Window) -> Facts:
        apart = {} if window.sound == window.media else {"sound": sampled_digest([window.sound])}
        return {**_cut_facts(window), "audio_vae": made_from, **apart, **_gain_facts(window)}

    return EncodingJob(directory, "audio latents", "audio VAE", facts, read, _encode_sound)


def _reference_audio_job(_config: TrainingConfig, source: ModelSource, directory: str, column: str) -> EncodingJob:
    made_from = source.fingerprint("audio_vae")

    def facts(window: Window) -> Facts:
        reference = sampled_digest([window.input(column)])
        return {**_cut_facts(window), "audio_vae": made_from, "reference": reference, **_gain_facts(window)}

    def read(vae: Any, window: Window, _reader: ClipReader) -> list[np.ndarray]:
        return [_sound(window.input(column), window, vae)]

    return EncodingJob(directory, _called("reference audio latents", column), "audio VAE", facts, read, _encode_sound)


def _audio_mask_job(_config: TrainingConfig, _source: ModelSource, directory: str, _column: str) -> EncodingJob:

    def facts(window: Window) -> Facts:
        return {**_cut_facts(window), "mask": sampled_digest([window.input("audio_mask")])}

    def read(vae: Any, window: Window, _reader: ClipReader) -> list[np.ndarray]:
        return [_sound(window.input("audio_mask"), replace(window, gain_db=0.0), vae)]

    def encode(vae: Any, _window: Window, pieces: Iterator[np.ndarray]) -> dict[str, Any]:
        return audio_mask_content(vae, next(pieces))

    return EncodingJob(directory, "audio masks", "audio VAE", facts, read, encode)


def _text_job(config: TrainingConfig, source: ModelSource, directory: str, _column: str) -> EncodingJob:
    made_from = {"text_encoder": source.fingerprint("text_encoder"), "connectors": source.fingerprint("connectors")}
    if config.acceleration.load_text_encoder_in_8bit:
        made_from["precision"] = "8bit"
    last: dict[str, dict[str, Any]] = {}  # the windows of a clip follow each other and share their caption

    def encode(loaded: Any, window: Window, _pieces: Iterator[Any]) -> dict[str, Any]:
        if window.caption not in last:
            last.clear()
            last[window.caption] = features_of(loaded, window)
        return last[window.caption]

    def features_of(loaded: Any, window: Window) -> dict[str, Any]:
        tokenizer, encoder, connectors = loaded
        tokens = count_tokens(tokenizer, window.caption)
        if tokens > tokenizer.model_max_length:
            raise DataError(
                f"{window.name}: the caption has {tokens} tokens, the text encoder takes {tokenizer.model_max_length}.",
                "Shorten the caption.",
            )
        features = encode_prompts(tokenizer, encoder, connectors, [window.caption])
        return {
            "video_prompt_embeds": features.video[0].to(torch.bfloat16).cpu().contiguous(),
            "audio_prompt_embeds": features.audio[0].to(torch.bfloat16).cpu().contiguous(),
            "prompt_attention_mask": features.mask[0].to(torch.bool).cpu().contiguous(),
        }

    def facts(window: Window) -> Facts:
        return {"caption": window.caption, "trigger": config.ltx_agent.trigger, **made_from}

    return EncodingJob(directory, "text features", "text encoder", facts, lambda _loaded, _window, _reader: [], encode)


def _called(what: str, column: str) -> str:
    """`what` with the number of a further reference."""
    number = column.rpartition("_")[2]
    return f"{what} {number}" if number.isdigit() else what


def _encode_sound(vae: Any, window: Window, pieces: Iterator[np.ndarray]) -> dict[str, Any]:
    return audio_content(vae, next(pieces), window.duration_s)


def _blocks(
    reader: ClipReader, path: Path, start_s: float, frames: int, rate: float, size: Bucket
) -> Iterator[np.ndarray]:
    """Yield the pictures as blocks [n, H, W, 3] of at most PICTURES_AT_ONCE."""
    pictures = reader.window(path, start_s, frames, rate, size.width, size.height)
    while block := list(itertools.islice(pictures, PICTURES_AT_ONCE)):
        yield np.stack(block)


def _sound(path: Path, window: Window, vae: Any) -> np.ndarray:
    samples = read_audio(path, window.start_s, window.duration_s, vae.config.sample_rate)
    if samples is None:
        raise DataError(
            f"{window.name}: there is no sound in {path.name!r}.", "Inspect the clip again or leave it out."
        )
    return samples if window.gain_db == 0.0 else (samples * np.float32(10 ** (window.gain_db / 20))).clip(-1.0, 1.0)


def _frame_rate(config: TrainingConfig) -> float:
    if config.ltx_agent.frame_rate is None:
        raise ConfigError("The config names no frame rate (ltx_agent.frame_rate).", "Set it, e.g. 24.")
    return config.ltx_agent.frame_rate


def _gain_facts(window: Window) -> Facts:
    return {"gain_db": window.gain_db} if window.gain_db else {}


def _cut_facts(window: Window) -> Facts:
    return {
        "source": window.sha256,
        "start_s": window.start_s,
        "duration_s": window.duration_s,
        "bucket": str(window.bucket) if window.bucket is not None else None,
    }
