"""Stretches of time in which something holds, found as the clip goes by."""

MAX_SPANS = 20
"""Stretches that are kept with their times; the rest are only counted."""
MANY_SPANS = 4000
"""The same where windows are cut by them: pauses and sentences of some hours of talk."""


class Spans:
    """Collects the stretches of at least `shortest_s` seconds in which a condition holds."""

    def __init__(self, shortest_s: float, most: int = MAX_SPANS) -> None:
        self.shortest_s = shortest_s
        self.most = most
        self.spans: list[tuple[float, float]] = []
        self.count = 0
        self.total_s = 0.0
        self._began_s: float | None = None

    def add(self, time_s: float, holds: bool) -> None:
        """Say whether it holds from `time_s` on."""
        if holds:
            self._began_s = time_s if self._began_s is None else self._began_s
        elif self._began_s is not None:
            self.close(time_s)

    def close(self, end_s: float) -> None:
        """End the stretch that is open, if one is."""
        if self._began_s is None:
            return
        length_s = end_s - self._began_s
        if length_s >= self.shortest_s - 1e-6:
            self.count += 1
            self.total_s += length_s
            if len(self.spans) < self.most:
                self.spans.append((round(self._began_s, 3), round(end_s, 3)))
        self._began_s = None
