"""Buckets (the picture sizes and lengths that samples are cut to) and the windows of a clip. Pure arithmetic, no media.

Legal sizes come from the video VAE: one latent cell is 32x32 pixels and 8 frames, and the first frame has a latent
frame of its own, so sides are multiples of 32 and frames are 8·n + 1.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trainer_core.errors import ConfigError

CELL_PX = 32
CELL_FRAMES = 8
SHORTEST_VIDEO_FRAMES = CELL_FRAMES + 1


@dataclass(frozen=True, order=True)
class Bucket:
    """Samples of one shape: `frames` pictures of `width` x `height` pixels. One frame is a still.

    Raises ConfigError, naming the nearest legal values, when the VAE can't encode the shape.
    """

    width: int
    height: int
    frames: int

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if side < CELL_PX or side % CELL_PX:
                raise ConfigError(
                    f"bucket {self}: the {name} {side} is no multiple of {CELL_PX} pixels.",
                    f"Use {_nearest(side, CELL_PX, 0, CELL_PX)}.",
                )
        if self.frames < 1 or self.frames % CELL_FRAMES != 1:
            raise ConfigError(
                f"bucket {self}: {self.frames} frames are not a multiple of {CELL_FRAMES} plus 1.",
                f"Use {_nearest(self.frames, CELL_FRAMES, 1, 1)}.",
            )

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"

    @property
    def tokens(self) -> int:
        """Video tokens of one sample: what a training step's time and memory grow with."""
        latent_frames = (self.frames - 1) // CELL_FRAMES + 1
        return latent_frames * (self.width // CELL_PX) * (self.height // CELL_PX)

    def fits_inside(self, width: int, height: int) -> bool:
        """Whether a picture of `width` x `height` covers the bucket without being enlarged."""
        return self.width <= width and self.height <= height


@dataclass(frozen=True)
class BucketLimits:
    """How large a proposed bucket may be."""

    max_area_px: int
    max_frames: int


TINY_LIMITS = BucketLimits(max_area_px=96 * 64, max_frames=17)
"""For the tiny model: 18 tokens, so that a demo on two CPU cores encodes and trains in seconds."""

REAL_LIMITS = BucketLimits(max_area_px=768 * 448, max_frames=89)
"""For real models: 4,032 tokens, about where upstream's recipes train (576x576x49 is their low-memory size)."""


@dataclass(frozen=True)
class ClipExtent:
    """What a clip offers: its display size and its frames at the working frame rate (1 for an image)."""

    width: int
    height: int
    frames: int


def parse_buckets(spelling: str) -> list[Bucket]:
    """Read `WxHxF;WxHxF`. Raises ConfigError for another spelling, an illegal size, or the same bucket twice."""
    buckets: list[Bucket] = []
    for part in spelling.split(";"):
        sides = part.strip().lower().split("x")
        if len(sides) != 3 or not all(side.strip().isascii() and side.strip().isdigit() for side in sides):
            raise ConfigError(
                f"`{part.strip()}` is no bucket: width, height and frames are written WxHxF.",
                "Write for example 768x448x89, several separated by `;`.",
            )
        bucket = Bucket(*(int(side) for side in sides))
        if bucket in buckets:
            raise ConfigError(f"The bucket {bucket} stands twice in `{spelling}`.", "Keep one of them.")
        buckets.append(bucket)
    return buckets


def format_buckets(buckets: Sequence[Bucket]) -> str:
    """Spell buckets as `parse_buckets` reads them."""
    return ";".join(str(bucket) for bucket in buckets)


def choose_bucket(width: int, height: int, frames_available: int, buckets: Sequence[Bucket]) -> Bucket | None:
    """Return the bucket for a clip, or None when it is shorter than all of them.

    Upstream's rule: the smallest |log aspect difference|, then more frames, then the larger area.
    """
    fitting = [bucket for bucket in buckets if bucket.frames <= frames_available]
    if not fitting:
        return None
    aspect = math.log(width / height)

    def preference(bucket: Bucket) -> tuple[float, int, int]:
        difference = abs(math.log(bucket.width / bucket.height) - aspect)
        return round(difference, 9), -bucket.frames, -bucket.width * bucket.height

    return min(fitting, key=preference)


def propose_buckets(clips: Sequence[ClipExtent], limits: BucketLimits, max_sizes: int = 3) -> list[Bucket]:
    """Return the few buckets that keep most of the clips' seconds, largest first.

    Never larger than the clips that go into it. Clips too short for a size's main length get a shorter bucket of the
    same size; images get one-frame buckets. Empty when no clip holds even one cell of 32x32 pixels.
    """
    proposed: set[Bucket] = set()
    for still in (False, True):
        kind = [
            clip for clip in clips if (clip.frames == 1) == still and (still or clip.frames >= SHORTEST_VIDEO_FRAMES)
        ]
        sizes = _main_sizes(kind, limits.max_area_px, max_sizes)
        groups: dict[tuple[int, int], list[int]] = {}
        for clip in kind:
            size = _size_for(clip, sizes)
            if size is not None:
                groups.setdefault(size, []).append(clip.frames)
        for (width, height), lengths in groups.items():
            proposed |= {Bucket(width, height, frames) for frames in ((1,) if still else _lengths(lengths, limits))}
    return sorted(proposed, key=lambda bucket: (-bucket.tokens, bucket))


def frames_at(duration_s: float, frame_rate: float) -> int:
    """Whole frames that `duration_s` holds at `frame_rate`; a hundredth of a frame missing is rounding, not a loss."""
    return math.floor(duration_s * frame_rate + 0.01)


def windows(duration_s: float, frame_rate: float, frames: int) -> list[float]:
    """Start times of the consecutive windows of `frames` frames that fit in the clip; they don't overlap."""
    count = frames_at(duration_s, frame_rate) // frames
    return [index * frames / frame_rate for index in range(count)]


def _nearest(value: int, step: int, offset: int, least: int) -> str:
    below = (value - offset) // step * step + offset
    legal = [candidate for candidate in (below, below + step) if candidate >= least]
    return " or ".join(str(candidate) for candidate in legal or [least])


def _best_size(clip: ClipExtent, max_area_px: int) -> tuple[int, int] | None:
    """The size that shows most of the clip: area times the square of the share that the centre crop keeps."""
    best: tuple[float, tuple[int, int]] | None = None
    for width in range(CELL_PX, min(clip.width, max_area_px // CELL_PX) + 1, CELL_PX):
        for height in range(CELL_PX, min(clip.height, max_area_px // width) + 1, CELL_PX):
            ratio = (width / height) / (clip.width / clip.height)
            score = width * height * min(ratio, 1 / ratio) ** 2
            if best is None or score > best[0]:
                best = (score, (width, height))
    return best[1] if best else None


def _main_sizes(clips: Sequence[ClipExtent], max_area_px: int, max_sizes: int) -> list[tuple[int, int]]:
    votes: Counter[tuple[int, int]] = Counter()
    for clip in clips:
        size = _best_size(clip, max_area_px)
        if size is not None:
            votes[size] += clip.frames
    return [size for size, _ in votes.most_common(max_sizes)]


def _size_for(clip: ClipExtent, sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The size that `choose_bucket` gives the clip among those that don't enlarge it; lengths don't matter here."""
    stills = [Bucket(width, height, 1) for width, height in sizes]
    covered = [bucket for bucket in stills if bucket.fits_inside(clip.width, clip.height)]
    chosen = choose_bucket(clip.width, clip.height, 1, covered)
    return (chosen.width, chosen.height) if chosen else None


def _lengths(clip_frames: Sequence[int], limits: BucketLimits) -> list[int]:
    """The longest window that keeps at least 80 % of what the most sparing one keeps, and one for the shorter clips."""
    candidates = range(SHORTEST_VIDEO_FRAMES, limits.max_frames + 1, CELL_FRAMES)

    def kept(frames: int) -> int:
        return sum(length // frames * frames for length in clip_frames)

    enough = 0.8 * max(kept(frames) for frames in candidates)
    main = max(frames for frames in candidates if kept(frames) >= enough)
    shorter = [length for length in clip_frames if length < main]
    if not shorter:
        return [main]
    return [main, (min(shorter) - 1) // CELL_FRAMES * CELL_FRAMES + 1]
