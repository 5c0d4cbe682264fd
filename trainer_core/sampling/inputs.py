"""From a prompt and its conditions' files to what the sampler takes: roles, given latents, masks, references, features.

A sample's conditions become the objective's conditions, each certain, so that what was trained is what is sampled.
F H W latent frames, rows and columns; T audio latent frames; C channels.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer_core.data.encoding.latents import audio_mask_content, pooled_mask
from trainer_core.data.media.pictures import read_frames
from trainer_core.errors import ConfigError, DataError
from trainer_core.objective import ModalityName, Objective, VaeFactors, objective_of
from trainer_core.sample_shape import latent_region
from trainer_core.sampling.encoder import Encoder, compressed, duration_of, is_image, size_of
from trainer_core.sections.strategy import (
    FirstFrameCondition,
    FlexibleStrategy,
    MaskCondition,
    ModalitySection,
    PrefixCondition,
    ReferenceCondition,
    SpatialCropCondition,
    SuffixCondition,
)
from trainer_core.sections.validation import ValidationSample, ValidationSection

VIDEO_CHANNELS, AUDIO_CHANNELS, MEL_BINS = 128, 8, 16
AUDIO_LATENTS_A_SECOND = 25
"""16 kHz over hop 160 over 4 mel frames a latent: the audio VAE of every released version."""


@dataclass(frozen=True)
class Shape:
    """Size of a sample: pixels and frames, frames per second, and its size in latents."""

    width: int
    height: int
    frames: int
    frame_rate: float
    factors: VaeFactors
    audio_latent_frames: int

    @property
    def duration_s(self) -> float:
        return self.frames / self.frame_rate

    @property
    def video_grid(self) -> tuple[int, int, int]:
        factors = self.factors
        return factors.latent_frames(self.frames), self.height // factors.height, self.width // factors.width


@dataclass
class GivenSide:
    """Given part of one modality: latents [C, F, H, W] or [C, T, M], zero where nothing is; mask and references.

    `original` is the file of a frozen modality, which goes into the result as it is.
    """

    latents: Tensor
    mask: Tensor | None = None
    references: list[Tensor] = field(default_factory=list)
    conditions: list[Any] = field(default_factory=list)
    frozen: bool = False
    original: Path | None = None

    def add_reference(self, latents: Tensor) -> None:
        """Give one more reference, with its condition."""
        self.references.append(latents)
        name = f"reference_{len(self.references)}"
        self.conditions.append(ReferenceCondition(type="reference", latents_dir=name))

    def references_by_name(self) -> dict[str, Tensor]:
        """The references by the `latents_dir` of their conditions."""
        names = [condition.latents_dir for condition in self.conditions if condition.type == "reference"]
        return dict(zip(names, self.references, strict=True))


@dataclass
class Given:
    """A sample's conditions, encoded. `shown_reference` is the video file that `include_in_output` puts beside."""

    video: GivenSide | None
    audio: GivenSide | None
    shown_reference: Path | None = None
    notes: list[str] = field(default_factory=list)

    def objective(self) -> Objective:
        """Roles and conditions, checked as a training's are."""

        def section(side: GivenSide | None) -> ModalitySection | None:
            if side is None:
                return None
            return ModalitySection(is_generated=not side.frozen, latents_dir="target", conditions=side.conditions)

        return objective_of(FlexibleStrategy(video=section(self.video), audio=section(self.audio)))


def shape_of(section: ValidationSection, sample: ValidationSample, factors: VaeFactors) -> Shape:
    """The size that a sample is made in; sound gets 25 latent frames per second (16 kHz, hop 160, 4 a latent)."""
    width, height, frames = sample.video_dims or section.video_dims
    if width % factors.width or height % factors.height or (frames - 1) % factors.time:
        raise ConfigError(
            f"video_dims {width}x{height}x{frames} don't fit this model: one latent cell is {factors.width}x"
            f"{factors.height} pixels and {factors.time} frames.",
            "Use multiples of the cell, and one frame more.",
        )
    return Shape(
        width,
        height,
        frames,
        section.frame_rate,
        factors,
        round(frames / section.frame_rate * AUDIO_LATENTS_A_SECOND),
    )


