"""Frames of a clip for a captioner, and their size: they follow shots and motion, inside a token budget."""

import itertools
import math
from pathlib import Path

import cv2
import numpy as np
from av.video.frame import VideoFrame

from tools.caption.captioners.captioner import CaptionFrame, PictureBudget
from tools.caption.media.pictures import PictureMeasures
from trainer_core.data.media.decode import (
    Damage,
    Timeline,
    decoded,
    nominal_interval_s,
    opened,
    picture_stream,
    quarter_turns,
    tick_s,
)
from trainer_core.errors import DataError

PATCH_PX = 28
"""A square of so many pixels a side is about one token to current vision models (Qwen-VL's merged patches)."""
MOTION_SHARE = 0.5
"""How much of a picture's weight is its motion; the rest is spread evenly over time."""
PEAK = 2.5
"""A change so many times its shot's mean is a peak that must be seen."""
EDGE_S = 0.08
"""Pictures nearer to a cut than this may be half of the other shot."""
JPEG_QUALITY = 88


def plan_frames(width: int, height: int, duration_s: float, budget: PictureBudget) -> tuple[int, int, int]:
    """Return how many frames to take, their longer side in pixels and the tokens they come to.

    Over budget, pictures get smaller first, then fewer; nothing is enlarged.
    """
    count = min(budget.most, max(budget.fewest, math.ceil(duration_s * budget.a_second)))
    side = min(budget.longest_side, max(width, height))

    def cost(side: int) -> int:
        scale = side / max(width, height)
        return budget.tokens_per_frame or math.ceil(width * scale / PATCH_PX) * math.ceil(height * scale / PATCH_PX)

    while count * cost(side) > budget.tokens and side > budget.smallest_side and not budget.tokens_per_frame:
        side = max(budget.smallest_side, side - 64)
    while count * cost(side) > budget.tokens and count > 1:
        count -= 1
    return count, side, count * cost(side)


def choose_times(measures: PictureMeasures, count: int) -> list[float]:
    """Return at most `count` times, rising: every shot is seen, moving stretches more often, and so are motion peaks.

    With more shots than frames the longest shots are seen.
    """
    end_s = max(measures.duration_s, 1e-3)
    bounds = [0.0, *(cut for cut in measures.cuts_s if 0 < cut < end_s), end_s]
    shots = list(itertools.pairwise(bounds))
    if len(shots) > count:
        longest = sorted(shots, key=lambda shot: shot[0] - shot[1])[:count]
        return sorted((start + stop) / 2 for start, stop in longest)
    sampled = np.array(measures.sampled_s)
    weights = _weights(sampled, np.array(measures.changes), shots)
    inside = [(sampled >= start - 1e-9) & (sampled < stop) for start, stop in shots]
    counts = _shares([float(weights[mask].sum()) for mask in inside], count)
    times: list[float] = []
    for (start, stop), mask, wanted in zip(shots, inside, counts, strict=True):
        changes = np.array(measures.changes)[mask]
        times += _in_shot(start, stop, sampled[mask], weights[mask], changes, wanted)
    return sorted(dict.fromkeys(round(time, 3) for time in times))


def read_frames_at(path: Path, times_s: list[float], longest_side: int) -> tuple[CaptionFrame, ...]:
    """Return the pictures shown at `times_s` (rising), upright, at most `longest_side` pixels on their longer side.

    Fewer come back when the clip ends earlier. Raises DataError when there is none.
    """
    found: list[CaptionFrame] = []
    shown: VideoFrame | None = None
    with opened(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise DataError(f"{path.name!r} has no pictures.", "Caption its sound, or remove it.")
        aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        timeline = Timeline(nominal_interval_s(stream))
        origin_s: float | None = None
        tick = tick_s(stream)
        waiting = list(times_s)
        for frame in decoded(container, [stream], Damage()):
            if not isinstance(frame, VideoFrame):
                continue
            time_s = timeline.time_of(frame)
            if time_s is None:
                continue
            origin_s = time_s if origin_s is None else origin_s
            before = False
            while waiting and shown is not None and time_s - origin_s > waiting[0] + tick:
                if not before:
                    found.append(CaptionFrame(waiting[0], upright(shown, aspect, longest_side)))
                before = True
                waiting.pop(0)
            if not waiting:
                break
            shown = frame
        if waiting and shown is not None:
            found.append(CaptionFrame(waiting[0], upright(shown, aspect, longest_side)))
    if not found:
        raise DataError(f"No picture of {path.name!r} can be decoded.", "Copy or export it again.")
    return tuple(found)


def jpeg_bytes(frame: CaptionFrame) -> bytes:
    """Return the picture as a JPEG file."""
    bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return bytes(encoded.tobytes())


def _weights(sampled: np.ndarray, changes: np.ndarray, shots: list[tuple[float, float]]) -> np.ndarray:
    """The weight [T] of each sampled time; the jump of a cut itself is no motion."""
    motion = changes.copy()
    for start, _ in shots:
        first = int(np.searchsorted(sampled, start - 1e-9))
        motion[first : first + 1] = 0.0
    even = np.full(len(sampled), 1 / max(len(sampled), 1))
    return even if motion.sum() <= 0 else (1 - MOTION_SHARE) * even + MOTION_SHARE * motion / motion.sum()


def _shares(weights: list[float], count: int) -> list[int]:
    """Deal `count` frames out: one to each shot, the rest by weight (largest remainder)."""
    total = sum(weights) or 1.0
    spare = count - len(weights)
    exact = [spare * weight / total for weight in weights]
    shares = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: shares[index] - exact[index])
    for index in by_remainder[: spare - sum(shares)]:
        shares[index] += 1
    return [1 + share for share in shares]


def _in_shot(
    start: float, stop: float, sampled: np.ndarray, weights: np.ndarray, changes: np.ndarray, count: int
) -> list[float]:
    if len(sampled) == 0 or weights.sum() <= 0:
        return [(start + stop) / 2]
    edge = min(EDGE_S, (stop - start) / 4)
    steps = np.append(sampled, stop)
    cumulative = np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum()
    quantiles = (np.arange(count) + 0.5) / count
    times = np.clip(np.interp(quantiles, cumulative, steps), start + edge, stop - edge)
    if count >= 3 and len(changes) > 2:
        moving = changes[1:]
        peak = int(np.argmax(moving))
        if moving[peak] > PEAK * max(float(moving.mean()), 1e-6):
            peak_s = float(sampled[peak + 1])
            times[int(np.argmin(np.abs(times - peak_s)))] = np.clip(peak_s, start + edge, stop - edge)
    return [float(time) for time in times]


def upright(frame: VideoFrame, aspect: float, longest_side: int) -> np.ndarray:
    """Return uint8 [H, W, 3] RGB as shown: turned, with square pixels, made smaller where it is larger than allowed."""
    rgb = frame.to_ndarray(format="rgb24")
    rows, columns = rgb.shape[0], rgb.shape[1] * aspect
    scale = min(1.0, longest_side / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    resized = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.rot90(resized, quarter_turns(frame.rotation)))
