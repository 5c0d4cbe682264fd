"""References and masks drawn frame by frame: each function returns what `MediaChange.draw` wants.

Pictures are uint8 [H, W, 3] RGB as displayed. In a mask white is kept and black is generated.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from tools.inspect.remedies.tracks import Draw

EDGE_THRESHOLDS = (100, 200)
"""Of the usual Canny detector on 8-bit grey, after a 3 x 3 blur."""
_CANVAS_PX = 256
_REC709 = np.array([0.2126, 0.7152, 0.0722], np.float32)

Box = tuple[float, float, float, float]
"""y1, x1, y2, x2 as shares of the displayed picture."""


def edges() -> Draw:
    """White outlines on black (Canny 1986)."""

    def draw(picture: np.ndarray, _time_s: float) -> np.ndarray:
        grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (3, 3), 0)
        return _as_rgb(cv2.Canny(grey, *EDGE_THRESHOLDS))

    return draw


def blur(share: float) -> Draw:
    """Gaussian, its sigma `share` of the picture's height."""
    return lambda picture, _time_s: cv2.GaussianBlur(picture, (0, 0), max(0.3, share * picture.shape[0]))


def grayscale() -> Draw:
    """The luma that a black-and-white television shows (BT.601)."""
    return lambda picture, _time_s: _as_rgb(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def luminance() -> Draw:
    """Draw the light: BT.709 luminance of the linear colours, written with the sRGB curve."""
    steps = np.arange(256) / 255
    linear = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4).astype(np.float32)

    def draw(picture: np.ndarray, _time_s: float) -> np.ndarray:
        light = linear[picture] @ _REC709
        shown = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
        return _as_rgb(np.clip(np.round(shown * 255), 0, 255).astype(np.uint8))

    return draw


def downscale(factor: float) -> Draw:
    """The picture at one `factor`-th of its width and height."""

    def draw(picture: np.ndarray, _time_s: float) -> np.ndarray:
        height, width = (max(2, round(side / factor)) for side in picture.shape[:2])
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)

    return draw


def inverted() -> Draw:
    """For masks in which white is what is generated."""
    return lambda picture, _time_s: 255 - picture


def boxes(regions: Sequence[Box]) -> Draw:
    """Everything is kept but what lies in the boxes."""

    def draw(picture: np.ndarray, _time_s: float) -> np.ndarray:
        mask = np.full(picture.shape, 255, np.uint8)
        height, width = picture.shape[:2]
        for y1, x1, y2, x2 in regions:
            mask[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)] = 0
        return mask

    return draw


def random_box(share: float, seed: Sequence[int], duration_s: float) -> Draw:
    """One box of `share` of the picture that wanders from one place to another over the clip; the same for a seed."""
    noise = np.random.default_rng(list(seed))
    aspect = math.exp(noise.uniform(-0.5, 0.5))
    height, width = min(1.0, math.sqrt(share / aspect)), min(1.0, math.sqrt(share * aspect))
    height, width = (share / width, width) if height == 1.0 else (height, share / height if width == 1.0 else width)
    start, end = (noise.uniform(0, 1, 2) * (1 - height, 1 - width) for _ in range(2))

    def draw(picture: np.ndarray, time_s: float) -> np.ndarray:
        way = min(1.0, time_s / duration_s) if duration_s else 0.0
        top, left = start + way * (end - start)
        return boxes([(top, left, top + height, left + width)])(picture, time_s)

    return draw


def random_brush(share: float, seed: Sequence[int], duration_s: float) -> Draw:
    """Strokes of a thick brush that cover about `share` of the picture and sway over the clip; the same for a seed."""
    noise = np.random.default_rng(list(seed))
    strokes: list[tuple[np.ndarray, float]] = []
    canvas = np.zeros((_CANVAS_PX, _CANVAS_PX), np.uint8)
    while (canvas > 0).mean() < share and len(strokes) < 64:
        heading, points = noise.uniform(0, 2 * math.pi), [noise.uniform(0.1, 0.9, 2)]
        for _ in range(6):
            heading += noise.normal(0, 0.6)
            points.append(np.clip(points[-1] + 0.08 * np.array([math.cos(heading), math.sin(heading)]), 0, 1))
        strokes.append((np.array(points), noise.uniform(0.06, 0.12)))
        _stroke(canvas, strokes[-1], 255, np.zeros(2))
    sway, speed = noise.uniform(0.02, 0.06), noise.uniform(0.5, 1.5) * 2 * math.pi / max(duration_s, 1.0)

    def draw(picture: np.ndarray, time_s: float) -> np.ndarray:
        mask = np.full(picture.shape[:2], 255, np.uint8)
        moved = sway * np.array([math.sin(speed * time_s), 1 - math.cos(speed * time_s)])
        for stroke in strokes:
            _stroke(mask, stroke, 0, moved)
        return _as_rgb(mask)

    return draw


def _stroke(canvas: np.ndarray, stroke: tuple[np.ndarray, float], value: int, moved: np.ndarray) -> None:
    points, thickness = stroke
    size = np.array([canvas.shape[1], canvas.shape[0]])
    places = np.round((points + moved) * size).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [places], False, value, max(1, round(thickness * min(size))), cv2.LINE_8)


def _as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)
