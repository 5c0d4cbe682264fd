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
MAX_LENGTHS = 3
"""Main length and shorter ones of one size: each is one more shape that batches are made of."""
WORTH_KEEPING = 0.05


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
    """How large a proposed bucket may be: its tokens decide the memory, a smaller picture may last longer."""

    max_tokens: int
    max_area_px: int
    max_frames: int


TINY_LIMITS = BucketLimits(max_tokens=18, max_area_px=96 * 64, max_frames=17)
"""For the tiny model: so small that a demo on two CPU cores encodes and trains in seconds."""

LONGEST_FRAMES = 121
"""Five seconds at 24 fps; LTX models are trained on no longer clips than a few times that."""
LARGE_LATENT_FRAMES = 12
"""The largest picture within a budget still lasts this many latent frames (89 frames)."""


def limits_of(max_tokens: int) -> BucketLimits:
    """The limits that a budget of video tokens a sample sets."""
    cells = max(1, max_tokens // LARGE_LATENT_FRAMES)
    return BucketLimits(max_tokens, cells * CELL_PX * CELL_PX, LONGEST_FRAMES)


REAL_LIMITS = limits_of(4032)
"""For real models: 768x448x89, about where upstream's recipes train (576x576x49 is their low-memory size)."""


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

    Never larger than the clips that go into it. A size has one main length and a few shorter ones, for what the main
    one leaves over and for clips shorter than it; images get one-frame buckets. Empty when no clip holds even one cell
    of 32x32 pixels.
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
            kept = [1] if still else _lengths(lengths, _longest(width, height, limits))
            proposed |= {Bucket(width, height, frames) for frames in kept}
    return sorted(proposed, key=lambda bucket: (-bucket.tokens, bucket))


def frames_at(duration_s: float, frame_rate: float) -> int:
    """Whole frames that `duration_s` holds at `frame_rate`; a hundredth of a frame missing is rounding, not a loss."""
    return math.floor(duration_s * frame_rate + 0.01)


def windows(duration_s: float, frame_rate: float, lengths: Sequence[int]) -> list[tuple[float, int]]:
    """Consecutive windows (start in seconds, frames) of a clip, none overlapping: as many of the longest length as fit,
    then of the next shorter one in what is left."""
    left = frames_at(duration_s, frame_rate)
    found: list[tuple[float, int]] = []
    begun = 0
    for frames in sorted(set(lengths), reverse=True):
        while left >= frames:
            found.append((begun / frame_rate, frames))
            begun, left = begun + frames, left - frames
    return found


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


def _longest(width: int, height: int, limits: BucketLimits) -> int:
    """The most frames that a size may have within the budget, at least the shortest sample."""
    latent_frames = limits.max_tokens // ((width // CELL_PX) * (height // CELL_PX))
    return max(SHORTEST_VIDEO_FRAMES, min(limits.max_frames, (latent_frames - 1) * CELL_FRAMES + 1))


def _lengths(clip_frames: Sequence[int], longest: int) -> list[int]:
    """The longest window that keeps at least 80 % of what the most sparing one keeps; shorter ones for what it leaves
    over, each worth WORTH_KEEPING of all frames; and one for the shortest clip."""
    candidates = range(SHORTEST_VIDEO_FRAMES, longest + 1, CELL_FRAMES)

    def kept(lengths: Sequence[int]) -> int:
        frames = 0
        for left in clip_frames:
            for length in sorted(lengths, reverse=True):
                frames += left // length * length
                left %= length
        return frames

    enough = 0.8 * max(kept([frames]) for frames in candidates)
    lengths = [max(frames for frames in candidates if kept([frames]) >= enough)]
    while len(lengths) < MAX_LENGTHS and (shorter := [frames for frames in candidates if frames < min(lengths)]):
        best = max(shorter, key=lambda frames: kept([*lengths, frames]))
        if kept([*lengths, best]) - kept(lengths) < WORTH_KEEPING * sum(clip_frames):
            break
        lengths.append(best)
    shortest = (min(clip_frames) - 1) // CELL_FRAMES * CELL_FRAMES + 1
    return lengths if shortest >= min(lengths) else [*lengths, shortest]
