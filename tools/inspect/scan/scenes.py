"""A clip's looks in a few hundred characters, so that clips of one scene can be told from others.

A signature is the 64-bit gradient hash of a picture (which side of each of 64 places is brighter) and its mean colours
in a 3 x 3 grid. Two clips look alike when one picture of each does, or one and a mirrored one: both follow from one
signature. It is a measure: a scene taken from two sides looks like two scenes, and two scenes may look like one.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from tools.inspect.checks.check import Measure, Numbers
from tools.inspect.scan.frame import Frame

MAX_SIGNATURES = 8
FIRST_INTERVAL_S = 0.5
FLAT_SPREAD = 4.0
"""A picture whose luma varies less (standard deviation, of 255) has no gradients to tell it by."""
SAME_PICTURE_BITS = 8
"""Unrelated pictures differ in 32 of 64 bits, give or take 4; re-encoded, resized ones in a handful."""
SAME_PICTURE_COLOUR = 20.0
"""Mean difference of the nine colours, of 255: more than grading makes of one picture."""
SAME_SCENE_BITS, SAME_SCENE_COLOUR = 18, 10.0
"""With nearly the same colours, more gradients may have moved, but not in mirrored pictures: chance has two goes."""
_COLOURS = SAME_PICTURE_COLOUR, SAME_SCENE_COLOUR
_ROWS_AT_ONCE = 64
_PAIRS_AT_ONCE = 1 << 18


class SceneSignatures(Measure):
    """Signatures of up to MAX_SIGNATURES pictures, evenly spaced over a clip whose length isn't known beforehand."""

    def __init__(self) -> None:
        self.interval_s = FIRST_INTERVAL_S
        self._taken: list[tuple[float, str]] = []

    def study(self, picture: Frame) -> None:
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


