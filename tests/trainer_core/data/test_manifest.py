"""The manifest: what a kill at any moment leaves, and what a change is called."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from trainer_core.data.encoding import share
from trainer_core.data.encoding.cache import open_cache
from trainer_core.data.encoding.encode import encode_dataset
from trainer_core.data.encoding.manifest import Entry, difference, entry_of, open_manifest
from trainer_core.data.encoding.share import encode_shared
from trainer_core.data.windows import read_windows
from trainer_core.errors import ConfigError, DataError, ExternalError
from trainer_core.files import read_jsonl, write_jsonl


def write(cache, sample: str, caption: str, value: int = 0) -> Entry:
    entry = entry_of({"caption": caption})
    cache.write("latents", sample, entry, {"x": torch.full((2,), value)})
    return entry


def test_what_was_written_is_known_without_a_manifest(tmp_path):
    first = write(open_cache(tmp_path), "a", "one")
    assert not (tmp_path / "manifest.json").exists()
    assert open_cache(tmp_path).holds("latents", "a", first)
    open_manifest(tmp_path).compact()
    assert [path.name for path in tmp_path.glob("*.json*")] == ["manifest.json"]
    assert open_cache(tmp_path).holds("latents", "a", first)


@pytest.mark.parametrize("renamed", [True, False], ids=["killed after the rename", "killed before it"])
def test_a_kill_between_the_two_notes_leaves_the_entry_of_the_file_that_stands_there(tmp_path, renamed):
    cache = open_cache(tmp_path)
    old, new = write(cache, "a", "one"), entry_of({"caption": "two"})
    finished = tmp_path / "finished.pt"
    torch.save({"x": torch.ones(3)}, finished)
    cache.manifest.about_to_place("latents/a.pt", new, finished)
    if renamed:
        finished.replace(cache.path("latents", "a"))
    again = open_cache(tmp_path)
    assert again.holds("latents", "a", new if renamed else old)
    assert not again.holds("latents", "a", old if renamed else new)


def test_a_torn_line_of_the_journal_costs_nothing_else(tmp_path):
    cache = open_cache(tmp_path)
    first = write(cache, "a", "one")
    journal = next(tmp_path.glob("journal-*"))
    with journal.open("a") as file:
        file.write('{"file": "latents/b')
    second = write(open_cache(tmp_path), "b", "two")
    again = open_cache(tmp_path)
    assert again.holds("latents", "a", first)
    assert again.holds("latents", "b", second)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"fps": 24.0, "bucket": "a"}, {"fps": 25.0, "bucket": "a"}, "the frame rate changed from 24 to 25"),
        ({"caption": "x"}, {"caption": "y"}, "the caption changed"),
        (
            {"caption": "x", "trigger": None},
            {"caption": "y", "trigger": "ohwx"},
            "the trigger changed from none to ohwx",
        ),
        (
            {"video_vae": "1", "bucket": "64x64x9"},
            {"video_vae": "2", "bucket": "96x64x9"},
            "the video VAE changed and the size it is cut to changed from 64x64x9 to 96x64x9",
        ),
        ({}, {"mask": "1"}, "the mask file changed"),
    ],
)
def test_a_change_has_a_name(old, new, said):
    assert difference(entry_of(old), entry_of(new)) == said


def test_a_trigger_the_caption_holds_already_changes_nothing(tmp_path):
    assert (
        entry_of({"caption": "ohwx", "trigger": None}).fingerprint
        == entry_of({"caption": "ohwx", "trigger": "ohwx"}).fingerprint
    )


def test_a_manifest_of_the_first_version_is_read_and_its_files_made_anew(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 1, "files": {"latents/a.pt": "0f"}}))
    old = open_manifest(tmp_path).entries["latents/a.pt"]
    assert difference(old, entry_of({})) == "it was made by an older version of this program"


def test_an_encode_names_what_changed_before_it_makes_anything(encode_config, encode_rows):
    assert encode_dataset(encode_config).reasons == []
    rows = read_jsonl(encode_rows)
    write_jsonl(encode_rows, [{**rows[0], "caption": "Another."}, *rows[1:]])
    told: list[str] = []
    faster = encode_config.model_copy(
        update={"ltx_agent": encode_config.ltx_agent.model_copy(update={"frame_rate": 12.0})}
    )
    summary = encode_dataset(faster, tell=told.append)
    assert (
        told
        == summary.reasons
        == [
            "video latents: 6 of 6 redone because the frame rate changed from 24 to 12",
            "text features: 3 of 6 redone because the caption changed",
        ]
    )
    next((Path(faster.data.preprocessed_data_root) / "latents").rglob("*.pt")).unlink()
    assert encode_dataset(faster).reasons == ["video latents: 1 of 6 redone because the file was removed"]


def test_files_that_we_did_not_make_are_never_overwritten(encode_config):
    root = Path(encode_config.data.preprocessed_data_root)
    theirs = root / "latents" / f"{read_windows(encode_config)[0].name}.pt"
    theirs.parent.mkdir(parents=True)
    torch.save({"latents": torch.zeros(1)}, theirs)
    before = theirs.read_bytes()
    with pytest.raises(ConfigError, match=r"was not made by ltx-agent .* would overwrite it"):
        encode_dataset(encode_config)
    assert theirs.read_bytes() == before


def test_two_encodes_never_write_one_folder_at_once(encode_config):
    import fcntl

    root = Path(encode_config.data.preprocessed_data_root)
    root.mkdir(parents=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="Another process is encoding"):
            encode_dataset(encode_config)


def files_of(root: Path) -> dict[str, int]:
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("[!.]*.pt")}


def test_a_kill_at_any_moment_loses_no_finished_file(encode_config):
    assert encode_with_kills(encode_config, seed=7) >= 3


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_hundreds_of_kills_lose_no_finished_file(encode_config):
    root = Path(encode_config.data.preprocessed_data_root)
    kills, seed = 0, 0
    while kills < 300:
        kills += encode_with_kills(encode_config, seed)
        seed += 1
        shutil.rmtree(root)


def encode_with_kills(encode_config, seed: int) -> int:
    """Fork, encode, kill at a random moment, again and again: a file once there is never made a second time."""
    root = Path(encode_config.data.preprocessed_data_root)
    moments, kills, seen = random.Random(seed), 0, {}
    while True:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            torch.set_num_threads(1)
            try:
                encode_dataset(encode_config)
            finally:
                os._exit(0)
        ends_at = time.monotonic() + moments.uniform(0.02, 0.3 + 0.1 * kills)
        while (ended := os.waitpid(child, os.WNOHANG)[0] == child) is False and time.monotonic() < ends_at:
            time.sleep(0.002)
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
        now = files_of(root)
        assert all(now[name] == made for name, made in seen.items())
        seen = now
        if ended:
            break
    assert len(seen) == 18
    assert encode_dataset(encode_config).encoded == 0
    assert not list(root.rglob(".part-*"))
    assert not list(root.glob("journal-*"))
    return kills


def test_two_processes_make_the_same_cache_as_one(encode_config, tmp_path):
    alone = encode_config.model_copy(
        update={"data": encode_config.data.model_copy(update={"preprocessed_data_root": str(tmp_path / "alone")})}
    )
    encode_dataset(alone)
    progress: list[tuple[str, int, int]] = []
    summary = encode_shared(encode_config, 2, lambda *line: progress.append(line))
    assert (summary.samples, summary.encoded, summary.reused) == (6, 18, 0)
    assert ("video latents", 6, 6) in progress
    root = Path(encode_config.data.preprocessed_data_root)
    assert files_of(root).keys() == files_of(tmp_path / "alone").keys()
    for name in files_of(root):
        pair = [torch.load(folder / name, weights_only=True) for folder in (root, tmp_path / "alone")]
        assert pair[0].keys() == pair[1].keys()
        for key, value in pair[0].items():
            same = torch.equal(value, pair[1][key]) if isinstance(value, torch.Tensor) else value == pair[1][key]
            assert same, (name, key)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (root, tmp_path / "alone")]
    assert manifests[0] == manifests[1]


def test_what_one_of_two_processes_refuses_is_raised_here(encode_config, monkeypatch):
    lines = [
        '{"tell": "because"}',
        "a library says this",
        '{"error": "DataError", "message": "no sound.", "hint": "Go."}',
    ]

    def start(_config, rank, _processes, _port):
        said = "print(" + repr("\n".join(lines)) + ")" if rank else "import time; time.sleep(60)"
        return subprocess.Popen([sys.executable, "-c", said], stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(share, "_start", start)
    told: list[str] = []
    with pytest.raises(DataError, match="no sound"):
        encode_shared(encode_config, 2, tell=told.append)
    assert told == ["because"]
    with pytest.raises(ExternalError, match="Process 0 of the encode ended with code -9"):
        killed_at_once(encode_config, monkeypatch)


def killed_at_once(config, monkeypatch):
    def start(_config, rank, _processes, _port):
        said = "import os; os.kill(os.getpid(), 9)" if rank == 0 else "import time; time.sleep(60)"
        return subprocess.Popen([sys.executable, "-c", said], stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(share, "_start", start)
    encode_shared(config, 2)


def test_an_interrupt_leaves_a_cache_that_goes_on(encode_config):
    def stop_in_the_middle(what: str, done: int, total: int) -> None:
        if what == "audio latents" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_dataset(encode_config, stop_in_the_middle)
    assert encode_dataset(encode_config).encoded == 18 - 6 - 3


def test_the_child_says_what_is_wrong_and_how_it_ended(tmp_path):
    command = [sys.executable, "-P", "-m", "trainer_core.data.encoding.share", str(tmp_path / "none.yaml")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 2
    assert json.loads(ran.stdout)["error"] == "ConfigError"
