"""Files are whole or not there: atomic replacement, full disks, refused writes, and logs cut off by a crash."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer_core.errors import ConfigError, DataError, ExternalError
from trainer_core.files import (
    append_jsonl,
    read_json,
    read_jsonl,
    replacing,
    storage_error,
    write_json,
    write_jsonl,
    write_text,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB; only where this process may mount one."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that refuses writes, to root too where the file system knows the immutable flag."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(["chattr", "+i", str(folder)], capture_output=True, check=False).returncode == 0:
            yield folder
            subprocess.run(["chattr", "-i", str(folder)], check=True)
            return
    pytest.skip("root can write anywhere here")


def test_replacing_swaps_in_the_new_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "status.json"
    write_text(target, "old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["status.json"]


def test_replacing_keeps_the_old_file_when_the_body_raises(tmp_path: Path) -> None:
    target = tmp_path / "config.yaml"
    write_text(target, "old")

    def half_write() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise DataError("stop in the middle")

    with pytest.raises(DataError, match="stop in the middle"):
        half_write()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_replacing_gives_the_permissions_of_an_ordinary_new_file(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("")
    write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == ordinary.stat().st_mode


@pytest.mark.parametrize("name", ["with space", "quo\"te's", "new\nline", "emoji🎬", os.fsdecode(b"bytes\xff\xfe")])
def test_any_file_name_works_and_survives_as_content(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, {"path": name})
    write_jsonl(tmp_path / f"{name}.jsonl", [{"path": name}])
    append_jsonl(tmp_path / f"{name}.jsonl", {"path": f"{name}2"})
    assert read_json(tmp_path / name) == {"path": name}
    assert read_jsonl(tmp_path / f"{name}.jsonl") == [{"path": name}, {"path": f"{name}2"}]


def test_a_full_disk_keeps_the_old_file_and_is_an_external_error(small_disk: Path) -> None:
    target = small_disk / "report.json"
    write_text(target, "old")
    with pytest.raises(ExternalError, match="disk is full") as caught:
        write_text(target, "x" * 200_000)
    assert caught.value.exit_code == 6
    assert str(target) in caught.value.message
    assert "--project" in caught.value.hint
    assert target.read_text() == "old"
    assert [path.name for path in small_disk.iterdir()] == ["report.json"]


def test_weights_that_do_not_fit_on_the_disk_are_an_external_error(small_disk: Path) -> None:
    import torch

    from trainer_core.adapters import AdapterFacts, save_weights

    facts = AdapterFacts("2.3", "tiny", "tiny-1", "t2v", step=1, rank=4)
    with pytest.raises(ExternalError, match="disk is full"):
        save_weights(small_disk / "lora.safetensors", {"weight": torch.zeros(50_000)}, facts)
    assert list(small_disk.iterdir()) == []


def test_an_append_to_a_full_disk_is_an_external_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with pytest.raises(ExternalError, match="disk is full") as caught:
        append_jsonl(Path("/dev/full"), {"step": 1})
    assert caught.value.exit_code == 6


def test_an_append_that_only_half_fits_is_refused_and_leaves_the_log_readable(small_disk: Path) -> None:
    log = small_disk / "metrics.jsonl"
    append_jsonl(log, {"step": 1})
    (small_disk / "filler").write_bytes(b"x" * 48_000)
    with pytest.raises(ExternalError, match="disk is full"):
        append_jsonl(log, {"step": 2, "clips": ["y" * 40_000]})
    (small_disk / "filler").unlink()
    append_jsonl(log, {"step": 3})
    assert [row["step"] for row in read_jsonl(log)] == [1, 3]


def test_a_read_only_folder_is_wrong_usage(read_only_folder: Path) -> None:
    for write in (
        lambda: write_text(read_only_folder / "a.txt", "a"),
        lambda: append_jsonl(read_only_folder / "a.jsonl", {}),
    ):
        with pytest.raises(ConfigError, match="can't be written") as caught:
            write()
        assert caught.value.exit_code == 2
        assert str(read_only_folder) in caught.value.message
        assert caught.value.hint
    assert list(read_only_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind", "exit_code"),
    [
        (errno.ENOSPC, ExternalError, 6),
        (errno.EDQUOT, ExternalError, 6),
        (errno.EROFS, ConfigError, 2),
        (errno.EACCES, ConfigError, 2),
        (errno.EIO, ExternalError, 6),
    ],
)
def test_every_os_error_has_its_exit_code(number: int, kind: type[Exception], exit_code: int) -> None:
    error = storage_error(Path("/project/config.yaml"), OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert error.exit_code == exit_code
    assert "/project/config.yaml" in error.message


def test_read_jsonl_drops_a_half_written_last_line(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n\n{"step": 2, "text": "line\u2028separator"}\n{"step": 3, "lo')
    assert [row["step"] for row in read_jsonl(log)] == [1, 2]


def test_appending_after_a_half_written_line_loses_neither_the_old_rows_nor_the_new_one(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2, "lo')
    append_jsonl(log, {"step": 3})
    assert [row["step"] for row in read_jsonl(log)] == [1, 3]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\nnot json\n{"step": 3}\n')
    with pytest.raises(ConfigError, match="line 2"):
        read_jsonl(log)


def test_a_broken_json_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("{half")
    with pytest.raises(ConfigError, match=r"status\.json is not valid JSON"):
        read_json(tmp_path / "status.json")
