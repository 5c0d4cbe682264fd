"""The console script as a person runs it: exit codes, one clear sentence, one JSON document."""

import importlib.util
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.monitor.find import newest_run
from tools.project import Project
from trainer_core.run_folder import LIVE_STATES

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "ltx-agent"
Ran = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("make_clips", ROOT / "examples" / "make_clips.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("made")
    module.make_clips(folder, 2)
    return folder


@pytest.fixture
def clips(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "my clips"))


def read_only_folder(folder: Path) -> Path:
    """A folder that can't be written: for root, whom no mode stops, the one that the kernel keeps."""
    if os.geteuid() == 0:
        return Path("/sys")
    folder.mkdir(mode=0o500)
    return folder


def test_prepare_leaves_the_project(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in clips.rglob("*") if path.is_file()}
    ran = ltx("prepare", clips, "--yes", "--goal", "the look of these clips, 7 steps")
    assert ran.returncode == 0, ran.stderr
    project = tmp_path / "ltx-projects" / "my clips"
    for name in ("project.json", "report.json", "captions.jsonl", "dataset.jsonl", "config.yaml", "plan.md"):
        assert (project / name).stat().st_size > 0
    assert ran.stdout.strip().split("\n")[-1] == "Next: ltx-agent train 'ltx-projects/my clips'"
    assert "steps: 7" in (project / "config.yaml").read_text()
    assert {path: path.read_bytes() for path in clips.rglob("*") if path.is_file()} == before


def test_a_goal_nobody_understands_is_a_question_and_no_plan(
    ltx: Callable[..., Ran], clips: Path, tmp_path: Path
) -> None:
    asked = ltx("prepare", clips, "--yes", "--goal", "wibble flurb")
    assert asked.returncode == 4
    assert "1. new shots from a text prompt" in asked.stdout
    assert "name the objective with --objective" in asked.stderr
    project = tmp_path / "ltx-projects" / "my clips"
    assert not (project / "captions.jsonl").exists()
    assert not (project / "config.yaml").exists()
    named = ltx("prepare", clips, "--yes", "--goal", "wibble flurb", "--objective", "t2v")
    assert named.returncode == 0, named.stderr


def test_without_a_goal_and_without_anybody_to_ask_the_plan_says_what_was_assumed(
    ltx: Callable[..., Ran], clips: Path, tmp_path: Path
) -> None:
    ran = ltx("prepare", clips, "--yes")
    assert ran.returncode == 0, ran.stderr
    plan = (tmp_path / "ltx-projects" / "my clips" / "plan.md").read_text()
    assert "| nothing about what to learn | the likeliest for these clips: it learns to make new shots" in plan


