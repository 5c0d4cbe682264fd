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
STILLS_A_BUDGET = 4


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
        """True if a picture of `width` x `height` covers the bucket without being enlarged."""
        return self.width <= width and self.height <= height


@dataclass(frozen=True)
class BucketLimits:
    """Limits of a proposed bucket: its tokens decide the memory, a smaller frame may last longer."""

    max_tokens: int
    max_area_px: int
    max_frames: int

    @property
    def max_still_area_px(self) -> int:
        """A still may be larger than a film's picture: it has one latent frame, and four of them are a budget."""
        return max(self.max_area_px, self.max_tokens // STILLS_A_BUDGET * CELL_PX * CELL_PX)


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
    """A clip's offer: its display size and its frames at the working frame rate (1 for an image).

    `shots` are the frames of each stretch between its cuts; empty for a clip of one take.
    """

    width: int
    height: int
    frames: int
    shots: tuple[int, ...] = ()


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
            clip
            for clip in clips
            if (clip.frames == 1) == still and (still or max(clip.shots, default=clip.frames) >= SHORTEST_VIDEO_FRAMES)
        ]
        sizes = _main_sizes(kind, limits.max_still_area_px if still else limits.max_area_px, max_sizes)
        groups: dict[tuple[int, int], list[ClipExtent]] = {}
        for clip in kind:
            size = _size_for(clip, sizes)
            if size is not None:
                groups.setdefault(size, []).append(clip)
        for (width, height), members in groups.items():
            kept = [1] if still else _lengths(members, _longest(width, height, limits))
            proposed |= {Bucket(width, height, frames) for frames in kept}
    return sorted(proposed, key=lambda bucket: (-bucket.tokens, bucket))


def frames_at(duration_s: float, frame_rate: float) -> int:
    """Whole frames that `duration_s` holds at `frame_rate`; a hundredth of a frame missing is rounding, not a loss."""
    return math.floor(duration_s * frame_rate + 0.01)


def shots_of(duration_s: float, frame_rate: float, cuts_s: Sequence[float] = ()) -> list[tuple[int, int]]:
    """The stretches between cuts as (first frame, frames) at `frame_rate`; one for a clip of one take.

    Frames less than half a frame's time before a cut belong to neither side: resampling may show either shot there.
    """
    frames = frames_at(duration_s, frame_rate)
    starts = [0]
    ends = []
    for cut_s in sorted(cuts_s):
        starts.append(math.ceil(cut_s * frame_rate - 0.01))
        ends.append(math.floor(cut_s * frame_rate - 0.5) + 1)
    ends.append(frames)
    return [(start, min(end, frames) - start) for start, end in zip(starts, ends, strict=True) if start < end]


def windows(
    duration_s: float,
    frame_rate: float,
    lengths: Sequence[int],
    cuts_s: Sequence[float] = (),
    least_frames: int = 1,
) -> list[tuple[float, int]]:
    """Consecutive windows (start in seconds, frames) of a clip, none overlapping and none across a cut.

    Each shot is filled with as many of the longest length as fit, then of the next shorter one in what is left. A
    window shorter than `least_frames` is made only where the clip has no other: one, at the start of its longest shot.
    """
    shots = shots_of(duration_s, frame_rate, cuts_s)
    worthy = [length for length in lengths if length >= least_frames]
    found = [(first + begun, length) for first, left in shots for begun, length in _filled(left, worthy)]
    fitting = [length for length in lengths if shots and length <= max(left for _, left in shots)]
    if not found and fitting:
        first, _ = max(shots, key=lambda shot: shot[1])
        found = [(first, max(fitting))]
    return [(first / frame_rate, length) for first, length in found]


def _filled(left: int, lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Windows (first frame, frames) that fill `left` frames, longest lengths first."""
    found = []
    begun = 0
    for length in sorted(set(lengths), reverse=True):
        while left >= length:
            found.append((begun, length))
            begun, left = begun + length, left - length
    return found


def least_tail(main_frames: int) -> int:
    """The fewest frames that what a main length leaves over must have to be trained on: half of it.

    Shorter stubs would be as many steps as whole windows are, and teach hardly any motion.
    """
    return math.ceil(main_frames / 2)


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


def _lengths(clips: Sequence[ClipExtent], longest: int) -> list[int]:
    """A main length and up to two shorter ones, for what it leaves over and for shorter clips.

    A window of n frames is worth n^1.5: long ones are what teaches motion, short ones waste less of a clip. A shorter
    length must add WORTH_KEEPING to the worth of all; the shortest clip gets one in any case.
    """
    reach = max(max(clip.shots, default=clip.frames) for clip in clips)
    candidates = range(SHORTEST_VIDEO_FRAMES, min(longest, reach) + 1, CELL_FRAMES)
    counts = Counter(clip.shots or (clip.frames,) for clip in clips)

    def worth(lengths: Sequence[int]) -> float:
        least = least_tail(max(lengths))
        total = 0.0
        for shots, count in counts.items():
            worthy = [length for length in lengths if length >= least]
            made = [length for left in shots for _, length in _filled(left, worthy)]
            if not made:
                made = [max((length for length in lengths if length <= max(shots)), default=0)]
            total += count * sum(length**1.5 for length in made)
        return total

    def with_best_tail(main: int) -> float:
        """The worth of a main length when every tail of half of it or more, and every shorter clip, gets its own."""
        return worth(range(SHORTEST_VIDEO_FRAMES, main + 1, CELL_FRAMES))

    main = max(candidates, key=lambda frames: (with_best_tail(frames), frames))
    lengths = [main]
    while len(lengths) < MAX_LENGTHS and (
        shorter := [frames for frames in candidates if frames < main and frames not in lengths]
    ):
        best = max(shorter, key=lambda frames: worth([*lengths, frames]))
        if worth([*lengths, best]) - worth(lengths) < WORTH_KEEPING * worth(lengths):
            break
        lengths.append(best)
    shortest = (min(max(clip.shots, default=clip.frames) for clip in clips) - 1) // CELL_FRAMES * CELL_FRAMES + 1
    return lengths if shortest >= min(lengths) else [*lengths, shortest]
