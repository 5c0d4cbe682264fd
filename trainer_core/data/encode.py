"""Clips to latents: video VAE, audio VAE and text features into upstream's precomputed layout, once.

One big model is resident at a time; a file whose fingerprint is unchanged is not made again.
"""

import gc
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer_core.config import TrainingConfig
from trainer_core.data.buckets import Bucket
from trainer_core.data.cache import Cache, fingerprint, open_cache
from trainer_core.data.decode import read_audio, read_frames
from trainer_core.data.latents import audio_content, audio_mask_content, pooled_mask, video_content
from trainer_core.data.windows import Window, read_windows
from trainer_core.errors import ConfigError, DataError
from trainer_core.model.load import open_model
from trainer_core.model.source import ModelSource, sampled_digest
from trainer_core.model.text import count_tokens, encode_prompts
from trainer_core.objective import Objective, objective_of

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EncodeSummary:
    """What an encode did, in files: made anew and found unchanged."""

    samples: int
    encoded: int
    reused: int


def encode_dataset(config: TrainingConfig, progress: Progress | None = None) -> EncodeSummary:
    """Encode what the objective needs of `config.ltx_agent.dataset` into `config.data.preprocessed_data_root`.

    Paths in `config` are absolute (`resolve_paths`). Raises DataError naming the clip that can't be encoded.
    """
    objective = objective_of(config.strategy)
    windows = read_windows(config)
    cache = open_cache(Path(config.data.preprocessed_data_root))
    source = open_model(config.model)
    report = progress or (lambda _what, _done, _total: None)
    jobs = _jobs(config, objective, source)
    made = 0
    try:
        for job in jobs:
            made += job.run(cache, windows, report)
            gc.collect()
    finally:
        if made:
            cache.save_manifest()
    return EncodeSummary(samples=len(windows), encoded=made, reused=len(windows) * len(jobs) - made)


@dataclass(frozen=True)
class _Job:
    """One directory of the cache: how its files are keyed, what has to be loaded for it, how one window is encoded."""

    directory: str
    what: str
    key: Callable[[Window], str]
    prepare: Callable[[], Any]
    encode: Callable[[Any, Window], dict[str, Any]]

    def run(self, cache: Cache, windows: list[Window], report: Progress) -> int:
        """Encode the windows whose files are missing or out of date; return how many."""
        keys = {window.name: self.key(window) for window in windows}
        todo = [window for window in windows if not cache.holds(self.directory, window.name, keys[window.name])]
        if not todo:
            return 0
        loaded = self.prepare()
        for done, window in enumerate(todo):
            report(self.what, done, len(todo))
            with torch.no_grad():
                content = self.encode(loaded, window)
            cache.write(self.directory, window.name, keys[window.name], content)
        report(self.what, len(todo), len(todo))
        return len(todo)


def _jobs(config: TrainingConfig, objective: Objective, source: ModelSource) -> list[_Job]:
    """What the objective needs encoded; the files that one model makes stand together."""
    build = {
        "video": _video_job,
        "reference_video": _reference_video_job,
        "video_mask": _video_mask_job,
        "audio": _audio_job,
        "reference_audio": _reference_audio_job,
        "audio_mask": _audio_mask_job,
        "caption": _text_job,
    }
    wanted = {column: directory for directory, column in objective.columns().items()}
    return [make(config, source, wanted[column]) for column, make in build.items() if column in wanted]


def _video_job(config: TrainingConfig, source: ModelSource, directory: str) -> _Job:
    rate = _frame_rate(config)
    made_from = source.fingerprint("video_vae")

    def encode(vae: Any, window: Window) -> dict[str, Any]:
        bucket = window.picture()
        pixels = read_frames(window.media, window.start_s, bucket.frames, rate, bucket.width, bucket.height)
        return video_content(vae, pixels, rate)

    return _Job(
        directory,
        "video latents",
        lambda window: _window_key(window, vae=made_from, fps=rate),
        lambda: source.video_vae(torch.float32),
        encode,
    )


