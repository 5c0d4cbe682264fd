"""Downloading a vision model: asked for first, from a hub over real HTTP, with progress, interrupted and taken up."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_of_models import PIECE, ModelHub, model_hub
from tiny_vlms import smolvlm

from tools.caption.captioners import download
from tools.caption.captioners.choose import make_captioner, parse_choice
from tools.caption.captioners.download import DownloadArguments, download_captioner, preview_download
from tools.caption.captioners.local import LocalCaptioner
from trainer_core.errors import ApprovalNeeded, ConfigError

MODEL = "tests/tiny-vlm"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real classes at tiny random size, with a pickle beside them that nobody may fetch."""
    folder = smolvlm(tmp_path_factory.mktemp("tiny") / "vlm")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def hub(no_settings: None, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    from huggingface_hub import constants, hf_api

    with model_hub(MODEL, tiny_folder) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)  # read from the environment when it was imported
        address = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hf_api.api, "endpoint", server.url)
        yield server


def test_nothing_is_fetched_before_a_person_agrees_then_it_captions(hub: ModelHub) -> None:
    with pytest.raises(ApprovalNeeded, match="not on this machine"):
        make_captioner(parse_choice(f"local:{MODEL}"), [])
    preview = preview_download(None, DownloadArguments(model=MODEL))
    assert preview.question == f"Download {MODEL}?"
    assert not hub.sent

    told: list[tuple[str, int, int]] = []
    result = download_captioner(None, DownloadArguments(model=MODEL), lambda *news: told.append(news))
    assert {what for what, _, _ in told} == {f"downloading {MODEL} · MiB"}
    assert told[-1][1] <= told[-1][2]
    assert Path(result.folder, "model.safetensors").is_file()
    assert not {name for name in hub.sent if name.endswith((".bin", ".py"))}
    captioner = make_captioner(parse_choice(f"local:{MODEL}"), [])
    assert isinstance(captioner, LocalCaptioner)
    captioner._load()  # the real classes read what was fetched


def test_progress_counts_the_bytes(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MIB", 1)
    told: list[tuple[int, int]] = []
    download_captioner(None, DownloadArguments(model=MODEL), lambda what, done, total: told.append((done, total)))
    size = download.hub_size(MODEL)
    assert {total for _, total in told} == {size}
    assert max(done for done, _ in told) == size


def test_an_interrupted_download_fetches_only_what_is_missing(
    hub: ModelHub, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MIB", 1)
    size = download.hub_size(MODEL)
    small = size - (tiny_folder / "model.safetensors").stat().st_size
    others = threading.Event()

    def after_the_others(file: str) -> None:
        """The weights come when all else is there."""
        if file == "model.safetensors":
            others.wait(20)

    hub.between = after_the_others

    class Interrupted(BaseException):
        """What stops a tool from inside its progress."""

    def stops(what: str, done: int, total: int) -> None:
        if done >= small:
            others.set()
        if done > small + 2 * PIECE:
            raise Interrupted

    with pytest.raises(Interrupted):
        download_captioner(None, DownloadArguments(model=MODEL), stops)
    with pytest.raises((ApprovalNeeded, ConfigError)):  # half a model is none
        make_captioner(parse_choice(f"local:{MODEL}"), [])
    cached = {path.name for path in Path(os.environ["HF_HUB_CACHE"]).rglob("*") if path.is_symlink()}
    hub.between = lambda file: None
    before = len(hub.sent)
    download_captioner(None, DownloadArguments(model=MODEL))
    assert len(cached) > 2
    assert not cached & set(hub.sent[before:])
    assert isinstance(make_captioner(parse_choice(f"local:{MODEL}"), []), LocalCaptioner)


def test_a_model_the_hub_does_not_have_is_named(hub: ModelHub) -> None:
    with pytest.raises(ConfigError, match="no model tests/other"):
        preview_download(None, DownloadArguments(model="tests/other"))


def test_the_verb_asks_and_downloads(hub: ModelHub) -> None:
    command = [sys.executable, "-c", "from agent.cli.main import main; main()", "captions", "download", MODEL]
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    assert refused.returncode == 4, refused.stderr
    assert "Nothing was downloaded" in refused.stderr
    assert not hub.sent
    done = subprocess.run([*command, "--yes"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"{MODEL}: " in done.stdout
