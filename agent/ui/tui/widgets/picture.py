"""A picture in the terminal: through the terminal's graphics where it has them, else in half-blocks of two pixels."""

from typing import Any

import numpy as np
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Container
from textual.strip import Strip
from textual.widget import Widget


class HalfBlocks(Widget):
    """An image [H, W, 3] uint8 as cells of two pixels, one above the other."""

    DEFAULT_CSS = "HalfBlocks { height: 1fr; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self._image: np.ndarray | None = None
        self._drawn: list[Strip] | None = None

    def show(self, image: np.ndarray | None) -> None:
        self._image, self._drawn = image, None
        self.refresh()

    def on_resize(self) -> None:
        self._drawn = None

    def render_line(self, y: int) -> Strip:
        if self._drawn is None:
            self._drawn = self._draw()
        return self._drawn[y] if y < len(self._drawn) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self) -> list[Strip]:
        width, height = self.size
        if self._image is None or width < 2 or height < 1:
            return []
        small = fitted(self._image, width, 2 * height)
        lines = []
        for top, bottom in zip(small[0::2], small[1::2], strict=True):
            segments = [
                Segment("▀", Style(color=Color.from_rgb(*map(int, upper)), bgcolor=Color.from_rgb(*map(int, lower))))
                for upper, lower in zip(top, bottom, strict=True)
            ]
            lines.append(Strip(segments).adjust_cell_length(width, self.rich_style))
        return lines


def fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the image [H, W, 3] reduced by area to fit `width` x `height`, its shape kept, with an even height."""
    scale = min(width / image.shape[1], height / image.shape[0])
    columns = max(1, min(width, round(image.shape[1] * scale)))
    rows = max(2, min(height - height % 2, round(image.shape[0] * scale / 2) * 2))
    return _area(_area(image.astype(np.float32), rows, 0), columns, 1).round().clip(0, 255).astype(np.uint8)


def _area(image: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Means over `size` equal stretches of an axis."""
    edges = np.linspace(0, image.shape[axis], size + 1)
    first = np.minimum(edges[:-1].astype(int), image.shape[axis] - 1)
    counts = np.maximum(edges[1:].astype(int), first + 1) - first
    total = np.concatenate([np.zeros_like(image.take([0], axis)), image.cumsum(axis)], axis)
    shape = [1, 1, 1]
    shape[axis] = size
    return (total.take(first + counts, axis) - total.take(first, axis)) / counts.reshape(shape)


class Picture(Container):
    """Shows an image in the best way this terminal has."""

    DEFAULT_CSS = "Picture { height: 1fr; width: 1fr; }"

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._blocks = HalfBlocks()
        self._graphics: Any = None

    def compose(self) -> ComposeResult:
        kind = getattr(self.app, "picture_kind", None)
        if kind is not None:
            self._graphics = kind()
            yield self._graphics
        else:
            yield self._blocks

    def show(self, image: np.ndarray | None) -> None:
        """Show uint8 [H, W, 3]; None shows nothing."""
        if self._graphics is None:
            self._blocks.show(image)
            return
        from PIL import Image as PILImage

        self._graphics.image = PILImage.fromarray(image) if image is not None else None
