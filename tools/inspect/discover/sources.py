"""Finding the files to look at: folders, walked whole, and metadata files in upstream's columns. Only reads."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.inspect.discover.media_file import FoundFile, may_be_media
from tools.inspect.discover.metadata import METADATA_NAMES, METADATA_SUFFIXES, found_in_metadata
from tools.inspect.discover.names import displayed
from tools.inspect.discover.pairing import paired
from trainer_core.errors import ConfigError, DataError
from trainer_core.units import counted


def find_files(sources: list[str]) -> list[FoundFile]:
    """Return the files of all sources (folders, metadata files, single clips), in a stable order.

    Raises ConfigError for a source that doesn't exist, DataError for an empty folder or a metadata file that is wrong.
    """
    found: list[FoundFile] = []
    for source in sources:
        path = Path(os.path.abspath(Path(source).expanduser()))  # noqa: PTH100 (symbolic links stay as they are)
        if path.is_dir():
            found.extend(_in_folder(path))
        elif path.is_file() and path.suffix.lower() in METADATA_SUFFIXES:
            found.extend(found_in_metadata(path))
        elif path.is_file() and may_be_media(path):
            found.append(FoundFile(str(path.parent), path.name))
        elif path.exists():
            raise ConfigError(
                f"{displayed(str(path))} is neither a folder, nor a film, image or recording, nor a metadata file "
                f"({' '.join(METADATA_SUFFIXES)}).",
                "Give the folder that holds the clips, or one clip.",
            )
        else:
            raise ConfigError(f"There is no folder {displayed(str(path))}.", "Check the spelling of the path.")
    return list({entry.file: entry for entry in reversed(found)}.values())[::-1]


def refuse_without_media(found: Sequence[FoundFile], sources: Sequence[str]) -> None:
    """Raise DataError when no file can be a clip by its name or its first bytes; decodes nothing."""
    if not any(entry.problem is not None or entry.columns or may_be_media(entry.file) for entry in found):
        raise DataError(
            f"There is no video, image or sound in {', '.join(displayed(source) for source in sources)}, only "
            f"{counted(len(found), 'other file')}.",
            "Give the folder that holds the clips.",
        )


def _in_folder(folder: Path) -> list[FoundFile]:
    found = sorted(_walk(folder, folder, frozenset()), key=lambda entry: entry.path)
    metadata = [entry for entry in found if entry.file.name.lower() in METADATA_NAMES and entry.problem is None]
    if metadata:
        found = _with_metadata(folder, found, [row for entry in metadata for row in found_in_metadata(entry.file)])
    found = paired(found)
    if not found:
        raise DataError(f"The folder {displayed(str(folder))} is empty.", "Put video clips into it, or give another.")
    return found


def _with_metadata(folder: Path, found: list[FoundFile], rows: list[FoundFile]) -> list[FoundFile]:
    """The files of a folder with what the rows of metadata files in it say of them; what only a row names is added.

    Raises DataError when two rows speak of one file.
    """
    named: dict[str, FoundFile] = {}
    for row in rows:
        entry = row.moved_to(folder)
        before = named.get(entry.path)
        if before is not None and before.role == entry.role == "clip":
            raise DataError(
                f"Two metadata files in {displayed(str(folder))} have a row for `{displayed(entry.path)}`.",
                "Keep one row a clip.",
            )
        if before is None or entry.role == "clip":
            named[entry.path] = entry
    there = {entry.path for entry in found}
    merged = [named.get(entry.path, entry) for entry in found]
    return sorted([*merged, *(entry for path, entry in named.items() if path not in there)], key=lambda each: each.path)


def _walk(root: Path, folder: Path, inside: frozenset[tuple[int, int]]) -> Iterator[FoundFile]:
    """Yield every visible file below `folder`; `inside` are the folders on the way down, so that a loop ends."""
    relative = folder.relative_to(root)
    try:
        identity = folder.stat()
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        yield FoundFile(str(root), relative.as_posix(), problem=f"the folder can't be read: {error.strerror}")
        return
    here = (identity.st_dev, identity.st_ino)
    if here in inside:
        return
    for name in names:
        if name.startswith("."):
            continue
        if os.path.isdir(folder / name):  # noqa: PTH112 (a link to itself is no folder; Path.is_dir may raise)
            yield from _walk(root, folder / name, inside | {here})
        else:
            yield FoundFile(str(root), (relative / name).as_posix())
