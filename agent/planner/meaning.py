"""Labels of the exemplars that mean nearly the same as a sentence, in any of the encoder's languages.

The exemplars are sentences in `exemplars/*.yaml`, a kind a file, each under its label. Meaning is learned from all of
them at once by kernel ridge regression, so a sentence that is like those of two labels scores middling for both. The
kernel adds how near two sentences are for the encoder and how many word parts they share; where the encoder isn't
installed, the word parts alone have to do.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import safe_open

from agent.planner.sentence_encoder import Vectors, encode, encoder_name, is_installed, plain
from trainer_core.strict import Strict

EXEMPLARS = Path(__file__).parent / "exemplars"
VECTORS = EXEMPLARS / "vectors.safetensors"

_SHARPNESS = 4.0
"""How fast nearness falls with distance: chosen on tests/instruments/goals/calibration.yaml, as the two below."""
_WORD_PARTS = 0.2
_RIDGE = 0.2
_SHORT, _LONG = 3, 5
_IDEOGRAPHS = 0x2E80
"""Scripts from here on write no spaces, so one to three characters are a word."""

Matrix = NDArray[np.float64]


class _Exemplars(Strict):
    """One file: label, then language, then sentences."""

    kind: str
    labels: dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Exemplar:
    """A sentence that means `label`, which is of `kind`."""

    text: str
    label: str
    kind: str
    language: str


@dataclass(frozen=True)
class Match:
    """How much a sentence means `label`: about 0 for not at all and 1 for clearly, a little beyond either at most."""

    label: str
    score: float
    kind: str


def nearest(text: str, kind: str | None = None) -> list[Match]:
    """Return the labels of `kind` (of all kinds where it is None) by how much `text` means them, the best first.

    Empty where the encoder isn't installed: then rules have to do.
    """
    return meanings(text, kind) if is_installed() else []


def meanings(text: str, kind: str | None = None) -> list[Match]:
    """The same with or without the encoder; without it, far less sure."""
    return [match for match in _scores(plain(text), is_installed()) if kind is None or match.kind == kind]


@cache
def exemplars() -> tuple[Exemplar, ...]:
    """Every exemplar of every file, in a fixed order."""
    found = []
    for path in sorted(EXEMPLARS.glob("*.yaml")):
        read = _Exemplars.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        found += [
            Exemplar(text, label, read.kind, language)
            for label, languages in read.labels.items()
            for language, texts in languages.items()
            for text in texts
        ]
    return tuple(found)


def digest_of(text: str) -> str:
    """The key of a sentence's stored vector."""
    return hashlib.sha256(plain(text).encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def _scores(text: str, with_encoder: bool) -> tuple[Match, ...]:
    learned = _learned(with_encoder)
    near = _WORD_PARTS * learned.word_parts.near(text)
    vectors = encode([text]) if learned.vectors is not None else None
    if vectors is not None and learned.vectors is not None:
        near = near + _closeness(vectors.astype(np.float64), learned.vectors)
    scores = (near @ learned.weights)[0] + learned.offset
    order = np.argsort(-scores, kind="stable")
    return tuple(Match(learned.labels[i][1], round(float(scores[i]), 4), learned.labels[i][0]) for i in order)


@dataclass(frozen=True)
class _Learned:
    """Weights [exemplars, labels] over nearness; `labels` are pairs of kind and label."""

    labels: list[tuple[str, str]]
    weights: Matrix
    offset: float
    vectors: Matrix | None
    word_parts: "_WordParts"


@cache
def _learned(with_encoder: bool) -> _Learned:
    known = exemplars()
    vectors = _vectors(known) if with_encoder else None
    word_parts = _WordParts([exemplar.text for exemplar in known])
    near = _WORD_PARTS * (word_parts.matrix @ word_parts.matrix.T)
    if vectors is not None:
        near = near + _closeness(vectors, vectors)
    labels = sorted({(exemplar.kind, exemplar.label) for exemplar in known})
    wanted = np.zeros((len(known), len(labels)))
    for row, exemplar in enumerate(known):
        wanted[row, labels.index((exemplar.kind, exemplar.label))] = 1.0
    offset = 1 / len(labels)
    weights = cast(Matrix, np.linalg.solve(near + _RIDGE * np.eye(len(known)), wanted - offset))
    return _Learned(labels, weights, offset, vectors, word_parts)


def _closeness(one: Matrix, other: Matrix) -> Matrix:
    """A Gaussian of the distance between unit vectors: 1 for the same sentence."""
    return cast(Matrix, np.exp(_SHARPNESS * (one @ other.T - 1)))


def _vectors(known: tuple[Exemplar, ...]) -> Matrix | None:
    """The exemplars' vectors: stored ones where they are this encoder's, the rest made now."""
    stored = stored_vectors()
    keys = [digest_of(exemplar.text) for exemplar in known]
    missing = [index for index, key in enumerate(keys) if key not in stored]
    made = encode([known[index].text for index in missing]) if missing else None
    if made is not None:
        stored.update({keys[index]: vector for index, vector in zip(missing, made, strict=True)})
    rows = [stored[key] for key in keys if key in stored]
    return np.stack(rows).astype(np.float64) if len(rows) == len(keys) else None


def stored_vectors() -> dict[str, Vectors]:
    """The vectors beside the exemplars by digest; none where another encoder made them."""
    if not VECTORS.exists():
        return {}
    with safe_open(VECTORS, framework="numpy") as file:
        described = file.metadata() or {}
        if described.get("encoder") != encoder_name():
            return {}
        vectors = file.get_tensor("vectors").astype(np.float32) * file.get_tensor("scales")
    return dict(zip(described["digests"].split(), vectors, strict=True))


class _WordParts:
    """Words and parts of words, weighted by how rare they are among the exemplars: rows of unit length."""

    def __init__(self, texts: list[str]) -> None:
        counted = [_parts(text) for text in texts]
        frequency = Counter(part for parts in counted for part in parts)
        self._places = {part: place for place, part in enumerate(sorted(p for p, n in frequency.items() if n > 1))}
        self._rarity = np.array([np.log(len(texts) / frequency[part]) for part in self._places])
        self.matrix = self._rows(counted)

    def near(self, text: str) -> Matrix:
        """Cosine of `text` with every exemplar, [1, exemplars]."""
        near: Matrix = self._rows([_parts(text)]) @ self.matrix.T
        return near

    def _rows(self, counted: list[Counter[str]]) -> Matrix:
        rows = np.zeros((len(counted), len(self._places)))
        for row, parts in enumerate(counted):
            for part, count in parts.items():
                if part in self._places:
                    rows[row, self._places[part]] = 1 + np.log(count)
        rows *= self._rarity
        scaled: Matrix = rows / np.maximum(1e-9, np.linalg.norm(rows, axis=1, keepdims=True))
        return scaled


def _parts(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for word in re.findall(r"\w+", plain(text)):
        ideographs = any(ord(character) >= _IDEOGRAPHS for character in word)
        padded, lengths = (word, range(1, 4)) if ideographs else (f" {word} ", range(_SHORT, _LONG + 1))
        found.update(padded[i : i + n] for n in lengths for i in range(len(padded) - n + 1))
        if not ideographs:
            found[f"={word}"] += 2  # a whole word says more than its parts
    return found
