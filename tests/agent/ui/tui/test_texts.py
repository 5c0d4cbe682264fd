"""What the screen knows without a screen: slash commands, dropped files, what a first run finds, the theme."""

from pathlib import Path

import pytest

from agent.session.slash import COMMANDS, completions, dropped_paths, parse
from agent.ui.tui.discover import look_around
from agent.ui.tui.themes import DARK, DARK_16, LIGHT, LIGHT_16, fitting_theme
from tools.media_types import MEDIA_SUFFIXES, SUFFIXES


def test_slash_commands_are_told_from_paths_and_words(tmp_path: Path) -> None:
    assert parse("hello") is None
    assert parse(f"{tmp_path}") is None
    assert parse("/plan") is not None
    parsed = parse("/model builtin")
    assert parsed is not None
    assert parsed.argument == "builtin"
    unknown = parse("/nonsense")
    assert unknown is not None
    assert unknown.command is None


def test_commands_complete_by_beginning_and_by_letters() -> None:
    assert [text for text, _ in completions("/cu")] == ["/curves"]
    assert "/samples" in [text for text, _ in completions("/smp")]
    assert len(completions("/")) == len(COMMANDS)
    assert completions("/compare 2026", runs=("20260101-1", "2025")) == [("/compare 20260101-1", "run")]


def test_dropped_files_are_known_however_a_terminal_writes_them(tmp_path: Path) -> None:
    clip = tmp_path / "it's a clip.mp4"
    clip.touch()
    quoted = "'" + str(clip).replace("'", "'\\''") + "'"
    escaped = str(clip).replace(" ", "\\ ").replace("'", "\\'")
    address = "file://" + str(clip).replace(" ", "%20").replace("'", "%27")
    for pasted in (quoted, escaped, address, f"{clip}\n", f"{quoted} {escaped}"):
        assert set(dropped_paths(pasted)) == {clip}, pasted
    for words in ("make it look like rain", "/no/such/file", "a" * 100_000, "it's"):
        assert dropped_paths(words) == []


def test_a_first_run_finds_clips_projects_and_models(tmp_path: Path) -> None:
    (tmp_path / "footage" / "day one").mkdir(parents=True)
    for name in ("a.mp4", "b.MOV", "c.wav"):
        (tmp_path / "footage" / "day one" / name).touch()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "ltx-2.3.safetensors").touch()
    (tmp_path / "ltx-projects" / "old").mkdir(parents=True)
    (tmp_path / "ltx-projects" / "old" / "project.json").touch()
    found = look_around(tmp_path, {})
    assert [(folder.path.name, folder.says) for folder in found.folders] == [("day one", "2 videos, 1 sound")]
    assert [path.name for path in found.projects] == ["old"]
    assert [path.name for path in found.models] == ["ltx-2.3.safetensors"]
    assert "rules" in found.answers
    assert (
        "m at http://here"
        in look_around(tmp_path, {"LTX_AGENT_MODEL": "m", "LTX_AGENT_BASE_URL": "http://here"}).answers
    )


@pytest.mark.parametrize("suffix", sorted(MEDIA_SUFFIXES - SUFFIXES["image"]))
def test_the_welcome_screen_finds_every_kind_of_file_that_inspection_takes(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"shot{suffix.upper()}").touch()
    assert [folder.path for folder in look_around(tmp_path, {}).folders] == [tmp_path]


def test_the_theme_fits_the_terminal() -> None:
    assert fitting_theme("truecolor", {}) == DARK
    assert fitting_theme("256", {"COLORFGBG": "0;15"}) == LIGHT
    assert fitting_theme("standard", {}) == DARK_16
    assert fitting_theme(None, {"COLORFGBG": "0;7"}) == LIGHT_16
