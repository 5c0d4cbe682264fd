"""Reading pictures of clips at the times of a window. No torch. Arrays: F frames, H rows, W columns, 3 colours."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from trainer_core.data.media.decode import (
    SEEK_MARGIN_S,
    opened,
    picture_stream,
    quarter_turns,
    seek_to,
    tick_s,
    timed_pictures,
)
from trainer_core.errors import DataError

SOUGHT_BEYOND_S = 2 * SEEK_MARGIN_S
"""What lies no farther ahead is decoded on: seeking would begin at a key frame before it."""


def read_frames(path: Path, start_s: float, frames: int, frame_rate: float, width: int, height: int) -> np.ndarray:
    """Return uint8 [F, H, W, 3] RGB: the pictures of one window (see `ClipReader`), all at once."""
    taken = np.empty((frames, height, width, 3), np.uint8)
    with ClipReader() as reader:
        for index, picture in enumerate(reader.window(path, start_s, frames, frame_rate, width, height)):
            taken[index] = picture
    return taken


class ClipReader:
    """Reads windows of clips. The last file stays open: a window that follows the one before is decoded on, not sought.

    For one thread at a time; close it, or use it as a context.
    """

    def __init__(self) -> None:
        self._film: _OpenVideo | None = None

    def window(
        self, path: Path, start_s: float, frames: int, frame_rate: float, width: int, height: int
    ) -> Iterator[np.ndarray]:
        """Yield uint8 [H, W, 3] RGB: the pictures shown at `start_s + i / frame_rate`, `frames` of them.

        Display rotation and pixel aspect are applied; pictures are resized to cover `width` x `height` and
        centre-cropped. The last picture of the file is held for at most one frame interval. Raises DataError when the
        clip ends before.
        """
        if self._film is None or self._film.path != path:
            self.close()
            self._film = _OpenVideo(path)
        count = 0
        for picture in self._film.shown_at(start_s + np.arange(frames) / frame_rate, 1 / frame_rate, (width, height)):
            count += 1
            yield picture
        if count < frames:
            raise DataError(
                f"{path.name!r} ends too early: {count} of {frames} frames at {frame_rate:g} fps "
                f"from second {start_s:g} can be decoded.",
                "Inspect the clips again; the file may have changed or be damaged.",
            )

    def close(self) -> None:
        """Close the file that is open, if one is."""
        if self._film is not None:
            self._film.close()
            self._film = None

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _OpenVideo:
    """One open file: the picture that is shown, the one after it, and the way on.

    Times are the file's own; `origin_s` is that of its first picture. Raises DataError when it has none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = ExitStack()
        self._fitter: _PictureFitter | None = None
        self._open()
        self.origin_s = self._time_s

    def _open(self) -> None:
        """Open the file, again if it is open, and decode its first picture."""
        self._file.close()
        container = self._file.enter_context(opened(self.path))
        stream = picture_stream(container)
        if stream is None:
            raise DataError(f"{self.path.name!r} has no pictures.", "Use it for sound only, or remove it.")
        self._container, self._stream = container, stream
        if not self._start(timed_pictures(container, stream)):
            raise DataError(f"No picture of {self.path.name!r} can be decoded.", "Copy or export it again.")

    def close(self) -> None:
        self._file.close()

    def _start(self, pictures: Iterator[tuple[float, VideoFrame]]) -> bool:
        """Take the way on from `pictures`; False if there is none."""
        first = next(pictures, None)
        if first is None:
            return False
        self._pictures = pictures
        self._time_s, self._frame = first
        self._interval_s: float | None = None
        self._next: tuple[float, VideoFrame] | None = None
        self._ended = False
        return True

    def shown_at(self, times_s: np.ndarray, interval_s: float, size: tuple[int, int]) -> Iterator[np.ndarray]:
        """Yield the picture shown at each time, in seconds from the first one, as long as there are some.

        `interval_s` is how long the last picture of the file is held at least.
        """
        fitter = self._fitted(size)
        targets_s = (self.origin_s + times_s).tolist()
        tick = tick_s(self._stream)
        self._go_to(targets_s[0], tick)
        fitted: np.ndarray | None = None
        for target_s in targets_s:
            while not self._ended and self._reaches(target_s, tick):
                fitted = None
            if self._ended and target_s >= self._time_s + max(self._interval_s or 0.0, interval_s) + tick:
                return
            if fitted is None:
                fitted = fitter.fit(self._frame)
            yield fitted

    def _reaches(self, target_s: float, tick: float) -> bool:
        """Go to the next picture if it is shown by `target_s`; whether it is."""
        if self._next is None:
            self._next = next(self._pictures, None)
            if self._next is None:
                self._ended = True
                return False
        if target_s < self._next[0] - tick:
            return False
        self._interval_s = self._next[0] - self._time_s
        self._time_s, self._frame = self._next
        self._next = None
        return True

    def _go_to(self, target_s: float, tick: float) -> None:
        """Let the picture that is shown be one that is no later than `target_s`, and near it if that can be sought."""
        behind = self._time_s - tick > target_s
        if behind:
            self._open()
        if target_s - self._time_s <= SOUGHT_BEYOND_S:
            return
        if not self._sought(target_s):
            self._open()

    def _sought(self, target_s: float) -> bool:
        """Go to a picture at or before `target_s`; False when that went wrong and decoding must begin at the start."""
        if not seek_to(self._container, self._stream, target_s - SEEK_MARGIN_S):
            return False
        if not self._start(timed_pictures(self._container, self._stream)):
            return False
        return self._frame.pts is not None and self._time_s <= target_s

    def _fitted(self, size: tuple[int, int]) -> "_PictureFitter":
        if self._fitter is None or (self._fitter.width, self._fitter.height) != size:
            self._fitter = _PictureFitter(self._stream, *size)
        return self._fitter


class _PictureFitter:
    """Turns decoded pictures into RGB of the wanted size; keeps its converter, which is costly to set up."""

    def __init__(self, stream: VideoStream, width: int, height: int) -> None:
        self.sample_aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        self.width, self.height = width, height
        self.converter = VideoReformatter()

    def fit(self, frame: VideoFrame) -> np.ndarray:
        rgb = self.converter.reformat(frame, format="rgb24").to_ndarray()
        pixel_width, pixel_height = self.sample_aspect, 1.0
        turns = quarter_turns(frame.rotation)
        if turns:
            rgb = np.rot90(rgb, turns)
        if turns % 2:
            pixel_width, pixel_height = pixel_height, pixel_width
        rows, columns = rgb.shape[:2]
        scale = max(self.width / (columns * pixel_width), self.height / (rows * pixel_height))
        crop_columns = min(columns, max(1, round(self.width / scale / pixel_width)))
        crop_rows = min(rows, max(1, round(self.height / scale / pixel_height)))
        left, top = (columns - crop_columns) // 2, (rows - crop_rows) // 2
        crop = np.ascontiguousarray(rgb[top : top + crop_rows, left : left + crop_columns])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return cv2.resize(crop, (self.width, self.height), interpolation=method)
