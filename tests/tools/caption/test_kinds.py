"""Images, sound files and pairs of reference and target go their own ways through the same captioner."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scripted_openai import Answer, ScriptedOpenAI

from tools.caption.media.sound import SOUND_RATE_HZ, wav_bytes
from tools.caption.tool import CaptionArguments, CaptionResult, caption_clips
from tools.inspect.report.report import Audio, Clip
from tools.project import Project
from trainer_core.files import read_json, read_jsonl

PLAIN = "A plain surface of one colour fills the whole picture in even light, without any texture or movement at all."


def tone(path: Path, pitch_hz: float) -> None:
    time_s = np.arange(3 * SOUND_RATE_HZ) / SOUND_RATE_HZ
    path.write_bytes(wav_bytes((0.3 * np.sin(2 * np.pi * pitch_hz * time_s)).astype(np.float32)))


@pytest.fixture
def make(
    project: Project, endpoint: ScriptedOpenAI, write_clips: Callable[[list[Clip]], None]
) -> Callable[..., CaptionResult]:
    """Caption one file of the folder, of this kind, with these columns beside it."""

    def run(path: Path, kind: Any, columns: dict[str, str] | None = None, **arguments: Any) -> CaptionResult:
        project.write_facts(project.facts.model_copy(update={"objective": arguments.pop("objective", None)}))
        audio = Audio(status="ok" if kind == "audio" else "none")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        clip = Clip(source=str(path.parent), path=path.name, sha256=digest, kind=kind, status="ok", audio=audio)
        write_clips([clip.model_copy(update={"columns": columns or {}})])
        return caption_clips(project, CaptionArguments.model_validate({"clips": "all", **arguments}))

    endpoint.script = lambda request: Answer(PLAIN)
    return run


def kinds(request: dict[str, Any]) -> list[str]:
    return [part["type"] for part in request["messages"][1]["content"]]


def words(request: dict[str, Any]) -> str:
    return str(request["messages"][1]["content"][-1]["text"])


def test_an_image_is_one_picture_without_movement_or_sound(
    tmp_path: Path, endpoint: ScriptedOpenAI, make: Callable[..., CaptionResult]
) -> None:
    path = tmp_path / "green.png"
    cv2.imwrite(str(path), np.full((600, 900, 3), (0, 200, 0), np.uint8))
    assert make(path, "image").by_source == {"endpoint": 1}
    assert kinds(endpoint.requests[0]) == ["image_url", "text"]
    assert "one still picture" in words(endpoint.requests[0])


def test_a_sound_file_is_heard_and_described_alone(
    project: Project, tmp_path: Path, endpoint: ScriptedOpenAI, make: Callable[..., CaptionResult]
) -> None:
    tone(tmp_path / "a.wav", 440)
    assert make(tmp_path / "a.wav", "audio", objective="t2a").style == "audio"
    assert kinds(endpoint.requests[0]) == ["input_audio", "text"]
    assert "Describe the sound alone" in endpoint.requests[0]["messages"][0]["content"]
    assert read_jsonl(project.captions_path)[0]["heard"] is True


def test_an_edit_shows_the_reference_first_and_asks_for_the_change(
    project: Project, cut_footage: Path, endpoint: ScriptedOpenAI, make: Callable[..., CaptionResult]
) -> None:
    columns = {"reference_video": "bikes_2.mp4"}
    result = make(cut_footage / "bikes_1.mp4", "video", columns, objective="v2v_ic")
    assert (result.style, result.by_source) == ("edit", {"endpoint": 1})
    half = kinds(endpoint.requests[0]).count("image_url") // 2
    assert f"The first {half} pictures are the reference, the other {half} the target." in words(endpoint.requests[0])
    version = read_jsonl(project.captions_path)[0]["instruction_version"]
    kept = read_json(project.path / "caption-instructions.json")
    assert kept[version] == endpoint.requests[0]["messages"][0]["content"]


def test_an_edit_of_sound_hears_the_reference_first(
    tmp_path: Path, endpoint: ScriptedOpenAI, make: Callable[..., CaptionResult]
) -> None:
    tone(tmp_path / "target.wav", 440)
    tone(tmp_path / "before.wav", 220)
    make(tmp_path / "target.wav", "audio", {"reference_audio": "before.wav"}, objective="a2a_ic")
    assert kinds(endpoint.requests[0]) == ["input_audio", "input_audio", "text"]
    assert "The first sound is the reference" in words(endpoint.requests[0])


def test_an_edit_without_a_reference_is_never_made_up(
    cut_footage: Path, endpoint: ScriptedOpenAI, make: Callable[..., CaptionResult]
) -> None:
    result = make(cut_footage / "bikes_1.mp4", "video", style="edit")
    assert result.by_source == {"measured": 1}
    assert "needs one" in next(iter(result.failed.values()))
    assert endpoint.requests == []
