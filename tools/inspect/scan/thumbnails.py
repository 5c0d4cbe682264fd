"""Previews of a clip: a contact sheet, the waveform of its audio and the course of its motion."""

import base64

import cv2
import numpy as np

from tools.inspect.checks.check import Measure, Numbers
from tools.inspect.scan.audio import Sound
from tools.inspect.scan.frame import Frame
from trainer_core.data.media.probe import ClipProbe

KEPT_PICTURES = 12
SHEET_PICTURES = 6
THUMBNAIL_SIDE_PX = 192
JPEG_QUALITY = 72
GAP_PX = 2
CURVE_POINTS = 160
BLOCK_S = 0.01


class Envelope:
    """The largest value in each of at most 2 · CURVE_POINTS equal stretches, however many there will be."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._every = 1
        self._open: list[float] = []

    def add(self, value: float) -> None:
        self._open.append(value)
        if len(self._open) < self._every:
            return
        self.values.append(max(self._open))
        self._open = []
        if len(self.values) >= 2 * CURVE_POINTS:
            self.values = [max(pair) for pair in zip(self.values[::2], self.values[1::2], strict=True)]
            self._every *= 2

    def rounded(self, full: float) -> list[int]:
        """The values as whole per cents of `full`."""
        values = self.values + ([max(self._open)] if self._open else [])
        return [min(100, round(100 * value / full)) for value in values]


class Curves(Measure):
    """The waveform's peaks, and the change from picture to picture."""

    def __init__(self) -> None:
        self._peaks, self._changes = Envelope(), Envelope()
        self._rest = np.zeros(0, np.float32)

    def see(self, picture: Frame) -> None:
        if picture.change is not None:
            self._changes.add(picture.change)

    def hear(self, sound: Sound) -> None:
        block = max(1, round(BLOCK_S * sound.rate_hz))
        joined = np.concatenate((self._rest, sound.mono))
        whole = joined.size // block
        for peak in np.abs(joined[: whole * block]).reshape(whole, block).max(axis=1).tolist():
            self._peaks.add(peak)
        self._rest = joined[whole * block :]

    def numbers(self) -> Numbers:
        return {"peaks": self._peaks.rounded(1.0), "changes": self._changes.rounded(40.0)}


class ContactSheet(Measure):
    """Keeps some pictures spread evenly over the clip, however long it turns out to be."""

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []
        self._every, self._count = 1, 0

    def study(self, picture: Frame) -> None:
        if self._count % self._every == 0:
            self._kept.append(picture.colour)
            if len(self._kept) > KEPT_PICTURES:
                self._kept, self._every = self._kept[::2], self._every * 2
        self._count += 1

    def jpeg(self, probe: ClipProbe) -> str | None:
        """Up to SHEET_PICTURES pictures side by side, upright and with square pixels, as base64 of a JPEG."""
        if not self._kept or not probe.width or not probe.height:
            return None
        count = min(SHEET_PICTURES, len(self._kept))
        chosen = np.linspace(0, len(self._kept) - 1, count).round().astype(int)
        scale = min(1.0, THUMBNAIL_SIDE_PX / max(probe.width, probe.height))
        size = max(1, round(probe.width * scale)), max(1, round(probe.height * scale))
        upright = [np.ascontiguousarray(np.rot90(self._kept[index], probe.rotation // 90)) for index in chosen]
        gap = np.zeros((size[1], GAP_PX, 3), np.uint8)
        parts = [part for picture in upright for part in (gap, cv2.resize(picture, size))]
        strip = np.concatenate(parts[1:], axis=1)
        encoded = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        return base64.b64encode(encoded.tobytes()).decode("ascii")
