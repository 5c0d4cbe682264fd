"""The endings of file names that inspection takes as video, stills and audio. No media library."""

from pathlib import Path
from typing import Literal

MediaKind = Literal["video", "image", "audio"]

_ENDINGS: dict[MediaKind, str] = {
    "video": "mp4 mov mkv webm avi m4v mpg mpeg ts mts m2ts mxf wmv flv ogv 3gp y4m gif",
    "image": "png jpg jpeg webp bmp tif tiff",
    "audio": "wav mp3 flac m4a aac ogg opus aif aiff wma caf",
}
SUFFIXES: dict[MediaKind, frozenset[str]] = {
    kind: frozenset(f".{ending}" for ending in endings.split()) for kind, endings in _ENDINGS.items()
}
"""Lower-case suffixes with their dot, by kind."""
MEDIA_SUFFIXES = frozenset[str]().union(*SUFFIXES.values())


def media_kind(file: Path) -> MediaKind | None:
    """Return what a file's name promises; None where it promises no media."""
    suffix = file.suffix.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)
