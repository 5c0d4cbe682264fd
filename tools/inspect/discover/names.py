"""File names in front of people: any bytes are legal in a name, not all of them on a screen or in a page."""

_JOINERS = "\u200c\u200d"  # Persian words and joined emoji are wrong without them


def displayed(name: str) -> str:
    """Return `name` with control, direction and undecodable characters spelled as escapes, the rest as it is."""
    return "".join(
        character if character.isprintable() or character in _JOINERS else character.encode("unicode_escape").decode()
        for character in name
    )
