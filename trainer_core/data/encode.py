"""Clips to latents: video VAE, audio VAE and text features into upstream's precomputed layout, once.

One big model is resident at a time; a file whose fingerprint is unchanged is not made again.
"""

import gc
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer_core.config import TrainingConfig
from trainer_core.data.batch import from_tokens, to_tokens
from trainer_core.data.buckets import Bucket, parse_buckets
from trainer_core.data.cache import Cache, fingerprint, open_cache, sample_name
from trainer_core.data.decode import read_audio, read_frames
from trainer_core.data.mel import log_mel
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import read_jsonl
from trainer_core.model.load import open_model
from trainer_core.model.source import ModelSource
from trainer_core.model.text import count_tokens, encode_prompts
from trainer_core.objective import Objective, objective_of

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EncodeSummary:
    """What an encode did, in files: made anew and found unchanged."""

    samples: int
    encoded: int
    reused: int


@dataclass(frozen=True)
class Window:
    """One training sample: a stretch of one clip, in seconds, cut to a bucket (None for sound alone)."""

    name: str
    media: Path
    sha256: str
    caption: str
    start_s: float
    duration_s: float
    bucket: Bucket | None
    has_audio: bool


def encode_dataset(config: TrainingConfig, progress: Progress | None = None) -> EncodeSummary:
    """Encode what the objective needs of `config.ltx_agent.dataset` into `config.data.preprocessed_data_root`.

    Paths in `config` are absolute (`resolve_paths`). Raises DataError naming the clip that can't be encoded.
    """
    objective = objective_of(config.strategy)
    windows = read_windows(config)
    cache = open_cache(Path(config.data.preprocessed_data_root))
    source = open_model(config.model)
    report = progress or (lambda _what, _done, _total: None)
    made = 0
    try:
        for directory, encode in _encoders(config, objective, source):
            made += encode(cache, windows, directory, report)
            gc.collect()
    finally:
        if made:
            cache.save_manifest()
    total = len(windows) * len(list(_encoders(config, objective, source)))
    return EncodeSummary(samples=len(windows), encoded=made, reused=total - made)


def read_windows(config: TrainingConfig) -> list[Window]:
    """Return the samples that the dataset file declares. Raises ConfigError or DataError naming the row."""
    if config.ltx_agent.dataset is None:
        raise ConfigError(
            "The config names no dataset (ltx_agent.dataset), so there is nothing to encode.", "Name one."
        )
    dataset = Path(config.ltx_agent.dataset)
    if not dataset.exists():
        raise ConfigError(f"There is no dataset file {dataset}.", "Make one with `ltx-agent draft`.")
    trigger = config.ltx_agent.trigger
    windows = []
    for number, row in enumerate(read_jsonl(dataset), start=1):
        media = row.get("video") or row.get("media_path") or row.get("audio")
        if not isinstance(media, str) or not isinstance(row.get("caption"), str):
            raise DataError(f"{dataset}, row {number} lacks `video` or `caption`.", "Add the column or remove the row.")
        caption = with_trigger(row["caption"], trigger)
        for index, sample in enumerate(row.get("samples", [])):
            windows.append(
                Window(
                    name=sample_name(media, index),
                    media=dataset.parent / media,
                    sha256=row.get("sha256", ""),
                    caption=caption,
                    start_s=float(sample["start_s"]),
                    duration_s=float(sample["duration_s"]),
                    bucket=parse_buckets(sample["bucket"])[0] if sample.get("bucket") else None,
                    has_audio=bool(row.get("has_audio")),
                )
            )
    if not windows:
        raise DataError(f"{dataset} declares no sample to train on.", "Inspect the clips again: `ltx-agent inspect`.")
    return windows


def with_trigger(caption: str, trigger: str | None) -> str:
    """Return `caption` with the trigger word in front, unless it holds the word already: it never stands twice."""
    if not trigger or re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE):
        return caption
    return f"{trigger} {caption}"


def normalise_video(latents: Tensor, vae: Any) -> Tensor:
    """Return (latents - mean)/std of un-normalised video latents [B, C, F, H, W], as they are stored and trained on."""
    mean, std = (s.view(1, -1, 1, 1, 1).to(latents) for s in (vae.latents_mean, vae.latents_std))
    return (latents - mean) * vae.config.scaling_factor / std


def normalise_audio(latents: Tensor, vae: Any) -> Tensor:
    """Return normalised audio latents [B, C, T, M]; the statistics belong to the packed [B, T, C·M]."""
    packed = (to_tokens(latents) - vae.latents_mean.to(latents)) / vae.latents_std.to(latents)
    return from_tokens(packed, (latents.shape[2],), latents.shape[1])


EncodeDirectory = Callable[[Cache, list[Window], str, Progress], int]