def test_json_is_one_document_and_a_second_prepare_reuses(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    first = json.loads(ltx("prepare", clips, "--yes", "--json").stdout)
    again = json.loads(ltx("prepare", clips, "--yes", "--json").stdout)
    assert set(first) == {"project", "artifacts", "summary", "next"}
    assert first["summary"]["caption"]["written"] == 2
    assert again["summary"]["caption"]["kept"] == 2
    assert Path(first["artifacts"]["config"]).exists()
    assert first["next"] == "ltx-agent train 'ltx-projects/my clips'"


def test_an_approval_is_needed(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    ran = ltx("prepare", clips)
    assert ran.returncode == 4
    assert "approval `captions` is needed" in ran.stderr
    assert (tmp_path / "ltx-projects/my clips/captions.jsonl").exists()
    assert not (tmp_path / "ltx-projects/my clips/config.yaml").exists()


def test_a_conversation_takes_up_where_prepare_stopped(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    ltx("prepare", clips)
    ran = ltx(
        "chat", "--plain", answers=["yes", "use 9 steps", "yes", "no", "no", "what does rank mean?", "blorb", "quit"]
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Is this plan right?") == 2
    assert "steps: 9" in (tmp_path / "ltx-projects/my clips/config.yaml").read_text()
    assert "Nothing was started" in ran.stdout
    assert "how much it can hold" in ran.stdout
    assert 'I did not understand "blorb"' in ran.stdout
    assert not (tmp_path / "ltx-projects/my clips/runs").exists()


def test_a_conversation_asks_for_the_clips(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    ran = ltx(stdin="no such folder\nmy clips\nimage to video\n")
    assert ran.returncode == 0, ran.stderr
    assert "There is no folder" in ran.stdout
    assert "Tool: inspect_clips()" in ran.stdout
    assert "Are these captions right?" in ran.stdout
    assert json.loads((tmp_path / "ltx-projects/my clips/project.json").read_text())["goal"] == "image to video"


def test_a_question_put_first_is_answered_and_is_not_the_goal(
    ltx: Callable[..., Ran], clips: Path, tmp_path: Path
) -> None:
    ran = ltx("chat", clips, "--plain", stdin="what is rank?\n/help\nhow much will it cost?\nimage to video\n")
    assert ran.returncode == 0, ran.stderr
    assert "how much it can hold" in ran.stdout
    assert "/goal TEXT" in ran.stdout
    assert "there is none yet" in ran.stdout
    assert "I did not understand" not in ran.stdout
    assert ran.stdout.count("What shall the adapter learn?") == 4
    assert "Are these captions right?" in ran.stdout
    assert json.loads((tmp_path / "ltx-projects/my clips/project.json").read_text())["goal"] == "image to video"


def test_leaving_before_a_goal_looks_at_nothing(ltx: Callable[..., Ran], clips: Path) -> None:
    ran = ltx("chat", clips, "--plain", stdin="quit\n")
    assert ran.returncode == 0, ran.stderr
    assert "Tool:" not in ran.stdout


def test_the_steps_one_by_one(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    project = tmp_path / "p"
    assert json.loads(ltx("inspect", clips, "--project", project, "--json").stdout)["usable"] == 2
    assert json.loads(ltx("caption", project, "--trigger", "ohwx", "--json").stdout)["trigger"] == "ohwx"
    assert json.loads(ltx("draft", project, "--steps", "5", "--json").stdout)["objective"] == "t2v"
    assert "steps: 5" in (project / "config.yaml").read_text()
    wrong = ltx("draft", project, "--learning-rate", "3")
    assert wrong.returncode == 2
    assert "--learning-rate" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["prepare", "nowhere"], 2, "There is no folder"),
        (["prepare", "empty", "--yes"], 3, "is empty"),
        (["prepare", "texts", "--yes"], 3, "no video, image or sound"),
        (["prepare", "my clips", "--project", "my clips/inside"], 2, "never written to"),
        (["prepare", "my clips", "--objective", "colour"], 2, "There is no objective 'colour'"),
        (["prepare", "my clips", "--model", "nowhere.safetensors"], 2, "There is no model"),
        (["prepare", "my clips", "--llm", "some-model"], 2, "has no endpoint"),
        (["status"], 2, "There is no project"),
        (["status", "nowhere"], 2, "There is no folder"),
        (["train"], 2, "There is no project"),
        (["train", "my clips"], 2, "not a project"),
        (["stop"], 2, "There is no project"),
        (["chat", "nowhere"], 2, "There is no folder"),
        (["prepare"], 2, "CLIPS"),
        (["fly"], 2, "fly"),
    ],
)
def test_wrong_input_is_one_clear_sentence(
    ltx: Callable[..., Ran], clips: Path, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no clip")
    ran = ltx(*arguments)
    assert ran.returncode == code, ran.stderr
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.strip().split("\n")) <= 4
    if code == 2:
        assert not (tmp_path / "ltx-projects").exists()


def test_an_error_with_json_is_one_document_too(ltx: Callable[..., Ran], clips: Path) -> None:
    ran = ltx("prepare", "nowhere", "--json")
    assert json.loads(ran.stdout)["error"]["exit_code"] == ran.returncode == 2
    waiting = ltx("prepare", clips, "--json")
    assert json.loads(waiting.stdout)["error"]["exit_code"] == waiting.returncode == 4


def test_a_read_only_project_is_refused(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    ran = ltx("prepare", clips, "--yes", "--project", read_only_folder(tmp_path / "locked") / "p")
    assert ran.returncode == 2
    assert "can't be written" in ran.stderr


def test_a_project_is_made_of_one_folder(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    ltx("inspect", clips, "--project", "p")
    other = shutil.copytree(clips, tmp_path / "other")
    ran = ltx("prepare", other, "--project", "p", "--yes")
    assert ran.returncode == 2
    assert "was made from" in ran.stderr


def test_a_broken_project_file_is_named(ltx: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for text in ("{", '{"sources": [], "colour": 1}'):
        (tmp_path / "p" / "project.json").write_text(text)
        ran = ltx("train", "p")
        assert ran.returncode == 2
        assert "project.json" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_hostile_names_never_reach_the_terminal(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    hostile = b"a\x1b[31m\n\xe2\x80\xae\xff 'q' \"d\" \xf0\x9f\x8e\xac.mp4"
    shutil.copy(next(clips.glob("*.mp4")), clips / os.fsdecode(hostile))
    project = os.fsencode(tmp_path) + b"/p\x1b[32m\xfe"
    ran = ltx("prepare", clips, "--yes", "--project", project)
    assert ran.returncode == 0, ran.stderr
    for character in ("\x1b", "\u202e", "\udcff", "\udcfe"):
        assert character not in ran.stdout + ran.stderr
    assert ran.stdout.strip().endswith(r"ltx-agent train $'p\x1b[32m\xfe'")
    document = json.loads(ltx("prepare", clips, "--yes", "--project", project, "--json").stdout)
    assert os.fsencode(document["project"]) == project


def test_a_closed_stdin_is_no_defect(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$0" --help <&-', str(SCRIPT)]  # as some job schedulers start programs
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "prepare" in ran.stdout


def test_a_defect_leaves_its_traceback_in_a_file(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    code = f"""
import sys, agent.session.projects
def broken(*arguments, **wishes): raise RuntimeError("unforeseen")
agent.session.projects.project_of = broken
from agent.cli.main import main
sys.argv = ["ltx-agent", "prepare", {str(clips)!r}]
main()
"""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.strip().split("\n")) == 1
    log = next((tmp_path).rglob("crash-*.log"))
    assert str(log) in ran.stderr
    assert "unforeseen" in log.read_text()
    assert "Traceback" in log.read_text()


def test_ctrl_c_leaves_the_run_going_and_status_finds_it(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    ltx("prepare", clips, "--yes", "--goal", "2 steps")
    with subprocess.Popen([SCRIPT, "train", "--wait"], cwd=tmp_path, stdout=-1, stderr=-1, text=True) as following:
        assert following.stdout is not None
        assert "has started" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=30)
    assert following.returncode == 130
    assert "Detached" in said
    run = newest_run(Project(tmp_path / "ltx-projects" / "my clips"))
    deadline = time.monotonic() + 100
    while run.read_status().state in LIVE_STATES and time.monotonic() < deadline:
        time.sleep(0.2)
    shown = ltx("status")
    assert "is done: step 2 of 2" in shown.stdout, shown.stdout
    assert "Adapter: " in shown.stdout
    document = json.loads(ltx("status", "--json").stdout)
    assert document["state"] == "done"
    assert document["verdict"]["kind"] == "unsure"
    assert "was not going on" in ltx("stop").stdout


def test_a_run_that_failed_exits_5(ltx: Callable[..., Ran], clips: Path, tmp_path: Path) -> None:
    ltx("prepare", clips, "--yes", "--goal", "2 steps")
    (tmp_path / "ltx-projects" / "my clips" / "dataset.jsonl").unlink()
    ran = ltx("train", "--wait")
    assert ran.returncode == 5, ran.stdout + ran.stderr
    assert "failed" in ran.stderr
    assert "trainer.log" in ran.stderr


def test_encode_needs_a_plan(ltx: Callable[..., Ran], clips: Path) -> None:
    ltx("inspect", clips)
    ran = ltx("encode")
    assert ran.returncode == 2
    assert "config.yaml" in ran.stderr


def test_on_a_terminal_the_approvals_are_asked(clips: Path, tmp_path: Path) -> None:
    person, terminal = pty.openpty()
    command = [str(SCRIPT), "prepare", str(clips), "--llm", "builtin"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=terminal, stdout=terminal, stderr=terminal) as asking:
        os.close(terminal)
        seen = b""
        try:
            for question, answer in (
                (b"Your answer > ", b"the look of these clips\n"),
                (b"Are these captions right? [y/n] > ", b"y\n"),
                (b"Is this plan right? [y/n] > ", b"y\n"),
            ):
                seen += _read_until(person, question)
                os.write(person, answer)
            seen += _read_until(person, b"Next: ltx-agent train")
            assert asking.wait(timeout=60) == 0
        finally:
            asking.kill()
    os.close(person)
    assert b"\xe2\x94\x81" in seen  # the bar was drawn


def _read_until(terminal: int, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, seen
        seen += os.read(terminal, 65536)
    return seen
