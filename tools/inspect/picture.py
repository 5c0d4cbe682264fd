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


class Picture:
    """A picture on its way through the measures. Luma is uint8, rows by columns, expanded to 0..255.

    `change` is the mean difference of `small` to the picture before, in luma steps, None where there is none.
    """

    def __init__(
        self, index: int, time_s: float, frame: VideoFrame, converter: VideoReformatter, previous: "Picture | None"
    ) -> None:
        self.index = index
        self.time_s = time_s
        self.width, self.height = frame.width, frame.height
        self._frame = frame
        self._converter = converter
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
        part = self._plane[rows, columns]
        if self._shift:
            part = part >> self._shift
        part = np.ascontiguousarray(part, np.uint8)
        return cv2.LUT(part, LIMITED_RANGE) if self._limited else part

    @cached_property
    def colour(self) -> np.ndarray:
        """uint8 [h, w, 3] BGR, the longer side at most COLOUR_SIDE_PX."""
        scale = min(1.0, COLOUR_SIDE_PX / max(self.width, self.height))
        size = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        return self._converter.reformat(self._frame, *size, "bgr24", interpolation="FAST_BILINEAR").to_ndarray()

    @cached_property
    def tiles(self) -> list[np.ndarray]:
        """Luma at full resolution: up to TILES x TILES pieces of at most TILE_PX squared, spread over the picture."""
        rows, columns = _tile_starts(self.height), _tile_starts(self.width)
        return [self.luma(slice(row, row + TILE_PX), slice(left, left + TILE_PX)) for row in rows for left in columns]

    @cached_property
    def _plane(self) -> np.ndarray:
        """The luma as coded: the decoder's memory where it is planar, else converted."""
        view = _luma_plane(self._frame)
        return view if view is not None else self._converter.reformat(self._frame, format="gray").to_ndarray()

    @property
    def _shift(self) -> int:
        """Bits to drop from samples deeper than eight."""
        if self._plane.dtype == np.uint8:
            return 0
        form = self._frame.format
        return 8 if form.name.startswith(UPPER_BITS) else form.components[0].bits - 8

    @cached_property
    def _limited(self) -> bool:
        """Whether luma is coded from 16 to 235; the converter's gray of other formats is full range."""
        form = self._frame.format
        yuv = not form.is_rgb and len(form.components) > 1
        planar = _luma_plane(self._frame) is not None
        return yuv and planar and self._frame.color_range != FULL_RANGE_TAG and not form.name.startswith("yuvj")

    def _reduced(self) -> np.ndarray:
        """The picture reduced by a whole factor: every n-th pixel of large ones, then means of small blocks."""
        factor = max(1, round(max(self.width, self.height) / SMALL_SIDE_PX))
        factor = min(factor, self.width, self.height)
        step = factor // 4 if factor >= 8 else 1
        block = factor // step
        height, width = self.height // (step * block), self.width // (step * block)
        thin = self.luma(slice(0, height * step * block, step), slice(0, width * step * block, step))
        return cv2.resize(thin, (width, height), interpolation=cv2.INTER_AREA) if block > 1 else thin


def _luma_plane(frame: VideoFrame) -> np.ndarray | None:
    """The luma plane as it lies in memory, uint8 or little-endian uint16; None for packed, palette and RGB formats."""
    form = frame.format
    components = form.components
    if form.is_rgb or form.is_big_endian or form.has_palette or form.is_bit_stream or not components:
        return None
    if len(components) > 1 and len(frame.planes) == 1:
        return None
    bits, plane = components[0].bits, frame.planes[0]
    if bits == 8:
        return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width]
    if 8 < bits <= 16 and plane.line_size % 2 == 0:
        return np.frombuffer(memoryview(plane), "<u2").reshape(plane.height, plane.line_size // 2)[:, : frame.width]
    return None


def _tile_starts(side: int) -> list[int]:
    count = min(TILES, side // TILE_PX)
    room = side - TILE_PX
    if count <= 1:
        return [max(0, room // 2)]
    return [room * index // (count - 1) for index in range(count)]
