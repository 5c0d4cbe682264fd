from collections.abc import Callable
from pathlib import Path

import pytest

from tools.monitor.find import find_run, resolve_run
from tools.project import Project, ProjectFacts
from trainer_core.errors import ConfigError
from trainer_core.run_folder import RunFolder, RunStatus

DONE = RunStatus("done")


def _run(project: Project, run_id: str) -> RunFolder:
    run = RunFolder(project.runs_path / run_id)
    run.write_status(DONE)
    return run


def test_project_means_its_newest_run_also_within_one_second(project: Project) -> None:
    for run_id in ("20260101-000000-2", "20260101-000000-10", "20260101-000000", "20251231-235959-999"):
        _run(project, run_id)
    assert resolve_run(project.path).id == "20260101-000000-10"
    assert find_run(project, None).id == "20260101-000000-10"
    assert find_run(project, "20251231-235959-999").id == "20251231-235959-999"


def test_run_folder_means_itself(project: Project) -> None:
    run = _run(project, "20260101-000000")
    _run(project, "20260202-000000")
    assert resolve_run(run.path) == run


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _path: None, "There is no folder"),
        (lambda path: path.mkdir(), "neither a project"),
        (lambda path: Project(path).write_facts(ProjectFacts(sources=[])), "has no run yet"),
    ],
    ids=["missing", "foreign", "project without runs"],
)
def test_what_is_no_run_is_said(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    target = tmp_path / "x"
    make(target)
    with pytest.raises(ConfigError, match=message) as caught:
        resolve_run(target)
    assert caught.value.hint


def test_unknown_run_id_lists_the_known_ones_and_no_path_gets_out(project: Project) -> None:
    _run(project, "20260101-000000")
    for run_id in ("20990101-000000", "../../etc"):
        with pytest.raises(ConfigError, match="has no run") as caught:
            find_run(project, run_id)
        assert "20260101-000000" in caught.value.hint


def test_no_target_means_the_current_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(project, "20260101-000000")
    monkeypatch.chdir(project.path)
    assert resolve_run(None) == run
    monkeypatch.chdir(run.path)
    assert resolve_run(None) == run


def test_no_target_means_the_newest_run_under_ltx_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="There is no project"):
        resolve_run(None)
    older, newer = (Project(tmp_path / "ltx-projects" / name) for name in ("b", "a"))
    for project in (older, newer):
        project.write_facts(ProjectFacts(sources=[]))
    with pytest.raises(ConfigError, match="has a run yet"):
        resolve_run(None)
    _run(older, "20260101-000000")
    newest = _run(newer, "20260303-000000")
    assert resolve_run(None) == newest
