"""Burned-in text, and marks such as logos that stand still on a moving picture.

Two measures without a model: lines of letter-like strokes of one brightness that stay where they are, and edges that
persist while the rest of the picture changes. Text of a scene (a sign filmed by a still camera) can look the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

LINE_SIDE_PX, MARK_SIDE_PX = 480, 240
EVERY = 4
"""Of the studied pictures every fourth is read."""
KEPT_LINES = 64
MOST_SHAPES = 1500
"""A picture with more bright shapes glitters: no text would be found in it."""

STROKE_CONTRAST = 48
BRIGHTEST = 192
"""Luma of a stroke, at least: white and yellow text. Dark text is looked for in the picture's negative."""
LETTER_HEIGHTS = 0.018, 0.12
"""Of the picture's height."""
LETTER_WIDTHS = 0.08, 2.0
"""Of the letter's height."""
LETTER_FILL = 0.18, 0.92
FEWEST_LETTERS = 6
MEAN_BRIGHTNESS = 205
"""Of the letters; what merely pokes out of the scene stays just above BRIGHTEST."""
HEIGHT_SPREAD, BASE_SPREAD = 0.30, 0.22
"""Standard deviations of the letters' heights and lower edges, in letter heights."""
DEEPEST_OVERLAP = 0.15
"""Letters stand side by side: a gap is negative by at most this, in letter heights."""
LARGEST_SPREAD = 16.0
"""Standard deviation of the letters' mean brightness, in luma steps: text is set in one colour."""
SAME_PLACE = 0.6
"""Share of its pixels that a line of text keeps from one look to the next."""

EDGE_STEP = 10.0
"""Luma steps from pixel to pixel that make an edge."""
PERSISTENT = 0.9
"""Share of the looks in which an edge of a mark is there, in the same direction."""
MOST_STANDING = 0.15
"""If more of all edges stand still, the camera does, and a mark can't be told from the scene."""
FEWEST_LOOKS, MOST_LOOKS = 5, 240
MARK_AREA = 0.0008, 0.08
MARK_DENSITY = 0.12


@dataclass(frozen=True)
class _Line:
    letters: int
    box: tuple[int, int, int, int]
    mask: np.ndarray


