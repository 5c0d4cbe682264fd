"""Writing what was sampled: pictures with sound as MP4, one picture as PNG, sound alone as WAV. No torch.

Every file says in its metadata what made it, and when the model is a random one, that it means nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from trainer_core.files import replacing

VIDEO_OPTIONS = {"crf": "18", "preset": "ultrafast"}
"""Encoding runs beside decoding and must not slow it. At this CRF the preset's pictures are within 0.6 dB of veryfast's
for a third of its time, in files two to four times as large: some megabytes for a sample of seconds.
"""
AUDIO_OPTIONS = {"aac_coder": "fast"}
"""The library's usual search takes two to three times as long and is meant for low rates: at this one a mix of decaying
tones comes out 4 dB nearer by the fast one, white noise 0.2 dB farther.
"""
AUDIO_BIT_RATE = 192_000
_RED, _BLUE = 0.2126, 0.0722  # the luma of BT.709
_LUMA_OF_RGB = np.array([_RED, 1 - _RED - _BLUE, _BLUE])
_TO_LUMA = np.append(_LUMA_OF_RGB * 219 / 255, 16)[None]
_TO_CHROMA = np.array(
    [
        np.append((np.eye(3)[channel] - _LUMA_OF_RGB) / (2 * (1 - share)) * 224 / 255, 128)
        for channel, share in ((2, _BLUE), (0, _RED))
    ]
)
"""RGB of 0..255 to Cb, Cr of 16..240. Source: ITU-R BT.709, 3.2 to 3.5."""
_SOUND_AHEAD_S = 6
"""So far sound runs ahead of the pictures, while these are still being made. Beyond ten seconds the muxer would write
it out on its own, far from its pictures."""


def write_sample(
    stem: Path,
    pictures: Iterable[np.ndarray] | None,
    frames: int,
    sound: tuple[np.ndarray, int] | None,
    frame_rate: float,
    metadata: Mapping[str, str],
) -> Path:
    """Write a sample as `stem` + .mp4, .png (one picture without sound) or .wav (sound alone) and return its path.

    `pictures` yields uint8 [n, H, W, 3], `frames` in all; `sound` is float32 [2, N] with its samples per second; one of
    the two may be None. Nothing is left half-written.
    """
    if pictures is None:
        assert sound is not None, "a sample has pictures or sound"
        return _write_wav(stem.with_name(f"{stem.name}.wav"), *sound, metadata)
    if frames == 1 and sound is None:
        return write_png(stem.with_name(f"{stem.name}.png"), next(iter(pictures))[0], metadata)
    return _write_mp4(stem.with_name(f"{stem.name}.mp4"), pictures, sound, frame_rate, metadata)


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
    pictures: Iterable[np.ndarray],
    sound: tuple[np.ndarray, int] | None,
    frame_rate: float,
    metadata: Mapping[str, str],
) -> Path:
    options = {"movflags": "+faststart+use_metadata_tags"}
    with (
        replacing(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options=options) as container,
        # leaving the block waits for the thread: the file is closed, or thrown away, when nobody writes to it
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder") as encoder,
    ):
        container.metadata.update(metadata)
        film = _VideoWriter(container, frame_rate, sound)
        encoding: Future[None] | None = None
        for stretch in pictures:
            # one stretch is encoded while the next one is made, so that two are held, whatever the clip's length
            if encoding is not None:
                encoding.result()
            encoding = encoder.submit(film.encode, stretch)
            del stretch
        if encoding is not None:
            encoding.result()
        film.finish()
    return path


class _VideoWriter:
    """The streams of one file. Sound is fed a little ahead of its pictures, so that readers find both together."""

    def __init__(self, container: OutputContainer, frame_rate: float, sound: tuple[np.ndarray, int] | None) -> None:
        self._container = container
        self._rate = Fraction(frame_rate).limit_denominator(1001)
        self._video = container.add_stream("libx264", rate=self._rate, options=VIDEO_OPTIONS)
        self._video.pix_fmt, self._video.time_base = "yuv420p", 1 / self._rate
        # said in the file: players guess by the size otherwise, and pictures of every size are converted alike
        context = self._video.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._count = 0
        self._audio: AudioStream | None = None
        self._sounding: Iterator[AudioFrame] = iter(())
        self._heard_s = Fraction(0)
        if sound is not None:
            samples, rate_hz = sound
            self._audio = container.add_stream("aac", rate=rate_hz, layout="stereo", options=AUDIO_OPTIONS)
            self._audio.bit_rate = AUDIO_BIT_RATE
            self._sounding = _sound_frames(samples, rate_hz)

    def encode(self, stretch: np.ndarray) -> None:
        """Add pictures uint8 [n, H, W, 3]."""
        if self._count == 0:
            self._video.height, self._video.width = stretch.shape[1:3]
        for picture in stretch:
            frame = VideoFrame.from_ndarray(_planes(picture), format="yuv420p")
            frame.colorspace, frame.color_range = Colorspace.ITU709, ColorRange.MPEG
            frame.pts, frame.time_base = self._count, 1 / self._rate
            self._container.mux(self._video.encode(frame))
            self._count += 1
        self._sound_until(self._count / self._rate + _SOUND_AHEAD_S)

    def finish(self) -> None:
        """Write what the encoders still hold, and the rest of the sound."""
        self._container.mux(self._video.encode(None))
        self._sound_until(None)
        if self._audio is not None:
            self._container.mux(self._audio.encode(None))

    def _sound_until(self, time_s: Fraction | None) -> None:
        # the muxer keeps every packet of pictures in memory until sound of the same time has come
        while self._audio is not None and (time_s is None or self._heard_s < time_s):
            frame = next(self._sounding, None)
            if frame is None:
                return
            self._heard_s += Fraction(frame.samples, frame.sample_rate)
            self._container.mux(self._audio.encode(frame))


def _planes(picture: np.ndarray) -> np.ndarray:
    """A picture uint8 [H, W, 3] with even sides as planes of Y, Cb, Cr [3H/2, W]: a third of the library's time."""
    height, width = picture.shape[:2]
    planes = np.empty((height * 3 // 2, width), np.uint8)
    planes[:height] = cv2.transform(picture, _TO_LUMA)
    half = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    planes[height:] = cv2.transform(half, _TO_CHROMA).transpose(2, 0, 1).reshape(-1, width)
    return planes


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
