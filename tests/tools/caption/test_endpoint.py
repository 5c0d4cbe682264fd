"""The endpoint captioner over real HTTP with the real client: what it sends, and every way in which servers fail."""

import base64
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from scripted_openai import Answer, ScriptedOpenAI, in_turn

from tools.caption.tool import CaptionArguments, CaptionResult, caption_clips
from tools.endpoint import chat_call
from tools.project import Project
from trainer_core.errors import ConfigError, ExternalError, LtxError
from trainer_core.files import read_jsonl

GOOD = (
    "A cyclist in a red jacket rides along a narrow street past a row of parked cars, leans into a slow turn and waves "
    "at somebody behind the camera, then rolls to a stop beside a low stone wall under grey, even daylight while the "
    "camera follows at walking pace from the left in a steady medium shot."
)


@pytest.fixture
def clips_folder(tmp_path: Path, cut_footage: Path) -> Path:
    """Two short silent clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(cut_footage / "carphone.mp4", folder / 'car "phone" 🎬\n1.mp4')
    shutil.copy(cut_footage / "bikes_1.mp4", folder / "bikes.mp4")
    return folder


@pytest.fixture
def with_sound(clips_folder: Path, cut_footage: Path) -> None:
    """A third clip, with sound."""
    shutil.copy(cut_footage / "bunny wakes.mp4", clips_folder / "bunny.mp4")


@pytest.fixture
def run(project: Project, write_report: Callable[[], None]) -> Callable[..., CaptionResult]:
    def caption(**arguments: object) -> CaptionResult:
        write_report()
        return caption_clips(project, CaptionArguments.model_validate({"clips": "all", **arguments}))

    return caption


def _rows(project: Project) -> list[dict[str, Any]]:
    return read_jsonl(project.captions_path)


def test_pictures_follow_the_clip_and_the_caption_keeps_its_provenance(
    project: Project, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    endpoint.script = lambda request: Answer(GOOD, tokens=(900, 60))
    result = run()
    assert result.by_source == {"endpoint": 2}
    assert (result.used.prompt_tokens, result.used.completion_tokens) == (1800, 120)
    row = _rows(project)[0]
    assert (row["caption"], row["model"], row["style"]) == (GOOD, "vision-1", "ltx")
    assert row["instruction_version"] == result.instruction_version
    system, user = endpoint.requests[0]["messages"]
    assert "training captions" in system["content"]
    pictures = [part for part in user["content"] if part["type"] == "image_url"]
    assert len(pictures) == len(_by_pictures(project, pictures)["frames_s"])
    decoded = cv2.imdecode(
        np.frombuffer(base64.b64decode(pictures[0]["image_url"]["url"].split(",")[1]), np.uint8), cv2.IMREAD_COLOR
    )
    assert max(decoded.shape) <= 768
    assert endpoint.requests[0]["stream"] is True
    assert endpoint.keys == {"Bearer sk-test-caption-key"}


def _by_pictures(project: Project, pictures: list[Any]) -> dict[str, Any]:
    return next(row for row in _rows(project) if len(row["frames_s"]) == len(pictures))


def test_neither_names_nor_keys_leave_or_stay(
    project: Project, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    endpoint.script = lambda request: Answer(GOOD)
    run()
    sent = json.dumps(endpoint.requests)
    assert "phone" not in sent
    assert "bikes" not in sent
    assert "sk-test" not in sent
    for path in project.path.rglob("*"):
        assert not path.is_file() or b"sk-test" not in path.read_bytes()


@pytest.mark.parametrize(
    ("trouble", "asked"),
    [
        ([Answer(status=429, headers={"Retry-After": "0.01"})], 3),
        ([Answer(status=500), Answer(status=503, headers={"Retry-After-Ms": "5"})], 4),
        ([Answer(status=200, body=b'{"choices": [{"mess')], 3),
        ([Answer(status=200, body=b"<html>Bad gateway</html>")], 3),
        ([Answer(GOOD, break_off=True)], 3),
        ([Answer("")], 3),
        ([Answer("<think>a rabbit</think>")], 3),
    ],
    ids=["429", "500 and 503", "malformed JSON", "a web page", "broken off", "empty", "only thinking"],
)
def test_passing_trouble_is_waited_out(
    endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult], trouble: list[Answer], asked: int
) -> None:
    endpoint.script = in_turn(*trouble, Answer(GOOD))
    result = run()
    assert (result.by_source, result.failed) == ({"endpoint": 2}, {})
    assert len(endpoint.requests) == asked


def test_an_answer_that_hangs_times_out_and_is_asked_again(
    endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_call, "SILENT_TIMEOUT_S", 0.3)
    endpoint.script = in_turn(Answer(GOOD, delay_s=1.0), Answer(GOOD))
    began = time.monotonic()
    assert run().by_source == {"endpoint": 2}
    assert time.monotonic() - began < 20
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize(
    ("rejection", "gone"),
    [
        ("Unsupported parameter: 'temperature'", "temperature"),
        ("Use 'max_completion_tokens' instead of 'max_tokens'", "max_tokens"),
        ("unknown field stream_options", "stream_options"),
        ("streaming is not supported", "stream"),
    ],
)
def test_a_parameter_the_server_rejects_is_left_out_from_then_on(
    endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult], rejection: str, gone: str
) -> None:
    endpoint.script = lambda request: (
        Answer(status=400, error=rejection) if gone in request else Answer(GOOD, tokens=(7, 3))
    )
    assert run().by_source == {"endpoint": 2}
    assert gone not in endpoint.requests[-1]
    assert len(endpoint.requests) <= 4


def test_a_server_without_streams_is_asked_for_whole_answers(
    endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    whole = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": GOOD}}],
    }
    endpoint.script = lambda request: Answer(body=json.dumps(whole).encode())
    assert run().by_source == {"endpoint": 2}
    assert "stream" not in endpoint.requests[-1]


@pytest.mark.parametrize(
    "refused",
    [
        Answer(refusal="I can't help with that."),
        Answer("", finish="content_filter"),
    ],
)
def test_a_refused_clip_gets_a_marked_draft_and_is_tried_again(
    project: Project, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult], refused: Answer
) -> None:
    endpoint.script = in_turn(refused, Answer(GOOD))
    result = run()
    assert result.by_source == {"endpoint": 1, "measured": 1}
    assert len(result.failed) == 1
    row = next(row for row in _rows(project) if row["source"] == "measured")
    assert row["needs_review"]
    assert "refusal" in {flag["id"] for flag in row["flags"]}
    assert run().by_source == {"endpoint": 2}
    assert len(endpoint.requests) == 3


def test_words_of_refusal_are_flagged_for_a_person(
    project: Project, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    endpoint.script = lambda request: Answer("I'm sorry, but I can't assist with that request.")
    result = run()
    assert result.needs_review == 2
    assert result.findings["refusal"] == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(status=401), "refused the key"),
        (Answer(status=404), "no such model"),
        (Answer(status=429, error_code="insufficient_quota"), "no credit"),
        (Answer(status=402), "no credit"),
    ],
)
def test_what_no_retry_can_mend_ends_it_at_once(
    project: Project, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult], answer: Answer, message: str
) -> None:
    endpoint.script = lambda request: answer
    with pytest.raises(ExternalError, match=message) as caught:
        run()
    assert caught.value.exit_code == 6
    assert len(endpoint.requests) <= 2


def test_an_endpoint_that_goes_away_keeps_what_was_made_and_the_next_run_goes_on(
    project: Project, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(project.facts.sources[0]) / "third.mp4").write_bytes(
        (Path(project.facts.sources[0]) / "bikes.mp4").read_bytes() + b"x"
    )
    monkeypatch.setattr("tools.caption.captioners.endpoint.LOST_IN_A_ROW", 1)
    settings = Path(project.path.parent / "settings.yaml")
    settings.write_text("captions:\n  concurrency: 1\n")
    endpoint.script = in_turn(Answer(GOOD), Answer(status=500))
    with pytest.raises(ExternalError, match="HTTP 500"):
        run()
    assert [row["source"] for row in _rows(project)] == ["endpoint"]
    endpoint.script = lambda request: Answer(GOOD)
    before = len(endpoint.requests)
    result = run()
    assert (result.kept, result.written, result.by_source) == (1, 2, {"endpoint": 3})
    assert len(endpoint.requests) == before + 2


def test_nobody_there_is_said_quickly(
    project: Project, run: Callable[..., CaptionResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTX_AGENT_CAPTION_MODEL", "m")
    monkeypatch.setenv("LTX_AGENT_CAPTION_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr("tools.endpoint.pacing.FIRST_WAIT_S", 0.01)
    with pytest.raises(ExternalError, match="connection failed"):
        run()


def test_a_request_too_large_is_made_smaller(endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]) -> None:
    def script(request: dict[str, Any]) -> Answer:
        pictures = sum(part["type"] == "image_url" for part in request["messages"][1]["content"])
        return Answer(status=413, error="too large") if pictures > 4 else Answer(GOOD)

    endpoint.script = script
    assert run().by_source == {"endpoint": 2}


def test_what_the_server_offers_decides_what_is_sent(
    project: Project, with_sound: None, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    entry: dict[str, Any] = {"id": "vision-1", "object": "model", "created": 0, "owned_by": "x"}
    offered = {"architecture": {"input_modalities": ["text", "video", "audio"]}}
    endpoint.models = [{**entry, **offered, "pricing": {"prompt": "0.000002", "completion": "0.000008"}}]
    endpoint.script = lambda request: Answer(GOOD, tokens=(1000, 100))
    result = run()
    assert result.used.cost_usd == pytest.approx(3 * (0.002 + 0.0008))
    kinds = [[part["type"] for part in request["messages"][1]["content"]] for request in endpoint.requests]
    assert ["video_url", "input_audio", "text"] in kinds
    film = next(part for part in endpoint.requests[0]["messages"][1]["content"] if part["type"] == "video_url")
    path = project.path / "sent.mp4"
    path.write_bytes(base64.b64decode(film["video_url"]["url"].split(",")[1]))
    with av.open(str(path)) as sent:
        assert sent.streams.video[0].average_rate == 8
        assert "bikes" not in str(sent.metadata)


def test_a_text_model_is_refused_before_anything_is_sent(
    endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    endpoint.models = [
        {"id": "vision-1", "object": "model", "created": 0, "owned_by": "x", "input_modalities": ["text"]}
    ]
    with pytest.raises(ConfigError, match="takes text alone"):
        run()
    assert endpoint.requests == []


def test_sound_that_is_not_taken_is_left_out(
    project: Project, with_sound: None, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:

    def script(request: dict[str, Any]) -> Answer:
        heard = any(part["type"] == "input_audio" for part in request["messages"][1]["content"])
        return Answer(status=400, error="input_audio is not supported by this model") if heard else Answer(GOOD)

    endpoint.script = script
    result = run()
    assert result.by_source == {"endpoint": 3}
    assert any("takes no sound" in note for note in result.notes)


def test_as_many_requests_are_under_way_as_allowed(
    project: Project, endpoint: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    folder = Path(project.facts.sources[0])
    for number in range(10):
        (folder / f"more{number}.mp4").write_bytes((folder / "bikes.mp4").read_bytes() + bytes([number]))
    together = threading.Barrier(4)

    def script(request: dict[str, Any]) -> Answer:
        if len(endpoint.requests) <= 4:
            together.wait(timeout=60)
        return Answer(GOOD)

    endpoint.script = script
    run()
    assert endpoint.most_at_once == 4


@pytest.mark.parametrize("wrong", ["endpont", "measured:x", ""])
def test_a_captioner_nobody_knows_is_refused(run: Callable[..., CaptionResult], wrong: str) -> None:
    with pytest.raises(LtxError, match="There is no captioner"):
        run(captioner=wrong)
