"""Changes to a copy and its two tracks: frames through libavfilter, audio through NumPy."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.filter import Graph
from av.video.frame import PictureType, VideoFrame

from trainer_core.data.media.decode import planar_float, quarter_turns
from trainer_core.data.media.sounds import CONTIGUOUS_S

TICKS = 90_000
"""A second in the copies' time base, where the frame rate isn't constant."""
QUALITY = {"crf": "10", "preset": "veryfast"}

Draw = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Crop:
    """The part of the displayed picture that is kept, as shares of its width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class MediaChange:
    """Change to frames and audio. `quarter_turns` are counter-clockwise, after the display rotation.
    `deinterlace` makes one whole picture of each two fields.

    `draw(picture, time_s)` makes another picture of each displayed one, uint8 [H, W, 3] RGB, of any one size. A
    `silent` copy has no sound, a `blind` one no pictures.
    """

    crop: Crop | None = None
    quarter_turns: int = 0
    deinterlace: bool = False
    frame_rate: float | None = None
    gain_db: float = 0.0
    draw: Draw | None = None
    low_pass_hz: float | None = None
    silent: bool = False
    blind: bool = False


@dataclass(frozen=True)
class Stretch:
    """A part of a clip on its own clock, in seconds, and the file its copy goes to; `end_s` inf: to the end."""

    target: Path
    start_s: float = 0.0
    end_s: float = math.inf


class PictureTrack:
    """Pictures through libavfilter to H.264."""

    def __init__(self, stream: Any, change: MediaChange) -> None:
        self.stream, self.change = stream, change
        self.graph: Graph | None = None
        self.waiting: list[VideoFrame] = []
        self.encoder: Any = None
        self.frames = 0
        self.rate = Fraction(change.frame_rate).limit_denominator(1001) if change.frame_rate else None

    @property
    def ready(self) -> bool:
        return bool(self.waiting) or self.encoder is not None

    def push(self, frame: VideoFrame, time_s: float) -> None:
        if self.graph is None:
            self.graph = self._graph(frame)
        frame.pts, frame.time_base = round(time_s * TICKS), Fraction(1, TICKS)
        self.graph.push(frame)
        self._pull()

    def end(self) -> None:
        if self.graph is not None:
            self.graph.push(None)
            self._pull()

    def begin(self, output: Any) -> None:
        first = self.waiting[0]
        self.encoder = output.add_stream("libx264", rate=self.rate or self.stream.average_rate or 25, options=QUALITY)
        self.encoder.width, self.encoder.height, self.encoder.pix_fmt = first.width, first.height, first.format.name
        context = self.encoder.codec_context
        context.time_base = 1 / self.rate if self.rate else Fraction(1, TICKS)
        context.color_range, context.colorspace = first.color_range, first.colorspace
        context.color_primaries = self.stream.codec_context.color_primaries
        context.color_trc = self.stream.codec_context.color_trc

    def write(self, output: Any) -> None:
        for frame in self.waiting:
            output.mux(self.encoder.encode(frame))
            self.frames += 1
        self.waiting.clear()

    def close(self, output: Any) -> None:
        output.mux(self.encoder.encode(None))

    def _pull(self) -> None:
        assert self.graph is not None
        while True:
            try:
                frame = self.graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, VideoFrame)
            if self.change.draw is not None:
                frame = self._drawn(frame)
            frame.pict_type = PictureType.NONE  # the encoder chooses its own
            self.waiting.append(frame)

    def _drawn(self, frame: VideoFrame) -> VideoFrame:
        assert self.change.draw is not None
        assert frame.pts is not None
        assert frame.time_base is not None
        made = self.change.draw(frame.to_ndarray(format="rgb24"), float(frame.pts * frame.time_base))
        drawn = VideoFrame.from_ndarray(np.ascontiguousarray(made), format="rgb24").reformat(format="yuv444p")
        drawn.pts, drawn.time_base = frame.pts, frame.time_base
        return drawn

    def _graph(self, first: VideoFrame) -> Graph:
        graph = Graph()
        node = graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=Fraction(1, TICKS)
        )
        for name, arguments in self._filters(first):
            following = graph.add(name, arguments)
            node.link_to(following)
            node = following
        node.link_to(graph.add("buffersink"))
        graph.configure()
        return graph

    def _filters(self, first: VideoFrame) -> list[tuple[str, str]]:
        chain: list[tuple[str, str]] = []
        if self.change.deinterlace:  # before any line is moved
            chain.append(("bwdif", "mode=send_frame:parity=auto:deint=all"))
        width, height = first.width, first.height
        aspect = float(self.stream.sample_aspect_ratio or 1) or 1.0
        if abs(aspect - 1) > 1e-3:
            width = round(width * aspect)
            chain.append(("scale", f"{width}:{height}:flags=bicubic"))
        turns = (quarter_turns(first.rotation) + self.change.quarter_turns) % 4
        if turns == 2:
            chain += [("hflip", ""), ("vflip", "")]
        elif turns:
            chain.append(("transpose", "cclock" if turns == 1 else "clock"))
            width, height = height, width
        crop = self.change.crop or Crop(0, 0, 1, 1)
        left, top = 2 * round(crop.left * width / 2), 2 * round(crop.top * height / 2)
        kept = (
            min(2 * round(crop.width * width / 2), width - left),
            min(2 * round(crop.height * height / 2), height - top),
        )
        even = kept[0] // 2 * 2, kept[1] // 2 * 2
        if (left, top, *even) != (0, 0, width, height):
            chain.append(("crop", f"{even[0]}:{even[1]}:{left}:{top}:exact=1"))
        if self.rate is not None:
            # rounded up, a picture is shown from the first tick at which it is there: what sampling the clip gives
            chain.append(("fps", f"fps={self.rate.numerator}/{self.rate.denominator}:round=up:start_time=0"))
        components = first.format.components
        deep = max(component.bits for component in components) > 8
        subsampled = first.format.is_planar and not first.format.is_rgb and first.format.chroma_height(4) == 2
        chain.append(("format", ("yuv420p" if subsampled else "yuv444p") + ("10le" if deep else "")))
        return chain