def connected(signatures: Sequence[Sequence[str]]) -> list[int]:
    """A label for each clip, by their lists of signatures; clips that look alike, or like clips that do, share one.

    A mirrored copy looks alike. The label is the smallest index of those that share it.
    """
    owners = np.array([index for index, own in enumerate(signatures) for _ in own], np.int64)
    gradients, colours = _parsed([text for own in signatures for text in own])
    others = (gradients, colours, SAME_SCENE_BITS), (*_mirrored(gradients, colours), SAME_PICTURE_BITS)
    labels = np.arange(len(signatures))
    for start in range(0, len(owners), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        for their_gradients, their_colours, most_bits in others:
            left, right, bits = _near(gradients[rows], their_gradients[start:], most_bits)
            left, right = left + start, right + start
            apart = labels[owners[left]] != labels[owners[right]]
            left, right, bits = left[apart], right[apart], bits[apart]
            same = _same_colours(colours, left, their_colours, right, np.where(bits <= SAME_PICTURE_BITS, *_COLOURS))
            labels = _joined(labels, owners[left[same]], owners[right[same]])
    return [int(label) for label in labels]


def bits_apart(signatures: Sequence[str]) -> np.ndarray:
    """Bits (of 64) by which the pictures differ, all with all."""
    gradients, _ = _parsed(signatures)
    return np.bitwise_count(gradients[:, None] ^ gradients[None])


class SceneOverlap(NamedTuple):
    """Overlap of a clip with an earlier one: its index (-1 for none), the share of the shorter one."""

    clip: int = -1
    share: float = 0.0
    mirrored: bool = False


def shown_shares(clips: Sequence[Sequence[str]], back: int, enough: float) -> Iterator[SceneOverlap]:
    """For each clip, the one of at most `back` clips before it that shows most of the same.

    Mirrored pictures are looked for where no clip shows `enough` of it as it is: symmetrical ones are plain twins.
    """
    gradients, colours = _parsed([text for own in clips for text in own])
    mirrored = _mirrored(gradients, colours)
    ends = np.cumsum([len(own) for own in clips])
    starts = ends - [len(own) for own in clips]
    for index, own in enumerate(clips):
        earlier = [other for other in range(max(0, index - back), index) if clips[other]]
        if not own or not earlier:
            yield SceneOverlap()
            continue
        mine, theirs = slice(starts[index], ends[index]), slice(starts[earlier[0]], starts[index])
        borders = starts[earlier] - starts[earlier[0]]
        lengths = np.minimum(len(own), ends[earlier] - starts[earlier])
        best = SceneOverlap()
        for turned, others in enumerate(((gradients, colours), mirrored)):
            if best.share >= enough:
                break
            shares = _shared(gradients[mine], colours[mine], others[0][theirs], others[1][theirs], borders) / lengths
            most = int(np.argmax(shares))
            best = max(
                best, SceneOverlap(earlier[most], float(shares[most]), bool(turned)), key=lambda shown: shown.share
            )
        yield best


def _shared(
    my_gradients: np.ndarray,
    my_colours: np.ndarray,
    their_gradients: np.ndarray,
    their_colours: np.ndarray,
    borders: np.ndarray,
) -> np.ndarray:
    """How many pictures of mine and of each of their clips, which begin at `borders`, show the same."""
    mine, theirs, _ = _near(my_gradients, their_gradients, SAME_PICTURE_BITS)
    matched = _same_colours(my_colours, mine, their_colours, theirs, SAME_PICTURE_COLOUR)
    same = np.zeros((len(my_gradients), len(their_gradients)), bool)
    same[mine[matched], theirs[matched]] = True
    # a still moment of one clip may look like all of another: as many pictures of both must find their like
    of_mine = np.logical_or.reduceat(same, borders, axis=1).sum(axis=0)
    of_theirs = np.add.reduceat(same.any(axis=0).astype(np.int64), borders)
    return np.minimum(of_mine, of_theirs)


def _parsed(signatures: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Gradient bits as uint64 [N] and colours as int16 [N, 27]."""
    raw = np.frombuffer(bytes.fromhex("".join(signatures)), np.uint8).reshape(-1, 35)
    return np.ascontiguousarray(raw[:, :8]).view(np.uint64)[:, 0], raw[:, 8:].astype(np.int16)


def _mirrored(gradients: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients and colours of the pictures' mirror images; a place as bright as its neighbour may be a bit off."""
    sides = np.unpackbits(gradients.view(np.uint8).reshape(-1, 8, 1), axis=2)
    turned = np.packbits(1 - sides[:, :, ::-1], axis=2).reshape(-1, 8)
    columns = colours.reshape(-1, 3, 3, 3)
    return turned.view(np.uint64)[:, 0], columns[:, :, ::-1].reshape(-1, 27)


def _near(left: np.ndarray, right: np.ndarray, most_bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of gradients [N], [M] that differ in at most so many bits: places in both, and in how many."""
    bits = np.bitwise_count(left[:, None] ^ right[None]).ravel()
    found = np.flatnonzero(bits <= most_bits)  # of a flat array: many times faster than nonzero of two dimensions
    return *np.divmod(found, max(1, len(right))), bits[found]


def _same_colours(
    my_colours: np.ndarray, mine: np.ndarray, their_colours: np.ndarray, theirs: np.ndarray, most: float | np.ndarray
) -> np.ndarray:
    """Whether each pair's nine colours differ by at most so much on average: bool [pairs]."""
    means = [
        np.abs(my_colours[mine[at : at + _PAIRS_AT_ONCE]] - their_colours[theirs[at : at + _PAIRS_AT_ONCE]]).mean(
            axis=1
        )
        for at in range(0, max(1, len(mine)), _PAIRS_AT_ONCE)
    ]
    return np.concatenate(means) <= most


def _joined(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The labels when the clips `left` and `right`, pair by pair, belong together."""
    roots = np.arange(len(labels))
    left, right = labels[left], labels[right]
    while not np.array_equal(roots[left], roots[right]):
        smaller = np.minimum(roots[left], roots[right])
        np.minimum.at(roots, left, smaller)
        np.minimum.at(roots, right, smaller)
        roots = roots[roots]
    return roots[labels]