def encode_conditions(sample: ValidationSample, section: ValidationSection, shape: Shape, encoder: Encoder) -> Given:
    """Encode the files of a sample's conditions.

    Raises ConfigError for conditions that contradict each other or don't fit the size, DataError for a file that is
    missing, damaged or shorter than it must be.
    """
    kinds = [condition.type for condition in sample.conditions]
    silence = torch.zeros(AUDIO_CHANNELS, shape.audio_latent_frames, MEL_BINS)
    video = GivenSide(torch.zeros(VIDEO_CHANNELS, *shape.video_grid)) if section.generate_video else None
    audio = GivenSide(silence) if section.generate_audio else None
    if "audio_to_video" in kinds:
        audio = GivenSide(silence, frozen=True)
    if "video_to_audio" in kinds:
        video = GivenSide(torch.zeros(VIDEO_CHANNELS, *shape.video_grid), frozen=True)
        audio = audio or GivenSide(silence)
    given = Given(video, audio)
    for condition in sample.conditions:
        _CONDITIONS[condition.type](condition, given, shape, encoder)
    given.objective()
    return given


def _first_frame(condition: Any, given: Given, shape: Shape, encoder: Encoder) -> None:
    side = _present(given.video, "first_frame", "video")
    path = _file(condition.image_or_video)
    pixels = _pictures(given, path, 0.0, 1, shape)
    if is_image(path):
        pixels = compressed(pixels, encoder.still_crf)
        given.notes.append(
            f"{path.name} is compressed as footage is (H.264, CRF {encoder.still_crf}) before it is given."
        )
    side.latents[:, :1] = encoder.video(pixels, shape.frame_rate)
    side.conditions.append(FirstFrameCondition(type="first_frame"))


def _prefix(condition: Any, given: Given, shape: Shape, encoder: Encoder) -> None:
    name, path = _side_and_file(condition)
    if name == "audio":
        length, duration_s = _audio_stretch(condition, shape, path)
        side = _present(given.audio, "prefix", "audio")
        side.latents[:, :length] = encoder.audio(path, 0.0, duration_s)[:, :length]
    else:
        side = _present(given.video, "prefix", "video")
        frames = _pictures_given(condition, shape, path)
        if frames % shape.factors.time != 1:
            raise ConfigError(
                f"prefix of {frames} frames of {path.name!r} is no whole number of latent frames.",
                f"Use {_legal(frames, shape.factors.time, 1)} frames.",
            )
        length = shape.factors.latent_frames(frames)
        pixels = _pictures(given, path, 0.0, frames, shape)
        side.latents[:, :length] = encoder.video(pixels, shape.frame_rate)
    _refuse_all("prefix", length, side)
    side.conditions.append(PrefixCondition(type="prefix", temporal_boundary=length))


def _suffix(condition: Any, given: Given, shape: Shape, encoder: Encoder) -> None:
    name, path = _side_and_file(condition)
    if name == "audio":
        length, duration_s = _audio_stretch(condition, shape, path)
        side = _present(given.audio, "suffix", "audio")
        start_s = max(duration_of(path, "audio") - duration_s, 0.0)
        side.latents[:, -length:] = encoder.audio(path, start_s, duration_s)[:, :length]
    else:
        side = _present(given.video, "suffix", "video")
        step = shape.factors.time
        frames = _pictures_given(condition, shape, path)
        if frames % step > 1 or frames < step:
            raise ConfigError(
                f"suffix of {frames} frames of {path.name!r} is no whole number of latent frames.",
                f"Use {_legal(frames, step, 0)} frames.",
            )
        length = frames // step
        # the causal VAE gives the first picture a latent frame of its own, which a suffix doesn't have: it is the
        # picture before the suffix, and its latent frame is dropped
        needed = length * step + 1
        start_s = max(duration_of(path, "video") - needed / shape.frame_rate, 0.0)
        pixels = _pictures(given, path, start_s, needed, shape)
        side.latents[:, -length:] = encoder.video(pixels, shape.frame_rate)[:, 1:]
    _refuse_all("suffix", length, side)
    side.conditions.append(SuffixCondition(type="suffix", temporal_boundary=length))


