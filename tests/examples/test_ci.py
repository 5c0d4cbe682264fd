"""The CI examples do what they say: their shell lines run here, with the tiny model, and leave what they upload."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

CI = Path(__file__).parents[2] / "examples" / "ci"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cut_footage: Path) -> Path:
    """A checkout with two clips and the policy, after the GitHub job's lines."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "clips").mkdir()
    for clip in sorted(cut_footage.iterdir())[:2]:
        shutil.copy(clip, folder / "clips")
    shutil.copy(CI / "policy.yaml", folder)
    job = yaml.safe_load((CI / "github-actions.yml").read_text(encoding="utf-8"))["jobs"]["train"]
    for step in job["steps"]:
        if "run" in step:
            ran = run_lines(step["run"], folder, {**step.get("env", {}), "GOAL": "the look, 2 steps"})
            assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def run_lines(lines: str, folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a job's lines as a runner does; what comes from its vaults is empty here."""
    given = {name: "" if "${{" in str(value) else str(value) for name, value in variables.items()}
    environment = {**os.environ, **given, "GITHUB_STEP_SUMMARY": str(folder / "step-summary.md")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", lines],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_the_github_job_leaves_what_it_uploads(trained: Path) -> None:
    events = [json.loads(line) for line in (trained / "events.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} >= {"node", "tool", "approval", "progress", "alert", "result"}
    result = events[-1]
    assert (result["event"], result["exit_code"]) == ("result", 0)
    assert Path(result["artifacts"]["last_checkpoint"]).suffix == ".safetensors"
    assert "# ltx-agent: done" in (trained / "step-summary.md").read_text()
    assert ElementTree.parse(trained / "clips.xml").getroot().get("tests") == "2"
    assert json.loads((trained / "clips.sarif").read_text())["version"] == "2.1.0"
    granted = {event["approval"] for event in events if event["event"] == "approval" and event["granted"]}
    assert granted == {"captions", "plan", "rehearse", "start"}


def test_the_gitlab_job_run_again_finds_the_run_done(trained: Path) -> None:
    job = yaml.safe_load((CI / "gitlab-ci.yml").read_text(encoding="utf-8"))["train-adapter"]
    runs = sorted((trained / "project" / "runs").iterdir())
    for line in job["script"]:
        ran = run_lines(line, trained, {**job["variables"], "GOAL": "the look, 2 steps"})
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert sorted((trained / "project" / "runs").iterdir()) == runs


def test_what_the_policy_does_not_name_ends_with_4(trained: Path) -> None:
    (trained / "strict.yaml").write_text("approvals: [captions]\n")
    line = "ltx-agent run clips --headless --policy strict.yaml --project other"
    ran = run_lines(line, trained, {})
    assert ran.returncode == 4
    result = json.loads(ran.stdout.splitlines()[-1])
    assert result["exit_code"] == 4
    assert "`plan`" in result["error"]["message"]
    assert result["run"] is None
