"""References, masks and sound of clips, found by the names of files and folders.

`shot.mp4` owns `shot_ref.mp4`, `shot_mask.mp4`, `shot.wav` beside it, and `references/shot.mov`, `masks/shot.mp4` in a
folder beside its own. What a metadata row says goes before.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from tools.inspect.discover.media_file import FoundFile, expected_kind
from tools.inspect.report.report import Role

FOLDERS: dict[str, Role] = {
    "reference": "reference_video",
    "references": "reference_video",
    "ref": "reference_video",
    "refs": "reference_video",
    "control": "reference_video",
    "controls": "reference_video",
    "reference_video": "reference_video",
    "reference_videos": "reference_video",
    "reference_audio": "reference_audio",
    "reference_audios": "reference_audio",
    "mask": "video_mask",
    "masks": "video_mask",
    "video_mask": "video_mask",
    "video_masks": "video_mask",
    "audio_mask": "audio_mask",
    "audio_masks": "audio_mask",
    "audio": "audio",
    "audios": "audio",
    "sound": "audio",
    "sounds": "audio",
}
ENDINGS: dict[str, Role] = {
    "reference": "reference_video",
    "ref": "reference_video",
    "control": "reference_video",
    "reference_video": "reference_video",
    "reference_audio": "reference_audio",
    "ref_audio": "reference_audio",
    "mask": "video_mask",
    "video_mask": "video_mask",
    "audio_mask": "audio_mask",
    "audio": "audio",
    "sound": "audio",
}
SEPARATORS = "_-. "
CLIP_FOLDERS = frozenset(
    {"clip", "clips", "video", "videos", "media", "footage", "source", "sources", "target", "targets"}
)
SOUNDING: dict[Role, Role] = {"reference_video": "reference_audio", "video_mask": "audio_mask"}
"""What a file of sound is where pictures would be the first."""


def paired(found: Sequence[FoundFile]) -> list[FoundFile]:
    """Return the same files with their roles, clips with the files that belong to them.

    A file in a folder of references, masks or sound has that role even where no clip has its name, if other files of
    that folder have theirs; a file with such an ending only if its clip is there.
    """
    clips = [entry for entry in found if entry.role == "clip" and entry.problem is None]
    by_name: dict[tuple[str, str], list[FoundFile]] = {}
    for entry in clips:
        by_name.setdefault(_name(entry.path), []).append(entry)
    taken = {path for entry in found for path in entry.columns.values()}
    roles: dict[str, tuple[Role, str | None, str]] = {}
    for entry in clips:
        found_role = None if entry.path in taken or entry.columns else _role(entry, by_name)
        if found_role is not None:
            roles[entry.path] = found_role
    matched = {_folder_of(path) for path, (_, owner, how) in roles.items() if owner is not None and how == "folder"}
    columns: dict[str, dict[str, str]] = {}
    for path, (role, owner, how) in list(roles.items()):
        if owner is None and _folder_of(path) not in matched:
            del roles[path]
        elif owner is not None and (owner in roles or role in columns.setdefault(owner, {})):
            roles[path] = role, None, how
        elif owner is not None:
            columns[owner][role] = path
    result = []
    for entry in found:
        if entry.path in roles:
            role, _, how = roles[entry.path]
            result.append(replace(entry, role=role, paired_by=how))
        elif columns.get(entry.path):
            how = roles[next(iter(columns[entry.path].values()))][2]
            own = {**columns[entry.path], **entry.columns}
            result.append(replace(entry, columns=own, paired_by=entry.paired_by or how))
        else:
            result.append(entry)
    return result


def _role(entry: FoundFile, by_name: dict[tuple[str, str], list[FoundFile]]) -> tuple[Role, str | None, str] | None:
    """The file's role, the clip that it belongs to, and how that was found; None for a clip of its own."""
    kind = expected_kind(entry.file)
    if kind == "other":
        return None
    folder, stem = _name(entry.path)
    parts = PurePosixPath(folder).parts
    for depth, part in enumerate(parts):
        role = FOLDERS.get(part.casefold())
        if role is not None:
            role = _fitting(role, kind)
            if role is None:
                return None
            beside, below = parts[:depth], parts[depth + 1 :]
            folders = [beside + below, *((*beside, name, *below) for name in sorted(CLIP_FOLDERS))]
            for candidate in folders:
                owner = _owner(entry, by_name.get(("/".join(candidate), _without_ending(stem) or stem), []))
                owner = owner or _owner(entry, by_name.get(("/".join(candidate), stem), []))
                if owner is not None:
                    return role, owner, "folder"
            return role, None, "folder"
    bare = _without_ending(stem)
    if bare is not None:
        role = _fitting(ENDINGS[stem[len(bare) + 1 :]], kind)
        owner = _owner(entry, by_name.get((folder, bare), []))
        if owner is not None and role is not None:
            return role, owner, "name"
    if kind == "audio":
        pictures = [other for other in by_name.get((folder, stem), []) if expected_kind(other.file) == "video"]
        owner = _owner(entry, pictures)
        if owner is not None:
            return "audio", owner, "name"
    return None


def _fitting(role: Role, kind: str) -> Role | None:
    """The role that a file of this kind can have."""
    if kind == "audio":
        return SOUNDING.get(role, role)
    return None if role in ("reference_audio", "audio_mask") and kind == "image" else role


def _owner(entry: FoundFile, candidates: Sequence[FoundFile]) -> str | None:
    others = [other for other in candidates if other.path != entry.path and expected_kind(other.file) != "other"]
    pictures = [other for other in others if expected_kind(other.file) == "video"]
    chosen = pictures or others
    return chosen[0].path if chosen else None


def _without_ending(stem: str) -> str | None:
    """What stands before an ending such as `_mask`; None without one."""
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if stem.endswith(ending) and len(stem) > len(ending) + 1 and stem[-len(ending) - 1] in SEPARATORS:
            return stem[: -len(ending) - 1]
    return None


def _name(path: str) -> tuple[str, str]:
    """Folder and name without its suffix, in small letters."""
    folder, _, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return folder.casefold(), (stem if dot and stem else name).casefold()


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]