def _spatial_crop(condition: Any, given: Given, shape: Shape, encoder: Encoder) -> None:
    side = _present(given.video, "spatial_crop", "video")
    path, region = _file(condition.video), condition.spatial_region
    y1, x1, y2, x2 = region
    if min(region) < 0 or y2 > shape.height or x2 > shape.width or y2 <= y1 or x2 <= x1:
        raise ConfigError(
            f"spatial_region y1,x1,y2,x2 = {list(region)} lies outside the {shape.width}x{shape.height} picture.",
            "Keep the region inside video_dims.",
        )
    rows, columns = latent_region(region, shape.factors)
    cells = (rows.stop - rows.start) * (columns.stop - columns.start)
    if cells <= 0 or cells == shape.video_grid[1] * shape.video_grid[2]:
        cell = f"latent cells of {shape.factors.width}x{shape.factors.height} pixels"
        what = f"is empty once its ends are rounded down to {cell}"
        if cells > 0:
            what = "covers the whole picture: nothing is left to generate"
        raise ConfigError(f"spatial_region {list(region)} {what}.", "Choose another region.")
    if size_of(path) == (x2 - x1, y2 - y1) != (shape.width, shape.height):
        # a clip of the region's own size is what stands inside it
        cell_h, cell_w = shape.factors.height, shape.factors.width
        if any(side_px % cell for side_px, cell in zip(region, (cell_h, cell_w, cell_h, cell_w), strict=True)):
            raise ConfigError(
                f"spatial_region {list(region)} is off the grid of {cell_w}x{cell_h} pixels, which a clip of the "
                "region's own size has to be on.",
                f"Use multiples of {cell_h} for y1 and y2 and of {cell_w} for x1 and x2, or give a clip of the whole "
                "picture.",
            )
        pixels = read_frames(path, 0.0, shape.frames, shape.frame_rate, x2 - x1, y2 - y1)
        side.latents[:, :, rows, columns] = encoder.video(pixels, shape.frame_rate)
        given.notes.append(f"{path.name} has the region's size: it is placed inside it.")
    else:
        pixels = _pictures(given, path, 0.0, shape.frames, shape)
        side.latents.copy_(encoder.video(pixels, shape.frame_rate))
    side.conditions.append(SpatialCropCondition(type="spatial_crop", spatial_region=tuple(region)))


def _mask(condition: Any, given: Given, shape: Shape, encoder: Encoder) -> None:
    name, path = _side_and_file(condition)
    mask = _file(condition.mask)
    if name == "audio":
        side = _present(given.audio, "mask", "audio")
        side.latents.copy_(_fitted(encoder.audio(path, 0.0, shape.duration_s), shape.audio_latent_frames))
        level = audio_mask_content(encoder.vae("audio"), encoder.sound(mask, 0.0, shape.duration_s))["mask"]
        side.mask = _fitted(level[None], shape.audio_latent_frames)[0]
    else:
        side = _present(given.video, "mask", "video")
        pixels = _pictures(given, path, 0.0, shape.frames, shape)
        side.latents.copy_(encoder.video(pixels, shape.frame_rate))
        frames = 1 if is_image(mask) else shape.frames
        levels = _pictures(given, mask, 0.0, frames, shape)
        keep = torch.from_numpy(levels).float().mean(dim=-1) / 255
        side.mask = pooled_mask(keep.expand(shape.frames, -1, -1), shape.factors)
    if bool((side.mask > 0.5).all()):
        raise ConfigError(f"The mask {mask.name!r} keeps everything: nothing is left to generate.", "Give it some 0.")
    side.conditions.append(MaskCondition(type="mask", mask_dir="given"))


def _reference(condition: Any, given: Given, shape: Shape, encoder: Encoder) -> None:
    name, path = _side_and_file(condition)
    if name == "audio":
        side = _present(given.audio, "reference", "audio")
        duration_s = min(shape.duration_s, duration_of(path, "audio"))
        side.add_reference(encoder.audio(path, 0.0, duration_s))
    else:
        side = _present(given.video, "reference", "video")
        spatial, temporal = condition.downscale_factor, condition.temporal_scale_factor
        cell_w, cell_h = shape.factors.width * spatial, shape.factors.height * spatial
        if shape.width % cell_w or shape.height % cell_h:
            raise ConfigError(
                f"reference: {shape.width}x{shape.height} can't be downscaled by {spatial}: the sides must be "
                f"multiples of {cell_w} and {cell_h} pixels.",
                "Use another size or downscale_factor.",
            )
        if is_image(path):
            pixels = _pictures(given, path, 0.0, 1, shape, spatial)
        else:
            taken = _pictures(given, path, 0.0, shape.frames, shape, spatial)
            # a temporally downscaled reference keeps the causal first frame, then every S-th: 0, 1, 1+S, 1+2S …
            pixels = np.concatenate([taken[:1], taken[1::temporal]]) if temporal > 1 else taken
            if len(pixels) % shape.factors.time != 1:
                raise ConfigError(
                    f"reference: temporal_scale_factor {temporal} leaves {len(pixels)} of {shape.frames} frames, which "
                    "is no whole number of latent frames.",
                    "Use a factor that divides the latent frames minus one.",
                )
        side.add_reference(encoder.video(pixels, shape.frame_rate))
        if condition.include_in_output and given.shown_reference is None:
            given.shown_reference = path


