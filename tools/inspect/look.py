"""Looking at one file: its hash, what decoding it gives, its measures and a picture; or why it can't be decoded."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from tools.inspect.measures import PictureMeasures, SoundMeasures, Thumbnail
from tools.inspect.report import Kind
from tools.inspect.scenes import SceneSignatures
from tools.inspect.sources import FoundFile
from trainer_core.data.probe import ClipProbe, probe
from trainer_core.errors import DataError

_TEXT_SUFFIXES = frozenset({".txt", ".json", ".jsonl", ".csv", ".tsv", ".srt", ".vtt", ".md", ".yaml", ".yml"})
_MEDIA_SUFFIXES: dict[Kind, str] = {
    "video": ".mp4 .mov .mkv .webm .avi .m4v .mpg .mpeg .ts .mts .m2ts .mxf .wmv .flv .ogv .3gp .y4m .gif",
    "image": ".png .jpg .jpeg .webp .bmp .tif .tiff",
    "audio": ".wav .mp3 .flac .m4a .aac .ogg .opus .aif .aiff .wma .caf",
}


@dataclass(frozen=True)
class Look:
    """What one file gave. `probe` is None when it isn't media (`error` None) or can't be decoded (`error` says why)."""

    found: FoundFile
    kind: Kind
    probe: ClipProbe | None = None
    error: DataError | None = None
    sha256: str | None = None
    thumbnail: str | None = None
    picture: PictureMeasures = field(default_factory=PictureMeasures)
    sound: SoundMeasures = field(default_factory=SoundMeasures)
    scene: list[str] = field(default_factory=list)


def look_at(found: FoundFile) -> Look:
    """Decode one file, once. A file that can't be decoded is a finding, not an exception."""
    expected = expected_kind(found.file)
    if found.problem is not None:
        return Look(found, "video", error=DataError(f"{found.path!r}: {found.problem}.", "Check its permissions."))
    if found.file.suffix.lower() in _TEXT_SUFFIXES:
        return Look(found, "other")
    picture, sound, thumbnail, scene = PictureMeasures(), SoundMeasures(), Thumbnail(), SceneSignatures()
    try:
        seen = probe(found.file, (picture, sound, thumbnail, scene))
        digest = _sha256(found.file)
    except DataError as error:
        return Look(found, expected, error=error if expected != "other" else None)
    return Look(found, seen.kind, seen, None, digest, thumbnail.data_uri(seen), picture, sound, scene.signatures)


def expected_kind(path: Path) -> Kind:
    """What a file's name promises."""
    suffix = path.suffix.lower()
    return next((kind for kind, suffixes in _MEDIA_SUFFIXES.items() if suffix in suffixes.split()), "other")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path.name!r} can't be read: {error.strerror}.", "Check the disk and try again.") from error