def _reference_video_job(config: TrainingConfig, source: ModelSource, directory: str) -> _Job:
    rate = _frame_rate(config)
    spatial, temporal = config.ltx_agent.reference_spatial_scale, config.ltx_agent.reference_temporal_scale
    made_from = source.fingerprint("video_vae")

    def encode(vae: Any, window: Window) -> dict[str, Any]:
        path, bucket = window.input("reference_video"), window.picture()
        size = Bucket(bucket.width // spatial, bucket.height // spatial, bucket.frames)
        if _is_image(path):
            return video_content(vae, read_frames(path, 0.0, 1, rate, size.width, size.height), rate)
        pixels = read_frames(path, window.start_s, bucket.frames, rate, size.width, size.height)
        # a temporally downscaled reference keeps the causal first frame, then every S-th: 0, 1, 1+S, 1+2S …
        kept = np.concatenate([pixels[:1], pixels[1::temporal]]) if temporal > 1 else pixels
        return video_content(vae, kept, rate / temporal)

    def key(window: Window) -> str:
        path = window.input("reference_video")
        return _window_key(
            window, vae=made_from, fps=rate, reference=sampled_digest([path]), scales=[spatial, temporal]
        )

    return _Job(directory, "reference video latents", key, lambda: source.video_vae(torch.float32), encode)


def _video_mask_job(config: TrainingConfig, source: ModelSource, directory: str) -> _Job:
    rate, factors = _frame_rate(config), source.factors

    def encode(_nothing: None, window: Window) -> dict[str, Any]:
        path, bucket = window.input("video_mask"), window.picture()
        still = _is_image(path)
        start_s, frames = (0.0, 1) if still else (window.start_s, bucket.frames)
        pixels = read_frames(path, start_s, frames, rate, bucket.width, bucket.height)
        keep = torch.from_numpy(pixels).float().mean(dim=-1) / 255  # [F, H, W], 1 = keep
        if still:
            keep = keep.expand(bucket.frames, -1, -1)
        return {"mask": pooled_mask(keep, factors)}

    def key(window: Window) -> str:
        return _window_key(window, fps=rate, mask=sampled_digest([window.input("video_mask")]), factors=str(factors))

    return _Job(directory, "video masks", key, lambda: None, encode)


def _audio_job(_config: TrainingConfig, source: ModelSource, directory: str) -> _Job:
    made_from = source.fingerprint("audio_vae")

    def encode(vae: Any, window: Window) -> dict[str, Any]:
        if not window.has_audio:
            raise DataError(
                f"{window.name}: the objective needs sound, but this clip has none.",
                "Leave the clip out, or train a video-only objective.",
            )
        return audio_content(vae, _sound(window.sound, window, vae), window.duration_s)

    def key(window: Window) -> str:
        apart = {} if window.sound == window.media else {"sound": sampled_digest([window.sound])}
        return _window_key(window, vae=made_from, **apart)

    return _Job(
        directory,
        "audio latents",
        key,
        lambda: source.audio_vae(torch.float32),
        encode,
    )


def _reference_audio_job(_config: TrainingConfig, source: ModelSource, directory: str) -> _Job:
    made_from = source.fingerprint("audio_vae")

    def key(window: Window) -> str:
        return _window_key(window, vae=made_from, reference=sampled_digest([window.input("reference_audio")]))

    return _Job(
        directory,
        "reference audio latents",
        key,
        lambda: source.audio_vae(torch.float32),
        lambda vae, window: audio_content(vae, _sound(window.input("reference_audio"), window, vae), window.duration_s),
    )


def _audio_mask_job(_config: TrainingConfig, source: ModelSource, directory: str) -> _Job:
    def encode(vae: Any, window: Window) -> dict[str, Any]:
        return audio_mask_content(vae, _sound(window.input("audio_mask"), window, vae))

    def key(window: Window) -> str:
        return _window_key(window, mask=sampled_digest([window.input("audio_mask")]))

    return _Job(directory, "audio masks", key, lambda: source.audio_vae(torch.float32), encode)


def _text_job(config: TrainingConfig, source: ModelSource, directory: str) -> _Job:
    in_8bit = config.acceleration.load_text_encoder_in_8bit
    made_from = [source.fingerprint("text_encoder"), source.fingerprint("connectors"), *(["8bit"] if in_8bit else [])]

    def prepare() -> Any:
        return (*source.text_encoder(torch.float32, in_8bit=in_8bit), source.connectors(torch.float32))

    last: dict[str, dict[str, Any]] = {}  # the windows of a clip follow each other and share their caption

    def encode(loaded: Any, window: Window) -> dict[str, Any]:
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
            "video_prompt_embeds": features.video[0].to(torch.bfloat16).contiguous(),
            "audio_prompt_embeds": features.audio[0].to(torch.bfloat16).contiguous(),
            "prompt_attention_mask": features.mask[0].to(torch.bool).contiguous(),
        }

    def key(window: Window) -> str:
        return fingerprint(caption=window.caption, encoder=made_from)

    return _Job(directory, "text features", key, prepare, encode)


def _sound(path: Path, window: Window, vae: Any) -> np.ndarray:
    samples = read_audio(path, window.start_s, window.duration_s, vae.config.sample_rate)
    if samples is None:
        raise DataError(
            f"{window.name}: there is no sound in {path.name!r}.", "Inspect the clip again or leave it out."
        )
    return samples


def _is_image(path: Path) -> bool:
    kind, _ = mimetypes.guess_type(path.name)
    return kind is not None and kind.startswith("image/")


def _frame_rate(config: TrainingConfig) -> float:
    if config.ltx_agent.frame_rate is None:
        raise ConfigError("The config names no frame rate (ltx_agent.frame_rate).", "Set it, e.g. 24.")
    return config.ltx_agent.frame_rate


def _window_key(window: Window, **facts: Any) -> str:
    return fingerprint(
        source=window.sha256,
        start_s=window.start_s,
        duration_s=window.duration_s,
        bucket=str(window.bucket),
        **facts,
    )