class SoundTrack:
    """Sound, put on the copy's clock, to 24-bit PCM: gaps become silence, nothing is shifted."""

    def __init__(self, stream: Any, change: MediaChange, stretch: Stretch) -> None:
        self.gain = 10 ** (change.gain_db / 20)
        self.low_pass = _LowPass(change.low_pass_hz) if change.low_pass_hz is not None else None
        self.stretch = stretch
        self.rate_hz, self.layout = stream.rate, stream.layout.name
        self.waiting: list[np.ndarray] = []
        self.encoder: Any = None
        self.resampler: AudioResampler | None = None
        self.next_index: int | None = None
        self.written = 0

    @property
    def ready(self) -> bool:
        return bool(self.waiting) or self.encoder is not None

    @property
    def written_s(self) -> float:
        return self.written / self.rate_hz

    def push(self, frame: AudioFrame, time_s: float) -> None:
        samples = planar_float(frame) * self.gain
        if self.low_pass is not None:
            samples = self.low_pass.filtered(samples, frame)
        if self.next_index is None:
            self.rate_hz, self.layout = frame.sample_rate, frame.layout.name
        index = round((time_s - self.stretch.start_s) * self.rate_hz)
        if self.next_index is not None and abs(index - self.next_index) <= CONTIGUOUS_S * self.rate_hz:
            index = self.next_index
        done = max(0, self.next_index or 0)
        gap = index - done
        if gap > 0:
            samples = np.pad(samples, ((0, 0), (gap, 0)))
        elif gap < 0:
            samples = samples[:, -gap:]
        if math.isfinite(self.stretch.end_s):
            limit = round((self.stretch.end_s - self.stretch.start_s) * self.rate_hz)
            samples = samples[:, : max(0, limit - done)]
        if samples.shape[1]:
            self.waiting.append(np.ascontiguousarray(samples))
            self.next_index = done + samples.shape[1]
        elif self.next_index is None:
            self.next_index = done

    def begin(self, output: Any) -> None:
        self.encoder = output.add_stream("pcm_s24le", rate=self.rate_hz, layout=self.layout)
        self.resampler = AudioResampler(format="s32", layout=self.layout, rate=self.rate_hz)

    def write(self, output: Any) -> None:
        assert self.resampler is not None
        for samples in self.waiting:
            frame = AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout=self.layout)
            frame.sample_rate, frame.time_base, frame.pts = self.rate_hz, Fraction(1, self.rate_hz), self.written
            self.written += samples.shape[1]
            for part in self.resampler.resample(frame):
                output.mux(self.encoder.encode(part))
        self.waiting.clear()

    def close(self, output: Any) -> None:
        assert self.resampler is not None
        for part in self.resampler.resample(None):
            output.mux(self.encoder.encode(part))
        output.mux(self.encoder.encode(None))


class _LowPass:
    """Two two-pole low-passes in a row, 24 dB an octave, that keep their state from frame to frame."""

    def __init__(self, cutoff_hz: float) -> None:
        self.cutoff_hz = cutoff_hz
        self.graph: Graph | None = None
        self.sent = 0

    def filtered(self, samples: np.ndarray, like: AudioFrame) -> np.ndarray:
        if self.graph is None:
            self.graph = Graph()
            source = self.graph.add_abuffer(sample_rate=like.sample_rate, format="fltp", layout=like.layout.name)
            first, second = (self.graph.add("lowpass", f"f={self.cutoff_hz}") for _ in range(2))
            for left, right in itertools.pairwise((source, first, second, self.graph.add("abuffersink"))):
                left.link_to(right)
            self.graph.configure()
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.float32), format="fltp", layout=like.layout.name
        )
        frame.sample_rate, frame.time_base, frame.pts = like.sample_rate, Fraction(1, like.sample_rate), self.sent
        self.sent += samples.shape[1]
        self.graph.push(frame)
        made = self.graph.pull()
        assert isinstance(made, AudioFrame)
        return made.to_ndarray()
