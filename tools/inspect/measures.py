"""Measures taken while a clip is decoded: light and motion of its pictures, level of its sound, one picture to show."""

import base64
import math

import cv2
import numpy as np

from trainer_core.data.probe import THUMBNAIL_SIDE_PX, ClipProbe

BLACK_LUMA = 25
"""A pixel darker than a tenth of the range counts as black (the usual threshold of black detectors)."""
MAX_KEPT_PICTURES = 8
LOWEST_DBFS = -120.0


class PictureMeasures:
    """Luma in 0..255 of every picture, what changes between pictures, and which pictures are black."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.lumas: list[float] = []
        self.changes: list[float] = []
        self.black_shares: list[float] = []
        self.largest_change_from_first = 0.0
        self._first: np.ndarray | None = None
        self._previous: np.ndarray | None = None

    def process_frame(self, index: int, time_s: float, bgr_small: np.ndarray) -> None:  # noqa: ARG002 (an Observer's)
        gray = cv2.cvtColor(bgr_small, cv2.COLOR_BGR2GRAY)
        self.times_s.append(time_s)
        self.lumas.append(cv2.mean(gray)[0])
        self.black_shares.append(1 - cv2.countNonZero(cv2.compare(gray, BLACK_LUMA, cv2.CMP_GT)) / gray.size)
        if self._first is None or self._previous is None:
            self._first = gray
        elif gray.shape == self._previous.shape:
            self.changes.append(cv2.mean(cv2.absdiff(gray, self._previous))[0])
            change_from_first = cv2.mean(cv2.absdiff(gray, self._first))[0]
            self.largest_change_from_first = max(self.largest_change_from_first, change_from_first)
        self._previous = gray

    def process_audio(self, samples: np.ndarray) -> None:
        """Sound says nothing about pictures."""

    @property
    def brightness(self) -> float | None:
        """Mean luma in 0..1."""
        return round(float(np.mean(self.lumas)) / 255, 4) if self.lumas else None

    @property
    def motion(self) -> float | None:
        """Mean change of luma from picture to picture in 0..1."""
        return round(float(np.mean(self.changes)) / 255, 5) if self.changes else None


class SoundMeasures:
    """Level of the sound over the clip, and of its loudest packet (about 20 ms)."""

    def __init__(self) -> None:
        self._energy = 0.0
        self._values = 0
        self._loudest = 0.0

    def process_frame(self, index: int, time_s: float, bgr_small: np.ndarray) -> None:
        """Pictures say nothing about sound."""

    def process_audio(self, samples: np.ndarray) -> None:
        flat = samples.reshape(-1)
        energy = float(np.dot(flat, flat))
        self._energy += energy
        self._values += flat.size
        self._loudest = max(self._loudest, energy / max(flat.size, 1))

    @property
    def rms_dbfs(self) -> float | None:
        """RMS over all channels and the whole clip; 0 is a full-scale square wave."""
        return round(_dbfs(self._energy / self._values), 2) if self._values else None

    @property
    def loudest_dbfs(self) -> float:
        return _dbfs(self._loudest)


class Thumbnail:
    """Keeps a few pictures spread over the clip, however long it turns out to be, to show the middle one."""

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []
        self._every = 1

    def process_frame(self, index: int, time_s: float, bgr_small: np.ndarray) -> None:  # noqa: ARG002 (an Observer's)
        if index % self._every:
            return
        self._kept.append(bgr_small)
        if len(self._kept) > MAX_KEPT_PICTURES:
            self._kept = self._kept[::2]
            self._every *= 2

    def process_audio(self, samples: np.ndarray) -> None:
        """Sound has no picture."""

    def data_uri(self, probe: ClipProbe) -> str | None:
        """The middle picture, upright and with square pixels, as a JPEG data URI; None when there is no picture."""
        if not self._kept or not probe.width or not probe.height:
            return None
        upright = np.ascontiguousarray(np.rot90(self._kept[len(self._kept) // 2], probe.rotation // 90))
        scale = min(1.0, THUMBNAIL_SIDE_PX / max(probe.width, probe.height))
        size = max(1, round(probe.width * scale)), max(1, round(probe.height * scale))
        encoded = cv2.imencode(".jpg", cv2.resize(upright, size), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _dbfs(mean_square: float) -> float:
    return max(LOWEST_DBFS, 10 * math.log10(mean_square)) if mean_square > 0 else LOWEST_DBFS
