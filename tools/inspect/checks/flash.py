"""Single frames that are much brighter or darker than those around them."""

from collections import deque
from collections.abc import Iterator

from tools.inspect.checks.check import Check, Measure, Numbers, Seen
from tools.inspect.report.report import Flag
from tools.inspect.scan.frame import Frame

JUMP = 24.0
"""Luma steps by which the mean of a flash frame differs from the pictures before and after."""
LONGEST_FLASH = 3
"""Frames; what lasts longer is light that was switched on, or a cut."""
MAX_KEPT = 20


class _Flashes(Measure):
    def __init__(self) -> None:
        self.flashes: list[tuple[float, float, float]] = []
        self.count = 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=LONGEST_FLASH + 2)

    def see(self, picture: Frame) -> None:
        self._recent.append((picture.time_s, picture.mean))
        means = [mean for _, mean in self._recent]
        if max(means) - min(means) < JUMP:
            return
        for length in range(1, len(means) - 1):
            before, inside, after = means[-2 - length], means[-1 - length : -1], means[-1]
            rises = [mean - before for mean in inside]
            smallest = min(rises) if rises[0] > 0 else -max(rises)
            settled = abs(after - before) < 0.3 * abs(smallest)
            if smallest >= JUMP and settled and self._steady_before(length):
                self._record(self._recent[-1 - length][0], picture.time_s, rises[0])
                self._recent.clear()
                self._recent.append((picture.time_s, picture.mean))
                return

    def _steady_before(self, length: int) -> bool:
        """True if the light didn't swing as much before: then it flickers, which is another check's."""
        earlier = [mean for _, mean in self._recent][: -1 - length]
        return max(earlier) - min(earlier) < JUMP

    def _record(self, start_s: float, end_s: float, rise: float) -> None:
        self.count += 1
        if len(self.flashes) < MAX_KEPT:
            self.flashes.append((round(start_s, 3), round(end_s, 3), round(rise, 1)))

    def numbers(self) -> Numbers:
        return {"count": self.count, "flashes": self.flashes}


def judge(seen: Seen) -> Iterator[Flag]:
    numbers = seen.numbers.get("flash", {})
    if not seen.moving:
        return
    for start_s, end_s, rise in numbers.get("flashes", []):
        yield Flag(
            id="flash",
            severity="warn",
            value=abs(rise),
            threshold=JUMP,
            start_s=start_s,
            end_s=end_s,
            message=f"The picture flashes {'bright' if rise > 0 else 'dark'} at {start_s:.2f} s.",
            remedy="Cut those frames out, unless the flash belongs to the scene.",
        )


CHECK = Check("flash", judge, _Flashes)
