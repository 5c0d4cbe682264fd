"""`caption` and `captions` as a person types them, on a folder nobody looked at before; a real server beside it."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from scripted_openai import Answer, ScriptedOpenAI, serving

from agent.cli.output import fail
from agent.cli.verbs import captions
from agent.cli.verbs.table import app

GOOD = (
    "A grey rabbit wakes in the mouth of its burrow, blinks into the morning light and stretches one ear after the "
    "other, then hops out onto the wet grass while the camera stays low and still and birds sing softly around it, clip"
)


@pytest.fixture
def folder(tmp_path: Path, cut_footage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(4):
        shutil.copy(cut_footage / "bunny wakes.mp4", clips / f"{number}.mp4")
        with (clips / f"{number}.mp4").open("ab") as file:
            file.write(bytes([number]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LTX_AGENT_SETTINGS", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # other tests time the same model
    return clips


def one_picture() -> bytes:
    """A video too short to train on."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        made.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")))
        made.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedOpenAI]:
    with serving() as server:
        monkeypatch.setenv("LTX_AGENT_CAPTION_BASE_URL", server.url)
        monkeypatch.setenv("LTX_AGENT_CAPTION_MODEL", "vision-1")
        server.script = lambda request: Answer(f"{GOOD} {len(server.requests)}.")
        yield server


@pytest.fixture
def ltx(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; return its exit code, stdout and stderr."""

    def run(*words: str, typed: list[str] | None = None) -> tuple[int, str, str]:
        answers = iter(typed or [])
        monkeypatch.setattr(sys, "argv", ["ltx-agent", *words])
        monkeypatch.setattr(captions, "_is_terminal", lambda: typed is not None)
        monkeypatch.setattr("builtins.input", lambda question: print(question) or next(answers))
        try:
            code = app(list(words), prog_name="ltx-agent", standalone_mode=False) or 0
        except Exception as error:
            code = fail(error)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_folder_by_itself_is_inspected_and_measured(folder: Path, ltx: Callable[..., Any]) -> None:
    (folder / "short.mp4").write_bytes(one_picture())
    code, out, _ = ltx("caption", str(folder), "--json")
    assert code == 0
    document = json.loads(out)
    assert document["by_source"] == {"measured": 4}
    assert Path(document["path"]).exists()
    code, out, _ = ltx("caption", str(folder), "--unusable", "--json")
    assert (code, json.loads(out)["by_source"], json.loads(out)["written"]) == (0, {"measured": 5}, 1)
    assert json.loads(ltx("caption", str(folder), "--json")[1])["clips"] == 4
    assert ltx("captions", "show", str(folder))[1].count("(measured") == 5
    (folder / "short.mp4").unlink()
    assert sorted(path.name for path in folder.iterdir()) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]


def test_without_a_person_the_spot_check_ends_it_and_yes_goes_on(
    folder: Path, server: ScriptedOpenAI, ltx: Callable[..., Any]
) -> None:
    code, out, err = ltx("caption", str(folder), "--json")
    assert code == 4
    assert json.loads(out)["remaining"] == 1
    assert "4 to caption: a guess: " in err
    shown = ltx("caption", str(folder))[1]
    assert all(row["caption"] in shown for row in json.loads(out)["spot_check"])
    code, out, _ = ltx("caption", str(folder), "--yes", "--json")
    assert code == 0
    assert (json.loads(out)["kept"], json.loads(out)["written"]) == (3, 1)
    assert len(server.requests) == 4


def test_on_a_terminal_words_change_the_captions_and_yes_writes_the_rest(
    folder: Path, server: ScriptedOpenAI, ltx: Callable[..., Any]
) -> None:
    code, out, _ = ltx("caption", str(folder), typed=["call it a hare", "y"])
    assert code == 0
    assert out.count("Write the rest like these?") == 2
    assert out.count("\n0.mp4 (endpoint)") == 2
    assert "call it a hare" in server.requests[-1]["messages"][0]["content"]
    assert len(server.requests) == 3 + 3 + 1
    assert "Captions of 4 clips (4 endpoint)" in out


def test_captions_are_shown_written_taken_back_and_sent_out(
    folder: Path, server: ScriptedOpenAI, ltx: Callable[..., Any], tmp_path: Path
) -> None:
    ltx("caption", str(folder), "--yes", "--trigger", "ohwx", "--note", "Name the kind of shot.")
    assert "Name the kind of shot." in server.requests[0]["messages"][0]["content"]
    code, out, _ = ltx("captions", "show", str(folder))
    assert code == 0
    assert out.count("(endpoint vision-1") == 4
    assert ltx("captions", "write", str(folder), "1.mp4", "Mine.")[0] == 0
    assert "1.mp4 (person" in ltx("captions", "show", str(folder))[1]
    assert "Taken back: the last edit, 1 caption." in ltx("captions", "undo", str(folder))[1]
    code, out, _ = ltx("captions", "export", str(folder), "out.csv", "--with-trigger")
    assert code == 0
    assert (tmp_path / "out.csv").read_text().count("ohwx") == 4
    code, out, _ = ltx("captions", "import", str(folder), "out.csv", "--json")
    assert json.loads(out)["captions"] == 4
    assert ltx("captions", "lint", str(folder))[0] == 0
    assert ltx("captions", "fix", str(folder), "--json")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("caption", "CLIPS", "--captioner", "nonsense"), 2, "There is no captioner"),
        (("caption", "CLIPS", "--captioner", "endpoint"), 2, "No captioning endpoint is configured"),
        (("caption", "CLIPS", "--captioner", "local"), 4, "No vision model on this machine"),
        (("caption", "CLIPS", "--captioner", "local:Qwen/Nowhere"), 4, "not on this machine"),
        (("captions", "undo", "CLIPS"), 2, "No change"),
        (("captions", "write", "CLIPS", "x.mp4", "Words."), 2, "0 captions belong to"),
    ],
)
def test_what_goes_wrong_is_said_in_words(
    folder: Path, ltx: Callable[..., Any], words: tuple[str, ...], code: int, told: str
) -> None:
    result = ltx(*(str(folder) if word == "CLIPS" else word for word in words))
    assert (result[0], told in result[2]) == (code, True), result[2]
