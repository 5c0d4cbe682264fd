"""One picture of a clip, made where nothing waits for it. No Textual; PyAV comes with the first one."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

KEPT = 64
LARGEST = 480


class Thumbnails:
    """Pictures by path, the latest kept; `get` decodes, so it belongs into a worker."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int], np.ndarray | None] = OrderedDict()

    def get(self, path: Path) -> np.ndarray | None:
        """Return uint8 [H, W, 3] from the middle of the clip, None when it has no picture that can be decoded."""
        try:
            key = (path, path.stat().st_mtime_ns)
        except OSError:
            return None
        if key not in self._kept:
            self._kept[key] = _decoded(path)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _decoded(path: Path) -> np.ndarray | None:
    import av

    from trainer_core.data.media.decode import CONTAINERS

    try:
        with av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS}) as opened:
            if not opened.streams.video:
                return None
            stream = opened.streams.video[0]
            stream.thread_type = "AUTO"
            if stream.duration and stream.time_base and stream.duration * stream.time_base > 2:
                opened.seek(stream.duration // 2, stream=stream)
            frame: Any = next(opened.decode(stream), None)
            if frame is None:
                return None
            scale = min(1.0, LARGEST / max(frame.width, frame.height))
            size = max(2, round(frame.width * scale)), max(2, round(frame.height * scale))
            image: np.ndarray = frame.reformat(*size, format="rgb24").to_ndarray()
            return np.rot90(image, int(getattr(frame, "rotation", 0)) // 90).copy()
    except (av.error.FFmpegError, OSError, ValueError):
        return None