def _encoders(
    config: TrainingConfig, objective: Objective, source: ModelSource
) -> Iterator[tuple[str, EncodeDirectory]]:
    """(directory, encoder) for each input of the objective that is made from clips and captions."""
    frame_rate = config.ltx_agent.frame_rate
    for directory, column in objective.columns().items():
        if column == "video":
            yield directory, lambda *given: _encode_video(source, frame_rate, *given)
        elif column == "audio":
            yield directory, lambda *given: _encode_audio(source, *given)
        elif column == "caption":
            yield directory, lambda *given: _encode_text(source, *given)
        else:
            raise DataError(
                f"The objective needs `{column}`, which encoding does not make from clips yet.",
                f"Put them into {config.data.preprocessed_data_root}/{directory}, or choose another objective.",
            )


@torch.no_grad()
def _encode_video(
    source: ModelSource, frame_rate: float | None, cache: Cache, windows: list[Window], directory: str, report: Progress
) -> int:
    if frame_rate is None:
        raise ConfigError("The config names no frame rate (ltx_agent.frame_rate).", "Set it, e.g. 24.")
    made_from = source.fingerprint("video_vae")
    todo = [
        (window, key)
        for window in windows
        if not cache.holds(directory, window.name, key := _window_key(window, vae=made_from, fps=frame_rate))
    ]
    if not todo:
        return 0
    vae = source.video_vae(torch.float32)
    for done, (window, key) in enumerate(todo):
        report("video latents", done, len(todo))
        bucket = window.bucket
        if bucket is None:
            raise DataError(f"{window.name}: the objective needs pictures, but this clip has none.", "Leave it out.")
        frames = read_frames(
            window.media, window.start_s, bucket.frames, frame_rate, bucket.width, bucket.height
        )  # [F, H, W, 3] uint8
        pixels = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0
        latents = normalise_video(vae.encode(pixels).latent_dist.mode(), vae)[0]
        _, count, height, width = latents.shape
        content = {
            "latents": latents.to(torch.bfloat16).contiguous(),
            "num_frames": count,
            "height": height,
            "width": width,
            "fps": float(frame_rate),
        }
        cache.write(directory, window.name, key, content)
    report("video latents", len(todo), len(todo))
    return len(todo)


@torch.no_grad()
def _encode_audio(source: ModelSource, cache: Cache, windows: list[Window], directory: str, report: Progress) -> int:
    made_from = source.fingerprint("audio_vae")
    for window in windows:
        if not window.has_audio:
            raise DataError(
                f"{window.name}: the objective needs sound, but this clip has none.",
                "Leave the clip out, or train a video-only objective.",
            )
    todo = [
        (window, key)
        for window in windows
        if not cache.holds(directory, window.name, key := _window_key(window, vae=made_from))
    ]
    if not todo:
        return 0
    vae = source.audio_vae(torch.float32)
    rate, hop, bins = vae.config.sample_rate, vae.config.mel_hop_length, vae.config.mel_bins
    for done, (window, key) in enumerate(todo):
        report("audio latents", done, len(todo))
        samples = read_audio(window.media, window.start_s, window.duration_s, rate)
        if samples is None:
            raise DataError(
                f"{window.name}: the sound could not be decoded.", "Inspect the clip again or leave it out."
            )
        mel = log_mel(torch.from_numpy(samples), rate, hop, bins)[None]  # [1, 2, frames, bins]
        latents = normalise_audio(vae.encode(mel).latent_dist.mode(), vae)[0]  # [C, T, M]
        content = {
            "latents": latents.to(torch.bfloat16).contiguous(),
            "num_time_steps": latents.shape[1],
            "frequency_bins": latents.shape[2],
            "duration": window.duration_s,
        }
        cache.write(directory, window.name, key, content)
    report("audio latents", len(todo), len(todo))
    return len(todo)


def _encode_text(source: ModelSource, cache: Cache, windows: list[Window], directory: str, report: Progress) -> int:
    made_from = [source.fingerprint("text_encoder"), source.fingerprint("connectors")]
    todo = [
        (window, key)
        for window in windows
        if not cache.holds(directory, window.name, key := fingerprint(caption=window.caption, encoder=made_from))
    ]
    if not todo:
        return 0
    tokenizer, encoder = source.text_encoder(torch.float32)
    connectors = source.connectors(torch.float32)
    for done, (window, key) in enumerate(todo):
        report("text features", done, len(todo))
        tokens = count_tokens(tokenizer, window.caption)
        if tokens > tokenizer.model_max_length:
            raise DataError(
                f"{window.name}: the caption has {tokens} tokens, the text encoder takes {tokenizer.model_max_length}.",
                "Shorten the caption.",
            )
        features = encode_prompts(tokenizer, encoder, connectors, [window.caption])
        content = {
            "video_prompt_embeds": features.video[0].to(torch.bfloat16).contiguous(),
            "audio_prompt_embeds": features.audio[0].to(torch.bfloat16).contiguous(),
            "prompt_attention_mask": features.mask[0].to(torch.bool).contiguous(),
        }
        cache.write(directory, window.name, key, content)
    report("text features", len(todo), len(todo))
    return len(todo)


def _window_key(window: Window, **facts: Any) -> str:
    return fingerprint(
        source=window.sha256,
        start_s=window.start_s,
        duration_s=window.duration_s,
        bucket=str(window.bucket),
        **facts,
    )
