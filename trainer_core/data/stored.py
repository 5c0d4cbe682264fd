"""Files of precomputed latents in one form, whichever version of a trainer wrote them.

F H W latent frames, rows and columns; T audio latent frames; C channels, M mel bins. Old files hold tokens
[F·H·W, C] or [T, C·M] with the sizes beside them, or no frame rate.
"""

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer_core.data.batch import from_tokens
from trainer_core.errors import DataError
from trainer_core.objective import ModalityName

USUAL_FRAME_RATE = 24.0
"""What a latents file without `fps` is taken for, as the official trainer does."""
USUAL_MEL_BINS = 16


def latents_of(content: dict[str, Any], path: Path, modality: ModalityName) -> Tensor:
    """Return the latents of a file: [C, F, H, W] of video, [C, T, M] of audio; meta tensors stay meta.

    Raises DataError when it holds none, of another modality, or tokens that don't fit the sizes beside them.
    """
    latents = tensor_of(content, "latents", path)
    if latents.ndim == (4 if modality == "video" else 3):
        return latents
    if latents.ndim != 2:
        raise DataError(
            f"{path}: latents of {modality} are {_dimensions(modality)}, these are {tuple(latents.shape)}.",
            "Give the folder of the right modality, or encode again.",
        )
    tokens, width = latents.shape
    if modality == "audio":
        bins = int(content.get("frequency_bins", USUAL_MEL_BINS))
        if bins < 1 or width % bins:
            raise DataError(
                f"{path}: tokens {width} wide can't be split into {bins} mel bins.", "Delete it and encode again."
            )
        return from_tokens(latents[None], (tokens,), width // bins)[0]
    sizes = [content.get(key) for key in ("num_frames", "height", "width")]
    if None in sizes:
        raise DataError(
            f"{path} holds video tokens {tuple(latents.shape)} but not all of `num_frames`, `height` and `width`.",
            "Delete it and encode again.",
        )
    grid = tuple(int(size) for size in sizes if size is not None)
    if math.prod(grid) != tokens:
        raise DataError(
            f"{path} holds {tokens} video tokens, its num_frames x height x width are {'x'.join(map(str, grid))}.",
            "Delete it and encode again.",
        )
    return from_tokens(latents[None], grid, width)[0]


def frame_rate_of(content: dict[str, Any], path: Path) -> float:
    """Return the frames per second that a file of video latents states; USUAL_FRAME_RATE where it states none."""
    stated = content.get("fps")
    rate = USUAL_FRAME_RATE if stated is None else float(stated)
    if not (math.isfinite(rate) and rate > 0):
        raise DataError(f"{path} states a frame rate of {rate:g}.", "Delete it and encode again.")
    return rate


def tensor_of(content: dict[str, Any], key: str, path: Path) -> Tensor:
    """Return one tensor of a file. Raises DataError when it isn't there."""
    tensor = content.get(key)
    if not isinstance(tensor, Tensor):
        raise DataError(f"{path} holds no tensor `{key}`.", "Delete it and encode again.")
    return tensor


def text_of(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return features of video and audio and their mask, of a conditions file; the legacy form has `prompt_embeds`.

    Raises DataError when one is missing.
    """
    video, audio = (content.get(f"{kind}_prompt_embeds") for kind in ("video", "audio"))
    video = content.get("prompt_embeds") if video is None else video
    mask = content.get("prompt_attention_mask")
    if not isinstance(video, Tensor) or not isinstance(mask, Tensor):
        raise DataError(f"{path} holds no prompt embeddings.", "Encode the captions again.")
    return {"video": video, "audio": audio if isinstance(audio, Tensor) else video, "mask": mask}


def grid_of(latents: Tensor) -> tuple[int, ...]:
    """(F, H, W) of video latents [C, F, H, W], (T,) of audio latents [C, T, M]."""
    return tuple(latents.shape[1:]) if latents.ndim == 4 else (latents.shape[1],)


def _dimensions(modality: ModalityName) -> str:
    return "[channels, frames, rows, columns]" if modality == "video" else "[channels, frames, mel bins]"
