"""Drawing with dots: a grid of braille cells, 2 x 4 dots each, in layers of one colour.

H and W count dots; a cell shows the dots of its topmost layer that has any there, in that layer's colour.
"""

from dataclasses import dataclass, field

import numpy as np

_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


@dataclass
class Canvas:
    """`columns` x `rows` cells; layers are drawn in order, later ones above."""

    columns: int
    rows: int
    layers: list[tuple[str, np.ndarray]] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Dots across."""
        return 2 * self.columns

    @property
    def height(self) -> int:
        """Dots down."""
        return 4 * self.rows

    def fill(self, colour: str, top: np.ndarray, bottom: np.ndarray) -> None:
        """Draw each column's dots from `top` to `bottom` [W], in dots from above; NaN draws nothing."""
        rows = np.arange(self.height)[:, None]
        with np.errstate(invalid="ignore"):
            first, last = np.floor(np.fmin(top, bottom)), np.floor(np.fmax(top, bottom))
            self.layers.append((colour, (rows >= first[None, :]) & (rows <= last[None, :])))

    def line(self, colour: str, height: np.ndarray) -> None:
        """Draw a line through `height` [W], in dots from above, without gaps between neighbouring columns."""
        before = np.concatenate([height[:1], height[:-1]])
        near = np.where(np.isnan(before), height, before)
        with np.errstate(invalid="ignore"):
            step = np.where(height > near, 1.0, np.where(height < near, -1.0, 0.0))
        self.fill(colour, np.where(np.abs(height - near) > 1, near + step, height), height)

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return [rows, columns] of code points, braille or blanks, and of layer numbers, -1 where nothing is drawn."""
        codes = np.zeros((self.rows, self.columns), np.int64)
        owner = np.full((self.rows, self.columns), -1)
        for number, (_, dots) in enumerate(self.layers):
            parts = dots.reshape(self.rows, 4, self.columns, 2)
            bits = np.einsum("rycx,yx->rc", parts.astype(np.int64), _BITS)
            drawn = bits > 0
            codes = np.where(drawn, bits, codes)  # a line stays thin where it crosses a shade
            owner = np.where(drawn, number, owner)
        return np.where(owner >= 0, codes + 0x2800, ord(" ")), owner

    def runs(self) -> list[list[tuple[str, str]]]:
        """Return each row as runs of (text, colour); the colour is empty where nothing is drawn."""
        codes, owners = self.cells()
        lines = []
        for row in range(self.rows):
            cuts = np.flatnonzero(np.diff(owners[row], prepend=-2))
            ends = np.append(cuts[1:], self.columns)
            lines.append(
                [
                    ("".join(map(chr, codes[row, start:end])), self.layers[owner][0] if owner >= 0 else "")
                    for start, end, owner in zip(cuts, ends, owners[row, cuts], strict=True)
                ]
            )
        return lines
