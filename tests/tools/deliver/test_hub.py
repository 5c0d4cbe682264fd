"""Pushing through the real Hub client to a local stand-in of its API."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.deliver.export import ExportAdapterArguments, export_run
from tools.deliver.hub import PushArguments, preview_run, push_run
from trainer_core.errors import ConfigError, ExternalError
from trainer_core.run_folder import RunFolder


@pytest.fixture(scope="module")
def exported_run(make_run: Callable[..., RunFolder]) -> RunFolder:
    run = make_run()
    export_run(run, ExportAdapterArguments())
    return run


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch, load_hub_server: type) -> type:
    monkeypatch.setenv("HF_TOKEN", "hf_not-a-real-token")
    # the stand-in speaks the Hub's HTTP API; the client's chunk store is a protocol of its own
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    return load_hub_server


def test_what_is_pushed_is_the_export_byte_for_byte(
    exported_run: RunFolder, hub_server: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        result = push_run(exported_run, PushArguments(repo_id="owner/name"))
        assert server.created[0]["visibility"] == "private"
    folder = exported_run.path / "export"
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert server.files == there
    assert sorted(there) == result.files
    assert result.url.endswith("/commit/abc")
    assert server.tokens - {None} == {"Bearer hf_not-a-real-token"}
    assert not any("hf_not" in path for _, path in server.requests)
    for path in exported_run.path.rglob("*"):
        assert not path.is_file() or b"hf_not-a-real" not in path.read_bytes()


def test_a_refusal_is_said_in_words(exported_run: RunFolder, hub_server: type, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server(refuse=403) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(ExternalError, match=r"refused owner/name \(HTTP 403\)") as error:
            push_run(exported_run, PushArguments(repo_id="owner/name"))
    assert "may not write" in error.value.hint
    assert not server.files


def test_a_hub_that_is_not_there(exported_run: RunFolder, hub_server: type, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server() as server:
        url = server.url
    monkeypatch.setenv("HF_ENDPOINT", url)
    with pytest.raises(ExternalError, match="can't be reached"):
        push_run(exported_run, PushArguments(repo_id="owner/name"))


def test_the_card_of_a_push_names_files_size_and_audience(exported_run: RunFolder) -> None:
    preview = preview_run(exported_run, PushArguments(repo_id="owner/name"))
    assert preview.question.startswith("Push ")
    assert "private" in preview.lines[0]
    assert any(line.startswith("README.md") for line in preview.lines)
    assert preview.costs[0].value
    assert "everybody" in preview_run(exported_run, PushArguments(repo_id="o/n", public=True)).lines[0]


def test_nothing_to_push_and_nowhere_to(run: RunFolder, exported_run: RunFolder) -> None:
    with pytest.raises(ConfigError, match="has no export yet"):
        preview_run(run, PushArguments(repo_id="o/n"))
    for name in (None, "name", "a/b/c", "/b"):
        with pytest.raises(ConfigError, match="names no repository"):
            preview_run(exported_run, PushArguments(repo_id=name))


def test_the_verb_never_pushes_without_a_yes(
    exported_run: RunFolder, hub_server: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from agent.cli.verbs.table import app
    from trainer_core.errors import ApprovalNeeded

    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        line = ["export", str(exported_run.path), "--form", "upstream", "--overwrite"]
        refused = CliRunner().invoke(app, [*line, "--push", "owner/name"])
        assert isinstance(refused.exception, ApprovalNeeded)
        assert not server.requests
        pushed = CliRunner().invoke(app, [*line, "--push", "owner/name", "--yes"])
        assert pushed.exit_code == 0, pushed.output
        assert set(server.files) == {"training.yaml"}
        assert "(private)" in pushed.output


def test_the_yaml_for_the_official_trainer_is_printed(run: RunFolder, tmp_path: Path) -> None:
    import yaml
    from typer.testing import CliRunner

    from agent.cli.verbs.table import app

    printed = CliRunner().invoke(app, ["export", str(run.path), "--upstream"])
    assert printed.exit_code == 0
    assert "ltx_agent" not in yaml.safe_load(printed.output)
