"""What a clip looks like, in a few hundred characters, so that clips of one scene can be told from others.

A signature is the 64-bit gradient hash of a picture (which side of each of 64 places is brighter) and its mean colours
in a 3 x 3 grid. Two clips look alike when one picture of each does. It is a measure: a scene taken from two sides looks
like two scenes, and two scenes may look like one.
"""

from collections.abc import Sequence

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
_ROWS_AT_ONCE = 2048


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
    if float(gray.std()) < FLAT_SPREAD:
        return None
    small = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    gradients = np.packbits(small[:, 1:] > small[:, :-1])
    colours = cv2.resize(bgr, (3, 3), interpolation=cv2.INTER_AREA)
    return gradients.tobytes().hex() + colours.tobytes().hex()


def alike(signatures: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of clips that look alike, by their lists of signatures."""
    owners = np.array([index for index, own in enumerate(signatures) for _ in own], np.int64)
    if not owners.size:
        return []
    raw = np.frombuffer(bytes.fromhex("".join(text for own in signatures for text in own)), np.uint8).reshape(-1, 35)
    gradients = np.ascontiguousarray(raw[:, :8]).view(np.uint64)[:, 0]
    colours = raw[:, 8:].astype(np.int16)
    found: set[tuple[int, int]] = set()
    for start in range(0, len(owners), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        bits = np.bitwise_count(gradients[rows, None] ^ gradients[None, start:])
        left, right = np.nonzero(bits <= SAME_SCENE_BITS)
        same_clip = owners[left + start] == owners[right + start]
        left, right, differing = left[~same_clip], right[~same_clip], bits[left, right][~same_clip]
        colour = np.abs(colours[left + start] - colours[right + start]).mean(axis=1)
        same = (colour <= SAME_SCENE_COLOUR) | ((differing <= SAME_PICTURE_BITS) & (colour <= SAME_PICTURE_COLOUR))
        for i, j in zip(owners[left[same] + start], owners[right[same] + start], strict=True):
            found.add((min(int(i), int(j)), max(int(i), int(j))))
    return sorted(found)
