"""One decoded picture as the measures see it: a small luma of every picture, details only of those that are studied."""

from functools import cached_property

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

SMALL_SIDE_PX = 80
"""The longer side of `small`, about; every picture pays for it, so it is as small as the measures allow."""
COLOUR_SIDE_PX = 160
TILE_PX = 96
TILES = 3
"""Details are measured on a grid of TILES x TILES tiles at the picture's own resolution."""
LIMITED_RANGE = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).astype(np.uint8)
"""Luma 16..235, as most video is coded, to 0..255."""
FULL_RANGE_TAG = 2
UPPER_BITS = ("p0", "p2", "p4")
"""Semi-planar formats whose samples fill the upper bits of their 16."""


class Frame:
    """A picture on its way through the measures. Luma is uint8, rows by columns, expanded to 0..255.

    `change` is the mean difference of `small` to the picture before, in luma steps, None where there is none.
    """

    def __init__(
        self, index: int, time_s: float, frame: VideoFrame, converter: VideoReformatter, previous: "Frame | None"
    ) -> None:
        self.index = index
        self.time_s = time_s
        self.width, self.height = frame.width, frame.height
        self._frame = frame
        self._converter = converter
        known = previous is not None and previous._layout.fits(frame)
        self._layout: Layout = previous._layout if previous is not None and known else Layout(frame)
        self.small = self._reduced()
        self.mean = float(cv2.mean(self.small)[0])
        same_size = previous is not None and previous.small.shape == self.small.shape
        self.previous = previous if same_size else None
        self.change: float | None = None
        if self.previous is not None:
            self.change = float(cv2.norm(self.small, self.previous.small, cv2.NORM_L1)) / self.small.size

    def forget(self) -> None:
        """Let go of the picture before, so that only two pictures are ever held."""
        self.previous = None

    def luma(self, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        """A part of the picture at its own resolution, uint8 [h, w], contiguous."""
        part = self._coded(rows, columns)
        return cv2.LUT(part, LIMITED_RANGE) if self._layout.limited else part

    def _coded(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of the picture as uint8 [h, w], contiguous, in the range it is coded in."""
        part = self._plane[rows, columns]
        if self._layout.shift:
            part = part >> self._layout.shift
        return np.ascontiguousarray(part, np.uint8)

    @cached_property
    def colour(self) -> np.ndarray:
        """uint8 [h, w, 3] BGR, the longer side at most COLOUR_SIDE_PX."""
        scale = min(1.0, COLOUR_SIDE_PX / max(self.width, self.height))
        size = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        converted = self._converter.reformat(self._frame, *size, "bgr24", interpolation="FAST_BILINEAR", threads=1)
        return converted.to_ndarray()

    @cached_property
    def transparency(self) -> float:
        """Return the see-through share of the frame, 0..1."""
        if not self._layout.alpha:
            return 0.0
        scale = min(1.0, COLOUR_SIDE_PX / max(self.width, self.height))
        size = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        converted = self._converter.reformat(self._frame, *size, "rgba", threads=1)
        return 1 - float(converted.to_ndarray()[..., 3].mean()) / 255

    @cached_property
    def tiles(self) -> list[np.ndarray]:
        """Luma at full resolution: up to TILES x TILES pieces of at most TILE_PX squared, spread over the picture."""
        rows, columns = _tile_starts(self.height), _tile_starts(self.width)
        return [self.luma(slice(row, row + TILE_PX), slice(left, left + TILE_PX)) for row in rows for left in columns]

    @cached_property
    def _plane(self) -> np.ndarray:
        """The luma as coded: the decoder's memory where it is planar, else converted."""
        if self._layout.samples is None:
            return self._converter.reformat(self._frame, format="gray", threads=1).to_ndarray()
        plane = self._frame.planes[0]
        samples = np.frombuffer(memoryview(plane), self._layout.samples)
        return samples.reshape(plane.height, -1)[:, : self.width]

    def _reduced(self) -> np.ndarray:
        """The picture reduced by a whole factor: every n-th pixel of large ones, then means of small blocks."""
        factor = max(1, round(max(self.width, self.height) / SMALL_SIDE_PX))
        factor = min(factor, self.width, self.height)
        step = factor // 2 if factor >= 4 else 1
        block = factor // step
        height, width = self.height // (step * block), self.width // (step * block)
        thin = self._coded(slice(0, height * step * block, step), slice(0, width * step * block, step))
        if block > 1:
            thin = cv2.resize(thin, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.LUT(thin, LIMITED_RANGE) if self._layout.limited else thin


class Layout:
    """Memory layout of the luma of one pixel format; the same for nearly all frames of a clip.

    `samples` is the type of a coded sample, None for packed, palette and RGB formats, which are converted. `shift` is
    how many bits samples have beyond eight; `limited`, whether they go from 16 to 235; `alpha`, whether it can be
    transparent.
    """

    def __init__(self, frame: VideoFrame) -> None:
        form = frame.format
        components = form.components
        self._format, self._range = form.name, frame.color_range
        self.samples: str | None = None
        self.shift = 0
        self.alpha = any(component.is_alpha for component in components)
        strange = form.is_rgb or form.is_big_endian or form.has_palette or form.is_bit_stream or not components
        if not strange and not (len(components) > 1 and len(frame.planes) == 1):
            bits = components[0].bits
            if bits == 8:
                self.samples = "u1"
            elif 8 < bits <= 16 and frame.planes[0].line_size % 2 == 0:
                self.samples = "<u2"
                self.shift = 8 if form.name.startswith(UPPER_BITS) else bits - 8
        yuv = self.samples is not None and len(components) > 1
        self.limited = yuv and frame.color_range != FULL_RANGE_TAG and not form.name.startswith("yuvj")

    def fits(self, frame: VideoFrame) -> bool:
        """True if another picture lies in memory alike."""
        return frame.format.name == self._format and frame.color_range == self._range


def _tile_starts(side: int) -> list[int]:
    count = min(TILES, side // TILE_PX)
    room = side - TILE_PX
    if count <= 1:
        return [max(0, room // 2)]
    return [room * index // (count - 1) for index in range(count)]