class _Overlay(Measure):
    def __init__(self) -> None:
        self._count = 0
        self._shape: tuple[int, int] | None = None
        self._present: list[np.ndarray] = []
        self._looks = 0
        self._lines: list[_Line] = []
        self._last_s = 0.0
        self._best: dict[str, float | int] | None = None

    def study(self, picture: Frame) -> None:
        self._count += 1
        if self._count % EVERY != 1:
            return
        step = max(1, round(max(picture.width, picture.height) / LINE_SIDE_PX))
        luma = picture.luma(slice(0, None, step), slice(0, None, step))
        self._read(luma, picture.time_s)
        if picture.change is None or picture.change > 0.1:
            half = max(1, round(max(luma.shape) / MARK_SIDE_PX))
            self._watch_edges(luma[::half, ::half])

    def _read(self, luma: np.ndarray, time_s: float) -> None:
        lines = text_lines(luma) + text_lines(cv2.bitwise_not(luma))
        for line in lines:
            stayed = any(_same_place(line, before) for before in self._lines)
            if stayed and (self._best is None or line.letters > self._best["letters"]):
                start_s = self._best["start_s"] if self._best is not None else round(self._last_s, 3)
                self._best = {"letters": line.letters, "start_s": start_s, "end_s": round(time_s, 3)}
            elif stayed and self._best is not None:
                self._best["end_s"] = round(time_s, 3)
        self._lines, self._last_s = lines[:KEPT_LINES], time_s

    def _watch_edges(self, luma: np.ndarray) -> None:
        """Count, for each pixel, the looks in which it is an edge to the right, left, downwards and upwards."""
        if self._shape not in (None, luma.shape) or min(luma.shape) < 16 or self._looks >= MOST_LOOKS:
            return
        if self._shape is None:
            self._shape = luma.shape[0], luma.shape[1]
            self._present = [np.zeros_like(luma) for _ in range(4)]
        smooth = cv2.blur(luma, (3, 3))
        steps = [cv2.Sobel(smooth, cv2.CV_16S, 1, 0), cv2.Sobel(smooth, cv2.CV_16S, 0, 1)]
        for present, there in zip(self._present, (there for step in steps for there in _edges(step)), strict=True):
            present += there
        self._looks += 1

    def numbers(self) -> Numbers:
        return {"text": self._best, **self._mark()}

    def _mark(self) -> Numbers:
        """The largest patch of edges that stood still while most others moved."""
        if self._looks < FEWEST_LOOKS or self._shape is None:
            return {}
        strong = np.maximum.reduce(self._present) >= max(2, self._looks // 4)
        standing = np.maximum.reduce(self._present) >= PERSISTENT * self._looks
        share = float(standing.sum()) / max(1, int(strong.sum()))
        if share > MOST_STANDING:
            return {"standing": round(share, 3)}
        joined = cv2.morphologyEx(standing.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
        rows, columns = self._shape
        best = 0.0
        for x, y, width, height, _ in stats[1:].tolist():
            area = width * height / (rows * columns)
            inside = standing[y : y + height, x : x + width]
            around = strong[y : y + height, x : x + width]
            compact = min(width, height) >= 4 and width < 0.6 * columns and height < 0.6 * rows
            alone = inside.sum() >= 0.5 * around.sum()
            if compact and alone and MARK_AREA[0] <= area <= MARK_AREA[1] and inside.mean() >= MARK_DENSITY:
                best = max(best, area)
        return {"standing": round(share, 3), "mark": round(best, 5)}


def _edges(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where luma rises and where it falls by an edge; Sobel's kernel sums up four times the step."""
    limit = 4 * EDGE_STEP
    return step > limit, step < -limit


def text_lines(luma: np.ndarray) -> list[_Line]:
    """Lines of at least FEWEST_LETTERS bright letter-like shapes of one height and brightness in uint8 [H, W]."""
    rows = luma.shape[0]
    reach = max(3, round(0.035 * rows)) | 1
    background = cv2.morphologyEx(luma, cv2.MORPH_OPEN, np.ones((reach, reach), np.uint8))
    strokes = cv2.compare(cv2.subtract(luma, background), STROKE_CONTRAST, cv2.CMP_GT)
    strokes &= cv2.compare(luma, BRIGHTEST, cv2.CMP_GT)
    drawn = cv2.countNonZero(strokes)
    if drawn < 20:
        return []
    # short labels are three times as fast; there are never more shapes than pixels
    label = cv2.CV_16U if drawn < 1 << 16 else cv2.CV_32S
    count, labels, stats, _ = cv2.connectedComponentsWithStats(strokes, connectivity=8, ltype=label)
    if count > MOST_SHAPES:
        return []
    x, y, width, height, area = (stats[1:, column].astype(np.float64) for column in range(5))
    fill = area / (width * height)
    letters = (
        (height >= max(5, LETTER_HEIGHTS[0] * rows))
        & (height <= LETTER_HEIGHTS[1] * rows)
        & (width >= LETTER_WIDTHS[0] * height)
        & (width <= LETTER_WIDTHS[1] * height)
        & (fill >= LETTER_FILL[0])
        & (fill <= LETTER_FILL[1])
    )
    chosen = np.flatnonzero(letters)
    chosen = chosen[np.argsort(x[chosen])]
    lines = _in_lines(chosen.tolist(), x, x + width, y + height, height)
    return [
        found
        for line in lines
        if len(line) >= FEWEST_LETTERS and (found := _line(luma, labels, stats, line)) is not None
    ]


def _in_lines(
    chosen: list[int], left: np.ndarray, right: np.ndarray, base: np.ndarray, height: np.ndarray
) -> list[list[int]]:
    """Put shapes, given from left to right, into lines: side by side, on one base, of similar heights."""
    lines: list[list[int]] = []
    open_lines: list[list[int]] = []
    reach = 1.2 * float(height[chosen].max()) if chosen else 0.0
    for index in chosen:
        open_lines = [line for line in open_lines if left[index] - right[line[-1]] <= reach]
        for line in open_lines:
            last = line[-1]
            taller = height[index] if height[index] > height[last] else height[last]
            near = left[index] - right[last] <= 1.2 * taller
            level = -0.35 * taller <= base[index] - base[last] <= 0.35 * taller
            if near and level and 0.45 <= height[index] / height[last] <= 2.2:
                line.append(index)
                break
        else:
            lines.append([index])
            open_lines.append(lines[-1])
    return lines


def _line(luma: np.ndarray, labels: np.ndarray, stats: np.ndarray, line: list[int]) -> _Line | None:
    boxes = stats[[index + 1 for index in line]]
    left, top = int(boxes[:, 0].min()), int(boxes[:, 1].min())
    right, bottom = int((boxes[:, 0] + boxes[:, 2]).max()), int((boxes[:, 1] + boxes[:, 3]).max())
    part = labels[top:bottom, left:right]
    shown = luma[top:bottom, left:right]
    heights, bases = boxes[:, 3], boxes[:, 1] + boxes[:, 3]
    height = float(heights.mean())
    gaps = boxes[1:, 0] - (boxes[:-1, 0] + boxes[:-1, 2])
    if heights.std() > HEIGHT_SPREAD * height or bases.std() > BASE_SPREAD * height:
        return None
    if gaps.min() < -1 - DEEPEST_OVERLAP * height:
        return None
    means = [float(shown[part == index + 1].mean()) for index in line]
    if float(np.std(means)) > LARGEST_SPREAD or float(np.mean(means)) < MEAN_BRIGHTNESS:
        return None
    return _Line(len(line), (left, top, right, bottom), np.isin(part, [index + 1 for index in line]))


def _same_place(line: _Line, before: _Line) -> bool:
    left, top = max(line.box[0], before.box[0]), max(line.box[1], before.box[1])
    right, bottom = min(line.box[2], before.box[2]), min(line.box[3], before.box[3])
    if right <= left or bottom <= top:
        return False
    parts = [
        each.mask[top - each.box[1] : bottom - each.box[1], left - each.box[0] : right - each.box[0]]
        for each in (line, before)
    ]
    shared = int((parts[0] & parts[1]).sum())
    return shared >= SAME_PLACE * max(int(line.mask.sum()), int(before.mask.sum()))


def judge(seen: Seen) -> Iterator[Flag]:
    numbers = seen.numbers.get("text_overlay", {})
    text, mark = numbers.get("text"), numbers.get("mark", 0.0)
    if not seen.moving:
        return
    if text is not None:
        yield Flag(
            id="text_overlay",
            severity="warn",
            value=text["letters"],
            threshold=FEWEST_LETTERS,
            start_s=text["start_s"],
            end_s=text["end_s"],
            message=f"Text seems to be burned in: {text['letters']} letter-like shapes stand in a line.",
            remedy="Use footage without titles or subtitles, or crop them away; ignore this for a sign in the scene.",
        )
    if mark:
        yield Flag(
            id="text_overlay",
            severity="warn",
            value=mark,
            threshold=MARK_AREA[0],
            message=f"A mark stands still on the moving picture, on {mark:.1%} of it: a logo or watermark, it seems.",
            remedy="Crop it away or use clean footage: the model would learn it.",
        )


CHECK = Check("text_overlay", judge, _Overlay)
