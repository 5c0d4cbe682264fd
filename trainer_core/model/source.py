"""Sources of a model's parts: one small interface for every layout, so that each part loads alone and late."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from trainer_core.objective import VaeFactors
from trainer_core.weights_file import Stored

Version = Literal["2.0", "2.3", "2.5"]
Part = Literal["transformer", "connectors", "video_vae", "audio_vae", "vocoder", "text_encoder"]


_SAMPLED_BYTES = 1 << 20


@dataclass(frozen=True)
class Placement:
    """Device of a transformer's weights as they stream from disk, and their number of bits.

    No `device`: they stay in their memory-mapped file where the dtype allows. `swap_blocks` of its blocks stay in host
    memory (see block_swap).
    """

    device: torch.device | None = None
    quantization: str | None = None
    swap_blocks: int = 0


@dataclass(frozen=True)
class InputWidths:
    """Widths of a model's input tokens: video and audio latents, and the text features of each modality."""

    video: int
    audio: int
    video_text: int
    audio_text: int


def input_widths(transformer: Mapping[str, Any], connectors: Mapping[str, Any]) -> InputWidths:
    """The widths that the configs of a model's transformer and connectors say."""
    text = (connectors["caption_channels"], connectors["caption_channels"])
    if connectors.get("per_modality_projections"):
        text = (connectors["video_hidden_dim"], connectors["audio_hidden_dim"])
    return InputWidths(transformer["in_channels"], transformer["audio_in_channels"], *text)


class ModelSource(Protocol):
    """One LTX model on disk or, for `tiny`, in the making. A method loads one part, in eval mode, without gradients."""

    @property
    def version(self) -> Version: ...

    @property
    def label(self) -> str:
        """Name of the model for people; says so when it is random."""
        ...

    @property
    def factors(self) -> VaeFactors:
        """Pixels and frames a latent cell stands for, as the checkpoint says; known without loading weights."""
        ...

    @property
    def widths(self) -> InputWidths:
        """Widths of its input tokens; known without loading weights."""
        ...

    @property
    def layers(self) -> int:
        """Number of its transformer's blocks; known without loading weights."""
        ...

    @property
    def distilled(self) -> bool:
        """True if it was distilled to a few steps: good for sampling with the distilled schedule, not for training."""
        ...

    def fingerprint(self, part: Part) -> str:
        """A string that changes when the part's weights do."""
        ...

    def library_config(self, part: Part) -> dict[str, Any]:
        """Every setting of the library's class of `part`, transformer or connectors, its defaults included."""
        ...

    def reader_metadata(self) -> dict[str, str]:
        """The metadata that readers build this model from: the file's own, whole, where it has some that they know."""
        ...

    def connector_weights(self, *, projections: bool) -> list[Stored]:
        """The text connectors as this model stores them, under upstream's keys; with the text projections on request.

        Nothing is read before the weights are written.
        """
        ...

    def reader_weights(self) -> list[Stored]:
        """The file that readers of this model open, under upstream's keys: the unified file or the pack's transformer
        file as it is, else the transformer with connectors and text projections. Nothing is read before it is written.
        """
        ...

    def transformer(self, dtype: torch.dtype, placement: Placement = Placement()) -> Any: ...

    def connectors(self, dtype: torch.dtype) -> Any: ...

    def video_vae(self, dtype: torch.dtype) -> Any: ...

    def audio_vae(self, dtype: torch.dtype) -> Any: ...

    def vocoder(self, dtype: torch.dtype) -> Any: ...

    def text_encoder(
        self, dtype: torch.dtype, device: torch.device | None = None, *, in_8bit: bool = False
    ) -> tuple[Any, Any]:
        """Return (tokenizer, encoder); `in_8bit` holds the encoder's large layers as 8-bit integers."""
        ...


def sampled_digest(paths: Iterable[Path]) -> str:
    """Name files of any size in milliseconds: names, sizes, and the first and last megabyte of each."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as handle:
            digest.update(handle.read(_SAMPLED_BYTES))
            handle.seek(max(size - _SAMPLED_BYTES, 0))
            digest.update(handle.read(_SAMPLED_BYTES))
    return digest.hexdigest()[:24]
