"""Sound that is much quieter or louder than the rest of the world's, by EBU R128."""

import contextlib
from collections.abc import Iterator

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.filter import Graph

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.checks.silent import SILENT_DBFS, loudest_dbfs
from tools.inspect.report.report import Flag
from tools.inspect.scan.audio import Sound

QUIETEST_LUFS, LOUDEST_LUFS = -42.0, -9.0
"""Broadcast aims at -23, streaming at -14; film dialogue lies about -27."""
GATE_LUFS = -70.0
"""What the standard's gate leaves out; it means that nothing was measured."""


class _Loudness(Measure):
    """Integrated loudness and loudness range, by FFmpeg's filter `ebur128`."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._key: tuple[int, str, str] | None = None
        self._other: tuple[int, str, str] | None = None
        self._resampler = AudioResampler()
        self._metadata: dict[str, str] = {}

    def hear(self, sound: Sound) -> None:
        frame = sound.frame
        key = frame.sample_rate, frame.layout.name, frame.format.name
        if self._key is None:
            self._key = key
            self._graph = _graph(*key)
        if self._graph is None:
            return
        time_base, pts = frame.time_base, frame.pts
        frame.pts = None
        try:
            for part in [frame] if key == self._key else self._resampled(frame, key):
                self._graph.push(part)
                self._pull()
        except (av.FFmpegError, ValueError):
            self._graph, self._metadata = None, {}  # the loudness of a part would pass for that of the whole
        finally:
            frame.time_base, frame.pts = time_base, pts

    def _resampled(self, frame: AudioFrame, key: tuple[int, str, str]) -> list[AudioFrame]:
        """Sound whose form changed on the way to `key`, in the form that the meter began with."""
        assert self._key is not None
        if self._other != key:
            self._other = key
            rate_hz, layout, form = self._key
            self._resampler = AudioResampler(format=form, layout=layout, rate=rate_hz)
        parts = self._resampler.resample(frame)
        for part in parts:
            part.pts = None
        return parts

    def _pull(self) -> None:
        assert self._graph is not None
        with contextlib.suppress(av.BlockingIOError, av.EOFError):
            while True:
                self._metadata = self._graph.pull().metadata or self._metadata

    def numbers(self) -> Numbers:
        integrated = self._metadata.get("lavfi.r128.I")
        if integrated is None or not GATE_LUFS < float(integrated) < 20:
            return {}
        return {
            "integrated_lufs": round(float(integrated), 2),
            "range_lu": round(float(self._metadata.get("lavfi.r128.LRA", 0)), 2),
        }


def _graph(rate_hz: int, layout: str, form: str) -> Graph | None:
    graph = Graph()
    try:
        source = graph.add_abuffer(sample_rate=rate_hz, format=form, layout=layout)
        meter = graph.add("ebur128", "metadata=1:framelog=quiet")
        sink = graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        graph.configure()
    except (av.FFmpegError, ValueError):
        return None
    return graph


def judge(seen: Seen) -> Iterator[Flag]:
    loudness = seen.numbers.get("loudness", {}).get("integrated_lufs")
    if loudness is None or loudest_dbfs(seen) < SILENT_DBFS:
        return
    if loudness < QUIETEST_LUFS:
        yield Flag(
            id="too_quiet",
            severity="warn",
            value=loudness,
            threshold=QUIETEST_LUFS,
            message=f"Its sound is very quiet: {loudness:.1f} LUFS.",
            remedy="Bring it to about -23 LUFS.",
        )
    elif loudness > LOUDEST_LUFS:
        yield Flag(
            id="too_loud",
            severity="warn",
            value=loudness,
            threshold=LOUDEST_LUFS,
            message=f"Its sound is very loud: {loudness:.1f} LUFS.",
            remedy="Bring it to about -23 LUFS.",
        )


CHECK = Check("loudness", judge, _Loudness)
