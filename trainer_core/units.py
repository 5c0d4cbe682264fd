"""Amounts as people read them: sizes, durations, counts. One spelling for every face; GB are 10⁹ bytes. No torch."""


def size_text(count: float | None) -> str:
    """Return `512 B`, `3.4 kB`, `640.0 MB`, `24.4 GB`; `unknown` for None."""
    if count is None:
        return "unknown"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"


def duration_text(seconds: float) -> str:
    """Return `40 s`, `12 min`, `3.5 h`: as coarse as such figures are uncertain."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def length_text(seconds: float) -> str:
    """Return the length of footage: `4.2 s`, `3 min 20 s`, `1 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, noun: str) -> str:
    """Return `1 clip`, `2 clips`, `3 copies`."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"
