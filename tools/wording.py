"""Words that several rooms say alike."""


def counted(number: int, noun: str) -> str:
    """Return `1 clip`, `2 clips`, `3 copies`."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"
