"""What the screen knows without a screen: hunks, the schema's help, slash commands, history, dropped files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slash import COMMANDS, completions, dropped_paths, parse
from agent.tui import yaml_help
from agent.tui.clips import clip_rows, matching
from agent.tui.finding import look_around
from agent.tui.history import PromptHistory
from agent.tui.hunks import hunks, with_hunks
from agent.tui.themes import DARK, DARK_16, LIGHT, LIGHT_16, fitting_theme
from tools.project import Project

LINES = st.lists(st.sampled_from(["a: 1", "b: 2", "c: 3", "# why", "d: 4"]), max_size=12)


@given(LINES, LINES, st.data())
def test_any_choice_of_hunks_is_between_the_two_versions(
    before: list[str], after: list[str], data: st.DataObject
) -> None:
    old, new = "".join(f"{line}\n" for line in before), "".join(f"{line}\n" for line in after)
    found = hunks(old, new)
    assert with_hunks(old, new, range(len(found))) == new
    assert with_hunks(old, new, []) == old
    taken = data.draw(st.sets(st.sampled_from(range(len(found))))) if found else set()
    mixed = with_hunks(old, new, taken)
    assert len(hunks(old, mixed)) <= len(found)
    if 0 < len(taken) < len(found):
        assert with_hunks(mixed, new, range(len(hunks(mixed, new)))) == new


def test_the_digest_of_a_draft_is_no_change() -> None:
    assert hunks("a: 1\n\n# drafted-sha256: aa\n", "a: 1\n\n# drafted-sha256: bb\n") == []


def test_one_hunk_is_left_out() -> None:
    old, new = "rank: 8\nsteps: 100\nlr: 1\n", "rank: 16\nsteps: 100\nlr: 2\n"
    assert with_hunks(old, new, {0}) == "rank: 16\nsteps: 100\nlr: 1\n"


def test_a_hint_says_what_may_stand_there_and_why_it_stands_there(config_text: str) -> None:
    line = next(number for number, text in enumerate(config_text.split("\n")) if "rank:" in text)
    found = yaml_help.hint(config_text, line)
    assert found is not None
    assert (found.key, found.allowed) == ("lora.rank", "whole number from 1")
    assert found.reason == "few clips: a small adapter forgets less"


def test_problems_name_their_lines(config_text: str) -> None:
    assert yaml_help.problems(config_text) == []
    wrong = config_text.replace("steps: 400", "stepz: 400").replace("rank: 8 ", "rank: 0 ")
    found = {problem.line: problem.message for problem in yaml_help.problems(wrong)}
    lines = wrong.split("\n")
    assert {lines[line].split(":")[0].strip() for line in found} == {"rank", "stepz"}
    assert "did you mean `steps`?" in " ".join(found.values())


def test_a_line_that_is_no_yaml_is_named() -> None:
    (found,) = yaml_help.problems("model:\n  model_path: tiny\n  broken\nlora: {}\n")
    assert "not valid YAML" in found.message
    assert found.line in (2, 3)


@pytest.mark.parametrize(
    ("text", "place", "wanted"),
    [
        ("lora:\n  rank: 8\n  al", (2, 4), ["alpha: "]),
        ("optimization:\n  scheduler_type: cosine_", (1, 25), ["cosine_with_restarts"]),
        ("lo", (0, 2), ["lora: "]),
        ("training_strategy:\n  video:\n    conditions:\n      - type: first_", (3, 20), ["first_frame"]),
        ("model:\n  training_mode: l", (1, 18), ["lora"]),
        ("lora:\n  rank: 8  # al", (1, 14), []),
    ],
)
def test_the_schema_completes_keys_and_values(text: str, place: tuple[int, int], wanted: list[str]) -> None:
    assert [what for what, _ in yaml_help.completions(text, *place)] == wanted


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


def test_history_walks_as_a_shell_does_and_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = PromptHistory(path)
    for text in ("one", "two\nlines", "two\nlines"):
        history.add(text)
    again = PromptHistory(path)
    assert again.earlier("half-typed") == "two\nlines"
    assert again.earlier("") == "one"
    assert again.earlier("") is None
    assert again.later() == "two\nlines"
    assert again.later() == "half-typed"
    assert again.later() is None


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


def test_clips_are_joined_with_captions_and_found_by_words(finished: Project) -> None:
    made = clip_rows(finished.report_path.read_text(), finished.captions_path.read_text(), None)
    assert [row.path for row in made] == ["rain.png", "street.png", "short.png"]
    assert [row.worst for row in made] == ["warn", "", "block"]
    assert [row.path for row in matching(made, "review")] == ["rain.png"]
    assert [row.path for row in matching(made, "tram left")] == ["street.png"]
    assert clip_rows("{half", None, None) == []


def test_the_theme_fits_the_terminal() -> None:
    assert fitting_theme("truecolor", {}) == DARK
    assert fitting_theme("256", {"COLORFGBG": "0;15"}) == LIGHT
    assert fitting_theme("standard", {}) == DARK_16
    assert fitting_theme(None, {"COLORFGBG": "0;7"}) == LIGHT_16
