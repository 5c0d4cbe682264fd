"""Writing what was sampled: pictures with sound as MP4, one picture as PNG, sound alone as WAV. No torch.

Every file says in its metadata what made it, and when the model is a random one, that it means nothing.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from trainer_core.files import replacing

VIDEO_OPTIONS = {"crf": "18", "preset": "veryfast"}
AUDIO_BIT_RATE = 192_000


def write_sample(
    stem: Path,
    stretches: Iterable[np.ndarray] | None,
    sound: tuple[np.ndarray, int] | None,
    frame_rate: float,
    metadata: Mapping[str, str],
) -> tuple[Path, int]:
    """Write a sample as `stem` + .mp4, .png or .wav and return its path and how many pictures it has.

    `stretches` yields pictures uint8 [n, H, W, 3]; `sound` is float32 [2, N] with its samples a second; one of the two
    may be None. Nothing is left half-written.
    """
    if stretches is None:
        assert sound is not None, "a sample has pictures or sound"
        return _write_wav(stem.with_name(f"{stem.name}.wav"), *sound, metadata), 0
    stretches = iter(stretches)
    first = next(stretches)
    if len(first) == 1 and sound is None and (second := next(stretches, None)) is None:
        return write_png(stem.with_name(f"{stem.name}.png"), first[0], metadata), 1
    if len(first) == 1 and sound is None:
        first = np.concatenate([first, second])
    return _write_mp4(stem.with_name(f"{stem.name}.mp4"), first, stretches, sound, frame_rate, metadata)


def write_png(path: Path, picture: np.ndarray, metadata: Mapping[str, str]) -> Path:
    """Write a picture uint8 [H, W, 3] with its metadata as text chunks."""
    from PIL import Image, PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    for key, value in metadata.items():
        texts.add_itxt(key, value)
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", pnginfo=texts)
    return path


def _write_mp4(
    path: Path,
    first: np.ndarray,
    rest: Iterator[np.ndarray],
    sound: tuple[np.ndarray, int] | None,
    frame_rate: float,
    metadata: Mapping[str, str],
) -> tuple[Path, int]:
    rate = Fraction(frame_rate).limit_denominator(1001)
    count = 0
    with replacing(path) as temporary:
        options = {"movflags": "+faststart+use_metadata_tags"}
        with av.open(str(temporary), "w", format="mp4", options=options) as container:
            container.metadata.update(metadata)
            video = container.add_stream("libx264", rate=rate, options=VIDEO_OPTIONS)
            video.height, video.width = first.shape[1:3]
            video.pix_fmt, video.time_base = "yuv420p", 1 / rate
            audio = None
            if sound is not None:
                audio = container.add_stream("aac", rate=sound[1], layout="stereo")
                audio.bit_rate = AUDIO_BIT_RATE
            for stretch in itertools.chain([first], rest):
                for picture in stretch:
                    frame = VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts, frame.time_base = count, 1 / rate
                    container.mux(video.encode(frame))
                    count += 1
            container.mux(video.encode(None))
            if audio is not None and sound is not None:
                for sounding in _sound_frames(*sound):
                    container.mux(audio.encode(sounding))
                container.mux(audio.encode(None))
    return path, count


def _write_wav(path: Path, samples: np.ndarray, rate_hz: int, metadata: Mapping[str, str]) -> Path:
    with replacing(path) as temporary, av.open(str(temporary), "w", format="wav") as container:
        # the RIFF header has a few fixed fields; the comment takes all of it
        container.metadata.update({"comment": "; ".join(f"{key}: {value}" for key, value in metadata.items())})
        stream = container.add_stream("pcm_s16le", rate=rate_hz, layout="stereo")
        for frame in _sound_frames(samples, rate_hz):
            frame_s16: Any = frame
            container.mux(stream.encode(frame_s16))
        container.mux(stream.encode(None))
    return path


def _sound_frames(samples: np.ndarray, rate_hz: int) -> Iterator[AudioFrame]:
    for start in range(0, samples.shape[1], 1024):
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, start : start + 1024]), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), start
        yield frame
