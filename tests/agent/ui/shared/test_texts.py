"""What both faces know without a terminal: hunks, the schema's help, history, the clips' rows."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ui.shared import yaml_help
from agent.ui.shared.clips import clip_rows, matching
from agent.ui.shared.history import PromptHistory
from agent.ui.shared.hunks import hunks, with_hunks
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


@pytest.mark.parametrize(("text", "reason"), [("# Drafted.\nlora:\n", ""), ("model: {}\n# mine\nlora:\n", "mine")])
def test_a_comment_above_is_a_reason_unless_it_is_the_head_of_the_file(text: str, reason: str) -> None:
    found = yaml_help.hint(text, text.split("\n").index("lora:"))
    assert found is not None
    assert found.reason == reason


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


def test_clips_are_joined_with_captions_and_found_by_words(finished: Project) -> None:
    made = clip_rows(finished.report_path.read_text(), finished.captions_path.read_text(), None)
    assert [row.path for row in made] == ["rain.png", "street.png", "short.png"]
    assert [row.worst for row in made] == ["warn", "", "block"]
    assert [row.path for row in matching(made, "review")] == ["rain.png"]
    assert [row.path for row in matching(made, "tram left")] == ["street.png"]
    assert clip_rows("{half", None, None) == []