def _pictures(given: Given, path: Path, start_s: float, frames: int, shape: Shape, downscale: int = 1) -> np.ndarray:
    """Pictures of a file at the sample's size or an integer part of it; a file that has to be cut or enlarged for that
    is stated."""
    width, height = shape.width // downscale, shape.height // downscale
    size = size_of(path)
    if size is not None:
        scale = max(width / size[0], height / size[1])
        cut_px = max(size[0] * scale - width, size[1] * scale - height)
        done = [f"enlarged {scale:.3g} times"] if scale > 1 else []
        done += [f"cut at {'the sides' if size[0] * scale - width >= 1 else 'top and bottom'}"] if cut_px >= 1 else []
        note = f"{path.name} is {size[0]}x{size[1]}; to be {width}x{height} it is {' and '.join(done)}."
        if done and note not in given.notes:
            given.notes.append(note)
    return read_frames(path, start_s, frames, shape.frame_rate, width, height)


def _video_to_audio(condition: Any, given: Given, shape: Shape, encoder: Encoder) -> None:
    assert given.video is not None
    path = _file(condition.video)
    pixels = _pictures(given, path, 0.0, shape.frames, shape)
    given.video.latents.copy_(encoder.video(pixels, shape.frame_rate))
    given.video.original = path


def _audio_to_video(condition: Any, given: Given, shape: Shape, encoder: Encoder) -> None:
    assert given.audio is not None
    path = _file(condition.audio)
    sound = encoder.audio(path, 0.0, shape.duration_s)
    given.audio.latents.copy_(_fitted(sound, shape.audio_latent_frames))
    given.audio.original = path


_CONDITIONS = {
    "first_frame": _first_frame,
    "prefix": _prefix,
    "suffix": _suffix,
    "spatial_crop": _spatial_crop,
    "mask": _mask,
    "reference": _reference,
    "video_to_audio": _video_to_audio,
    "audio_to_video": _audio_to_video,
}


def _present(side: GivenSide | None, kind: str, name: ModalityName) -> GivenSide:
    if side is None:
        raise ConfigError(
            f"`{kind}` is given on {name}, which this sample doesn't make.",
            f"Set validation.generate_{name}: true, or remove the condition.",
        )
    return side


def _side_and_file(condition: Any) -> tuple[ModalityName, Path]:
    if (condition.video is None) == (condition.audio is None):
        raise ConfigError(
            f"`{condition.type}` needs either `video` or `audio`, and not both in one condition.",
            "Give one file; two conditions for both modalities.",
        )
    name: ModalityName = "video" if condition.video is not None else "audio"
    return name, _file(condition.video or condition.audio)


def _file(given: str) -> Path:
    path = Path(given)
    if not path.exists():
        raise DataError(f"There is no file {path}.", "Correct the path in the sample's conditions.")
    return path


def _pictures_given(condition: Any, shape: Shape, path: Path) -> int:
    """The pictures that a prefix or suffix takes: as said, or as many as the clip holds, down to whole latents."""
    if condition.num_frames is not None:
        return condition.num_frames
    if condition.duration is not None:
        return round(condition.duration * shape.frame_rate)
    held = int(duration_of(path, "video") * shape.frame_rate + 0.01)
    step = shape.factors.time
    most = shape.frames - step
    return max(min((held - 1) // step * step + 1, most), 1)


def _audio_stretch(condition: Any, shape: Shape, path: Path) -> tuple[int, float]:
    """(audio latent frames, seconds) of an audio prefix or suffix."""
    if condition.duration is not None:
        duration_s = condition.duration
    elif condition.num_frames is not None:
        duration_s = condition.num_frames / shape.frame_rate
    else:
        duration_s = min(duration_of(path, "audio"), shape.duration_s / 2)
    return max(round(duration_s * AUDIO_LATENTS_A_SECOND), 1), duration_s


def _refuse_all(kind: str, length: int, side: GivenSide) -> None:
    total = side.latents.shape[1]
    already = sum(c.temporal_boundary for c in side.conditions if c.type in ("prefix", "suffix"))
    if length + already >= total:
        raise ConfigError(
            f"{kind} of {length} latent frames leaves none of {total} to generate.", "Give less, or sample longer."
        )


def _fitted(latents: Tensor, length: int) -> Tensor:
    """Cut sound to `length` latent frames: encoding rounds up, sampling rounds to the nearest. One may be repeated."""
    if latents.shape[1] < length:
        latents = torch.cat([latents, latents[:, -1:].expand(-1, length - latents.shape[1], *latents.shape[2:])], dim=1)
    return latents[:, :length]


def _legal(frames: int, step: int, rest: int) -> str:
    below = max(frames - rest, 0) // step * step + rest
    return " or ".join(str(value) for value in (below, below + step) if value >= max(rest, 1))
