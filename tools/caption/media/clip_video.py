"""A clip as a small video file for endpoints that take one: few pictures per second, small, with its sound."""

import io
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from tools.caption.media.frames import upright
from tools.caption.media.sound import SOUND_RATE_HZ, read_sound
from trainer_core.data.media.decode import Damage, Timeline, decoded, nominal_interval_s, opened, picture_stream
from trainer_core.errors import DataError

SENT_FPS = 8
LONGEST_S = 60.0


def small_mp4(path: Path, longest_side: int) -> bytes:
    """Return the clip's first minute as MP4 (H.264, AAC) at SENT_FPS, with no metadata of the original.

    Raises DataError when it has no pictures that decode.
    """
    sound = read_sound(path, LONGEST_S)
    buffer = io.BytesIO()
    with opened(path) as container, av.open(buffer, "w", format="mp4") as made:
        stream = picture_stream(container)
        if stream is None:
            raise DataError(f"{path.name!r} has no pictures.", "Caption its sound.")
        aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        timeline = Timeline(nominal_interval_s(stream))
        video = made.add_stream("libx264", rate=SENT_FPS, options={"preset": "veryfast", "crf": "26"})
        voice = made.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono") if sound is not None else None
        origin_s: float | None = None
        count = 0
        for frame in decoded(container, [stream], Damage()):
            time_s = timeline.time_of(frame) if isinstance(frame, VideoFrame) else None
            if time_s is None or not isinstance(frame, VideoFrame):
                continue
            origin_s = time_s if origin_s is None else origin_s
            if time_s - origin_s > LONGEST_S:
                break
            if (time_s - origin_s) * SENT_FPS + 1e-6 < count:
                continue
            rgb = _even(upright(frame, aspect, longest_side))
            if count == 0:
                video.height, video.width = rgb.shape[:2]
                video.pix_fmt = "yuv420p"
            elif rgb.shape[:2] != (video.height, video.width):
                rgb = cv2.resize(rgb, (video.width, video.height))
            shown = VideoFrame.from_ndarray(rgb, format="rgb24")
            shown.pts, shown.time_base = count, Fraction(1, SENT_FPS)
            made.mux(video.encode(shown))
            count += 1
        if not count:
            raise DataError(f"No picture of {path.name!r} can be decoded.", "Copy or export it again.")
        made.mux(video.encode(None))
        if voice is not None and sound is not None:
            heard = AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = SOUND_RATE_HZ, 0, Fraction(1, SOUND_RATE_HZ)
            made.mux(voice.encode(heard))
            made.mux(voice.encode(None))
    return buffer.getvalue()


def _even(rgb: np.ndarray) -> np.ndarray:
    """The picture with even sides, as H.264 wants them."""
    rows, columns = (max(2, side - side % 2) for side in rgb.shape[:2])
    return np.ascontiguousarray(cv2.resize(rgb, (columns, rows)) if min(rgb.shape[:2]) < 2 else rgb[:rows, :columns])
