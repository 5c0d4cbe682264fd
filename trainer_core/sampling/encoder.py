"""Prompts to features and media to latents for a sample; a model is loaded when the first condition needs it.

F pictures, H rows, W columns of pixels, primed in latents; C channels, T audio latent frames, M mel bins.
"""

import io
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from trainer_core.data.encoding.latents import audio_content, video_content
from trainer_core.data.media.decode import opened, picture_stream
from trainer_core.data.media.probe import probe
from trainer_core.data.media.sounds import read_audio
from trainer_core.errors import ConfigError, DataError
from trainer_core.model.source import ModelSource
from trainer_core.model.text import TextFeatures, count_tokens, encode_prompts, load_prompt_encoder
from trainer_core.objective import ModalityName


def check_prompt(tokenizer: Any, prompt: str) -> None:
    """Refuse a prompt that the text encoder would cut."""
    tokens = count_tokens(tokenizer, prompt)
    if tokens > tokenizer.model_max_length:
        raise ConfigError(
            f"The prompt `{prompt[:60]}…` has {tokens} tokens, the text encoder takes {tokenizer.model_max_length}.",
            "Shorten it; nothing is cut silently.",
        )


def encode_texts(
    source: ModelSource,
    prompts: list[str],
    device: torch.device,
    *,
    in_8bit: bool = False,
    tell: Callable[[str], None] = lambda _said: None,
) -> dict[str, TextFeatures]:
    """Features of every prompt (before the connectors), on the CPU. Raises ConfigError for one that is too long.

    `in_8bit` holds the text encoder in 8 bits, as for captions; `tell` hears that it doesn't fit the card.
    """
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    tokenizer, encoder, connectors = load_prompt_encoder(source, dtype, device, in_8bit=in_8bit, tell=tell)
    for prompt in prompts:
        check_prompt(tokenizer, prompt)
    return {
        prompt: encode_prompts(tokenizer, encoder, connectors, [prompt]).to(torch.device("cpu"))
        for prompt in dict.fromkeys(prompts)
    }


class Encoder:
    """Turns conditions into latents; loads a VAE when the first condition needs it."""

    def __init__(self, source: ModelSource, device: torch.device) -> None:
        self._source, self._device = source, device
        self._vaes: dict[ModalityName, Any] = {}

    @property
    def still_crf(self) -> int:
        """Compression of a still: the model learned from footage, where nothing is as clean as a PNG.

        Source: diffusers' resolve_default_image_crf; 33 up to LTX-2.3, 18 since 2.5.
        """
        return 18 if self._source.version == "2.5" else 33

    def vae(self, name: ModalityName) -> Any:
        if name not in self._vaes:
            load = self._source.video_vae if name == "video" else self._source.audio_vae
            self._vaes[name] = load(torch.float32).to(self._device)
        return self._vaes[name]

    @torch.no_grad()
    def video(self, pixels: np.ndarray, frame_rate: float) -> Tensor:
        """Pictures [F, H, W, 3] to normalised latents [C, F', H', W']."""
        vae = self.vae("video")
        if self._device.type != "cpu":
            vae.enable_tiling()
        return video_content(vae, pixels, frame_rate)["latents"].float().cpu()

    @torch.no_grad()
    def audio(self, path: Path, start_s: float, duration_s: float) -> Tensor:
        """Sound of a file to normalised latents [C, T, M]. Raises DataError for a file without sound."""
        return audio_content(self.vae("audio"), self.sound(path, start_s, duration_s), duration_s)["latents"].float()

    def sound(self, path: Path, start_s: float, duration_s: float) -> np.ndarray:
        samples = read_audio(path, start_s, duration_s, self.vae("audio").config.sample_rate)
        if samples is None:
            raise DataError(f"There is no sound in {path.name!r}.", "Give a file that has some.")
        return samples


def is_image(path: Path) -> bool:
    """True if the file's name says that it is a still picture."""
    kind, _ = mimetypes.guess_type(path.name)
    return kind is not None and kind.startswith("image/")


def compressed(pixels: np.ndarray, crf: int) -> np.ndarray:
    """One picture uint8 [1, H, W, 3] through H.264 and back, as a frame of footage would have been."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=1, options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = pixels.shape[1], pixels.shape[2], "yuv420p"
        made.mux(stream.encode(av.VideoFrame.from_ndarray(pixels[0], format="rgb24")))
        made.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer, "r") as opened_again:
        return next(opened_again.decode(video=0)).to_ndarray(format="rgb24")[None]


def has_pictures(path: Path) -> bool:
    """True if the file holds pictures (a cover picture doesn't count)."""
    with opened(path) as container:
        return picture_stream(container) is not None


def duration_of(path: Path, name: ModalityName) -> float:
    """Seconds of pictures or of sound, found by decoding. Raises DataError for a file without sound."""
    clip = probe(path)
    if name == "audio":
        if clip.audio is None:
            raise DataError(f"There is no sound in {path.name!r}.", "Give a file that has some.")
        return clip.audio.duration_s
    return clip.duration_s


def size_of(path: Path) -> tuple[int, int] | None:
    """Displayed width and height in pixels; None for sound alone."""
    clip = probe(path)
    return (clip.width, clip.height) if clip.width and clip.height else None
