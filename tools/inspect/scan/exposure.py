"""Light and colour over the whole clip; several checks judge by it, captions and the page show it."""

import cv2
import numpy as np

from tools.inspect.checks.check import Measure, Numbers
from tools.inspect.scan.frame import Frame


class Light(Measure):
    """Means and percentiles of luma, its change, and colourfulness (Hasler and Suesstrunk 2003, equation 5)."""

    def __init__(self) -> None:
        self._histogram = np.zeros(256)
        self._change = 0.0
        self._changes = 0
        self._colourfulness = 0.0
        self._studied = self._coloured = 0

    def see(self, picture: Frame) -> None:
        if picture.change is not None:
            self._change += picture.change
            self._changes += 1

    def study(self, picture: Frame) -> None:
        self._histogram += cv2.calcHist([picture.small], [0], None, [256], [0, 256]).reshape(-1)
        if self._studied % 2 == 0:
            self._colourfulness += colourfulness(picture.colour)
            self._coloured += 1
        self._studied += 1

    def numbers(self) -> Numbers:
        total = int(self._histogram.sum())
        if not total:
            return {}
        reached = np.cumsum(self._histogram) / total
        percentiles = {f"p{share:02d}": int(np.searchsorted(reached, share / 100)) for share in (1, 5, 50, 95, 99)}
        return {
            "mean": round(float(np.arange(256) @ self._histogram) / total / 255, 4),
            "change": round(self._change / self._changes / 255, 5) if self._changes else None,
            "white": round(float(self._histogram[250:].sum()) / total, 4),
            "colourfulness": round(self._colourfulness / self._coloured, 2),
            **{name: round(value / 255, 4) for name, value in percentiles.items()},
        }


def colourfulness(bgr: np.ndarray) -> float:
    """About 0 for grey, 15 for slightly, 45 for quite, above 80 for extremely colourful pictures."""
    blue, green, red = cv2.split(bgr[::2, ::2].astype(np.float32))
    means, deviations = zip(*map(cv2.meanStdDev, (red - green, 0.5 * (red + green) - blue)), strict=True)
    return float(np.linalg.norm(deviations)) + 0.3 * float(np.linalg.norm(means))
