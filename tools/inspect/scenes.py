"""What a clip looks like, in a few hundred characters, so that clips of one scene can be told from others.

A signature is the 64-bit gradient hash of a picture (which side of each of 64 places is brighter) and its mean colours
in a 3 x 3 grid. Two clips look alike when one picture of each does. It is a measure: a scene taken from two sides looks
like two scenes, and two scenes may look like one.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from tools.inspect.checks.check import Measure, Numbers
from tools.inspect.picture import Picture

MAX_SIGNATURES = 8
FIRST_INTERVAL_S = 0.5
FLAT_SPREAD = 4.0
"""A picture whose luma varies less (standard deviation, of 255) has no gradients to tell it by."""
SAME_PICTURE_BITS = 8
"""Unrelated pictures differ in 32 of 64 bits, give or take 4; re-encoded, resized ones in a handful."""
SAME_PICTURE_COLOUR = 20.0
"""Mean difference of the nine colours, of 255: more than grading makes of one picture."""
SAME_SCENE_BITS, SAME_SCENE_COLOUR = 18, 10.0
"""With nearly the same colours, more gradients may have moved."""
_ROWS_AT_ONCE = 512
_PAIRS_AT_ONCE = 1 << 18


class SceneSignatures(Measure):
    """Signatures of up to MAX_SIGNATURES pictures, evenly spaced over a clip whose length isn't known beforehand."""

    def __init__(self) -> None:
        self.interval_s = FIRST_INTERVAL_S
        self._taken: list[tuple[float, str]] = []

    def study(self, picture: Picture) -> None:
        if not self._taken or picture.time_s >= self._taken[-1][0] + self.interval_s - 1e-6:
            self.add(picture.time_s, picture.colour)

    def add(self, time_s: float, bgr: np.ndarray) -> None:
        """Take a picture, uint8 [h, w, 3], if it is time for the next one and it isn't flat."""
        if self._taken and time_s < self._taken[-1][0] + self.interval_s - 1e-6:
            return
        signature = signature_of(bgr)
        if signature is None:
            return
        self._taken.append((time_s, signature))
        if len(self._taken) > MAX_SIGNATURES:
            self.interval_s *= 2
            self._taken = self._taken[::2]

    @property
    def signatures(self) -> list[str]:
        return [signature for _, signature in self._taken]

    def numbers(self) -> Numbers:
        return {"signatures": self.signatures}


def signature_of(bgr: np.ndarray) -> str | None:
    """The signature of a picture, uint8 [h, w, 3] in BGR, as 70 hex digits; None for a flat one."""
    gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    if float(cv2.meanStdDev(gray)[1][0, 0]) < FLAT_SPREAD:
        return None
    small = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    gradients = np.packbits(small[:, 1:] > small[:, :-1])
    colours = cv2.resize(bgr, (3, 3), interpolation=cv2.INTER_AREA)
    return gradients.tobytes().hex() + colours.tobytes().hex()


def alike(signatures: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of clips that look alike, by their lists of signatures."""
    found: set[tuple[int, int]] = set()
    for left, right in _alike(signatures):
        found.update(zip(left.tolist(), right.tolist(), strict=True))
    return sorted(found)


def connected(signatures: Sequence[Sequence[str]]) -> list[int]:
    """A label for each clip; those that look alike, or like clips that do, have the same."""
    labels = np.arange(len(signatures))
    edges = [np.concatenate(parts) for parts in zip(*_alike(signatures), strict=True)]
    while True:
        # each clip takes the smallest label of those it is alike to, then of that label's own clip
        before = labels.copy()
        smaller = np.minimum(labels[edges[0]], labels[edges[1]])
        np.minimum.at(labels, edges[0], smaller)
        np.minimum.at(labels, edges[1], smaller)
        labels = labels[labels]
        if np.array_equal(labels, before):
            return [int(label) for label in labels]


def bits_apart(signatures: Sequence[str]) -> np.ndarray:
    """Bits (of 64) by which the pictures differ, all with all."""
    gradients, _ = _parsed(signatures)
    return np.bitwise_count(gradients[:, None] ^ gradients[None])


def shown_shares(clips: Sequence[Sequence[str]], back: int) -> Iterator[tuple[int, float]]:
    """For each clip, which of at most `back` clips before it shows most of the same, and how much of the shorter one.

    (-1, 0.0) for the first clip and those without signatures.
    """
    gradients, colours = _parsed([text for own in clips for text in own])
    ends = np.cumsum([len(own) for own in clips])
    starts = ends - [len(own) for own in clips]
    for index, own in enumerate(clips):
        first = max(0, index - back)
        while first < index and not clips[first]:
            first += 1
        earlier = [other for other in range(first, index) if clips[other]]
        if not own or not earlier:
            yield -1, 0.0
            continue
        mine, theirs = slice(starts[index], ends[index]), slice(starts[earlier[0]], starts[index])
        bits = np.bitwise_count(gradients[mine, None] ^ gradients[None, theirs])
        colour = np.abs(colours[mine, None] - colours[None, theirs]).mean(axis=2)
        same = (bits <= SAME_PICTURE_BITS) & (colour <= SAME_PICTURE_COLOUR)
        borders = starts[earlier] - starts[earlier[0]]
        lengths = np.array([len(clips[other]) for other in earlier])
        # a still moment of one clip may look like all of another: as many pictures of both must find their like
        of_mine = np.logical_or.reduceat(same, borders, axis=1).sum(axis=0)
        of_theirs = np.add.reduceat(same.any(axis=0).astype(np.int64), borders)
        shares = np.minimum(of_mine, of_theirs) / np.minimum(len(own), lengths)
        best = int(np.argmax(shares))
        yield earlier[best], float(shares[best])


def _parsed(signatures: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Gradient bits as uint64 [N] and colours as int16 [N, 27]."""
    raw = np.frombuffer(bytes.fromhex("".join(signatures)), np.uint8).reshape(-1, 35)
    return np.ascontiguousarray(raw[:, :8]).view(np.uint64)[:, 0], raw[:, 8:].astype(np.int16)


def _alike(signatures: Sequence[Sequence[str]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield arrays of pairs of clips that look alike, each pair once a block, the smaller number on the left."""
    owners = np.array([index for index, own in enumerate(signatures) for _ in own], np.int64)
    gradients, colours = _parsed([text for own in signatures for text in own])
    yield np.zeros(0, np.int64), np.zeros(0, np.int64)
    for start in range(0, len(owners), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        bits = np.bitwise_count(gradients[rows, None] ^ gradients[None, start:])
        left, right = np.nonzero(bits <= SAME_SCENE_BITS)
        other_clip = owners[left + start] != owners[right + start]
        left, right, differing = left[other_clip], right[other_clip], bits[left, right][other_clip]
        colour = np.concatenate(
            [
                np.abs(
                    colours[left[at : at + _PAIRS_AT_ONCE] + start] - colours[right[at : at + _PAIRS_AT_ONCE] + start]
                ).mean(axis=1)
                for at in range(0, max(1, len(left)), _PAIRS_AT_ONCE)
            ]
        )
        same = (colour <= SAME_SCENE_COLOUR) | ((differing <= SAME_PICTURE_BITS) & (colour <= SAME_PICTURE_COLOUR))
        pair = np.sort(np.stack((owners[left[same] + start], owners[right[same] + start])), axis=0)
        yield tuple(np.unique(pair, axis=1))
