"""Pictures made of two fields, by their mark or by the combs that motion leaves."""

from collections.abc import Iterator

import numpy as np

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

COMBED_SHARE = 0.02
"""Share of pixels that stand out against the lines above and below while those agree, where the picture moves."""
STEP = 16
EVERY = 8
MOVING_CHANGE = 1.5
FEWEST = 2
KEPT = 512


class _Combs(Measure):
    def __init__(self) -> None:
        self._count = 0
        self._shares: list[float] = []

    def study(self, picture: Frame) -> None:
        self._count += 1
        if picture.change is None or picture.change < MOVING_CHANGE or len(self._shares) >= KEPT or self._count % 2:
            return
        if picture.height >= 32:
            self._shares.append(combed_share(picture.luma(columns=slice(0, None, EVERY))))

    def numbers(self) -> Numbers:
        if len(self._shares) < FEWEST:
            return {}
        return {"combed": round(float(np.median(self._shares)), 4)}


def combed_share(luma: np.ndarray) -> float:
    """Share of pixels (uint8 [H, W]) in a run of three lines or more that alternate: up, down, up by STEP or more."""
    lines = luma.astype(np.int16)
    steps = np.diff(lines, axis=0)
    up, down = steps > STEP, steps < -STEP
    alternate = (up[:-2] & down[1:-1] & up[2:]) | (down[:-2] & up[1:-1] & down[2:])
    agree = np.abs(lines[2:] - lines[:-2]) <= STEP // 2
    return float(np.mean(alternate & agree[:-1] & agree[1:]))


def judge(seen: Seen) -> Iterator[Flag]:
    combed = seen.numbers.get("interlaced", {}).get("combed")
    if not seen.moving:
        return
    visible = combed is not None and combed > COMBED_SHARE
    if not seen.probe.interlaced and not visible:
        return
    how = "Its pictures show combs where things move" if visible else "Its pictures are marked as two fields each"
    yield Flag(
        id="interlaced",
        severity="warn" if visible else "note",
        value=combed if combed is not None else "marked",
        threshold=COMBED_SHARE,
        message=f"It is interlaced: {how[0].lower()}{how[1:]}.",
        remedy="Deinterlace it." if visible else "Look at moving edges; deinterlace it if they show combs.",
    )


CHECK = Check("interlaced", judge, _Combs)
