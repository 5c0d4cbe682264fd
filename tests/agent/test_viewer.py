"""Showing a file with the system's program: only where one is meant for it and a display is there."""

from pathlib import Path

import pytest

from agent.ui.shared.viewer import open_with_system


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH; DISPLAY is set, and nobody came over SSH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    return folder


def program(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_on_linux_only_xdg_open_opens(programs: Path, tmp_path: Path) -> None:
    program(programs, "open")
    assert not open_with_system(tmp_path / "a.mp4"), "another program of macOS's name"
    program(programs, "xdg-open")
    assert open_with_system(tmp_path / "a.mp4")


@pytest.mark.parametrize(("name", "value"), [("DISPLAY", ""), ("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")])
def test_without_a_display_here_nothing_opens(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    program(programs, "xdg-open")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv(name, value)
    assert not open_with_system(tmp_path / "a.mp4")
