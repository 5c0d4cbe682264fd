"""Manifest of the cache: each file's fingerprints and the facts behind them, safe against a kill at any moment.

`manifest.json` holds the whole; while an encode runs, each process adds to a `journal-<rank>.jsonl` beside it: one line
before a file is put in place, with the state that it will have there, and one after. A kill between the two costs
nothing: the file itself tells whether it is the new one.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer_core.errors import ConfigError
from trainer_core.files import append_jsonl, read_json, read_jsonl, write_json

CODE_VERSION = 2
"""Part of every fingerprint: raise it when the encoding itself changes."""
NOTES = frozenset({"trigger"})
"""Facts that explain others and are no part of the fingerprint: a trigger acts only through the caption."""

WORDS = {
    "code": "the program's way of encoding",
    "source": "the clip's content",
    "start_s": "the second its sample begins at",
    "duration_s": "its sample's length in seconds",
    "bucket": "the size it is cut to",
    "fps": "the frame rate",
    "video_vae": "the video VAE",
    "audio_vae": "the audio VAE",
    "text_encoder": "the text encoder",
    "connectors": "the text projection",
    "precision": "the text encoder's precision",
    "caption": "the caption",
    "trigger": "the trigger",
    "reference": "the reference file",
    "scales": "the reference's scales (space, time)",
    "mask": "the mask file",
    "sound": "the sound file",
    "factors": "the size of a latent cell",
}
"""Each fact in a person's words."""
_SHOWN = frozenset({"start_s", "duration_s", "bucket", "fps", "scales", "trigger", "code"})
"""Facts whose values tell a person something."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """Sources of one file. Entries of older versions have no facts."""

    fingerprint: str
    facts: Facts = field(default_factory=dict)


@dataclass
class Manifest:
    """The entries of the cache at `root` by file name (`<directory>/<sample>.pt`); `rank` writes its own journal."""

    root: Path
    entries: dict[str, Entry]
    rank: int = 0

    def about_to_place(self, name: str, entry: Entry, finished: Path) -> None:
        """Note that `finished` (whole, fsynced) will now be renamed to `name`."""
        state = finished.stat()
        row = {"file": name, "fingerprint": entry.fingerprint, "facts": entry.facts}
        append_jsonl(self._journal, {**row, "size": state.st_size, "mtime_ns": state.st_mtime_ns})

    def placed(self, name: str, entry: Entry) -> None:
        """Note that the file stands in its place."""
        append_jsonl(self._journal, {"placed": name})
        self.entries[name] = entry

    @property
    def has_journals(self) -> bool:
        """True if a run before was cut off, or one goes on."""
        return bool(_journals(self.root))

    def compact(self) -> None:
        """Write the whole manifest, the journals of all ranks included, and remove them. For one process alone."""
        entries = _read_entries(self.root)
        files = {name: {"fingerprint": one.fingerprint, "facts": one.facts} for name, one in sorted(entries.items())}
        write_json(self.root / "manifest.json", {"version": CODE_VERSION, "files": files})
        for journal in _journals(self.root):
            journal.unlink()
        self.entries = entries

    @property
    def _journal(self) -> Path:
        return self.root / f"journal-{self.rank:03d}.jsonl"


def open_manifest(root: Path, rank: int = 0) -> Manifest:
    """Read what the cache at `root` holds; without a manifest (an upstream folder) nothing has a fingerprint."""
    return Manifest(root, _read_entries(root), rank)


def refuse_foreign(root: Path, names: Iterable[str]) -> None:
    """Raise ConfigError when files that would be written are there already and were not made by us."""
    if (root / "manifest.json").exists() or _journals(root):
        return
    foreign = next((name for name in names if (root / name).exists()), None)
    if foreign is not None:
        raise ConfigError(
            f"{root / foreign} was not made by ltx-agent (there is no manifest), and encoding would overwrite it.",
            "Set data.preprocessed_data_root to another folder, or ltx_agent.dataset to null to train on it as it is.",
        )


def fingerprint(facts: Facts) -> str:
    """Return a short digest of everything a cached file is made from."""
    counted = {name: value for name, value in facts.items() if name not in NOTES}
    text = json.dumps({"code": CODE_VERSION, **counted}, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:32]


def entry_of(facts: Facts) -> Entry:
    """The entry of a file made from `facts`."""
    return Entry(fingerprint(facts), {"code": CODE_VERSION, **facts})


def difference(old: Entry, new: Entry) -> str:
    """Say in words what changed between two entries of one file."""
    if not old.facts:
        return "it was made by an older version of this program"
    names = [name for name in {**old.facts, **new.facts} if old.facts.get(name) != new.facts.get(name)]
    if "trigger" in names and "caption" in names:
        names.remove("caption")  # which changed because the trigger did
    elif "trigger" in names:
        names.remove("trigger")
    named = [_change(name, old.facts.get(name), new.facts.get(name)) for name in names]
    return " and ".join(named) or "its fingerprint changed"


def _change(name: str, old: Any, new: Any) -> str:
    what = WORDS.get(name, name)
    return f"{what} changed from {_shown(old)} to {_shown(new)}" if name in _SHOWN else f"{what} changed"


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _read_entries(root: Path) -> dict[str, Entry]:
    path = root / "manifest.json"
    files = read_json(path).get("files", {}) if path.exists() else {}
    entries = {
        name: Entry(stored) if isinstance(stored, str) else Entry(stored["fingerprint"], stored["facts"])
        for name, stored in files.items()
    }
    for journal in _journals(root):
        pending: dict[str, dict[str, Any]] = {}
        for row in read_jsonl(journal):
            if "file" in row:
                pending[row["file"]] = row
            elif (done := pending.pop(row["placed"], None)) is not None:
                entries[row["placed"]] = Entry(done["fingerprint"], done["facts"])
        for name, row in pending.items():  # the process was killed on the way: which file stands there?
            if _state(root / name) == (row["size"], row["mtime_ns"]):
                entries[name] = Entry(row["fingerprint"], row["facts"])
    return entries


def _journals(root: Path) -> list[Path]:
    return sorted(root.glob("journal-*.jsonl"))


def _state(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns
