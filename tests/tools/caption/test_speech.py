"""What is spoken: heard by a recogniser or read from subtitles, held against the measurement, quoted in the caption."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_openai import Answer, ScriptedOpenAI, in_turn

from tools.caption.captioners.captioner import ClipFile, Transcript
from tools.caption.captioners.existing import subtitles
from tools.caption.tool import CaptionArguments, CaptionResult, caption_clips
from tools.caption.work import checked_transcript
from tools.project import Project
from trainer_core.errors import ConfigError
from trainer_core.files import read_json, read_jsonl, write_json

SEEN = (
    "A grey rabbit wakes in the mouth of its burrow, blinks into the morning light and stretches one ear after the "
    "other, then hops out onto the wet grass while the camera stays low and still and birds sing softly around it."
)


@pytest.fixture
def clips_folder(tmp_path: Path, cut_footage: Path) -> Path:
    """A clip with sound and a silent one."""
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(cut_footage / "bunny wakes.mp4", folder / "bunny.mp4")
    shutil.copy(cut_footage / "bikes_1.mp4", folder / "bikes.mp4")
    return folder


@pytest.fixture
def heard(endpoint: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch) -> ScriptedOpenAI:
    monkeypatch.setenv("LTX_AGENT_SPEECH_MODEL", "listen-1")
    monkeypatch.setenv("LTX_AGENT_SPEECH_BASE_URL", endpoint.url)
    endpoint.speech = lambda request: Answer("Guten Morgen, kleiner Hase!")
    endpoint.script = lambda request: Answer(SEEN)
    return endpoint


@pytest.fixture
def run(project: Project, write_report: Callable[[], None]) -> Callable[..., CaptionResult]:
    def caption(speech_s: float | None = None, **arguments: object) -> CaptionResult:
        write_report()
        report = read_json(project.report_path)
        for clip in report["clips"]:
            clip["audio"]["speech_s"] = speech_s
        write_json(project.report_path, report)
        return caption_clips(project, CaptionArguments.model_validate({"clips": "all", **arguments}))

    return caption


def row(project: Project, path: str = "bunny.mp4") -> dict[str, Any]:
    return next(row for row in read_jsonl(project.captions_path) if row["path"] == path)


def test_speech_is_quoted_word_for_word_and_silent_clips_are_not_listened_to(
    project: Project, heard: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    run(speech_s=1.4)
    assert len(heard.speech_requests) == 1
    assert heard.speech_requests[0]["model"] == "listen-1"
    assert row(project)["caption"] == f'{SEEN} A voice says, "Guten Morgen, kleiner Hase!"'
    assert (row(project)["transcript"], row(project)["transcript_origin"]) == (
        "Guten Morgen, kleiner Hase!",
        "listen-1",
    )
    assert "speech_not_quoted" in row(project)["mended"]
    asked = next(str(request) for request in heard.requests if "Guten Morgen" in str(request))
    assert "<transcript " in asked
    assert "language: english" in asked
    assert row(project, "bikes.mp4")["transcript"] is None


def test_a_transcript_is_heard_once(project: Project, heard: ScriptedOpenAI, run: Callable[..., CaptionResult]) -> None:
    run()
    run(again=True)
    assert len(heard.speech_requests) == 1


def test_what_a_recogniser_makes_up_for_a_clip_without_speech_is_never_asked_for(
    project: Project, heard: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    run(speech_s=0.0)
    assert heard.speech_requests == []
    assert "voice" not in row(project)["caption"]


def test_transcript_and_measurement_that_disagree_are_flagged() -> None:
    def clip(speech_s: float | None) -> ClipFile:
        return ClipFile(Path("a"), "a", "video", has_sound=True, speech_s=speech_s)

    spoken = Transcript("Thank you for watching.", "asr")
    assert checked_transcript(clip(None), spoken).transcript == spoken
    denied = checked_transcript(clip(0.1), spoken)
    assert denied.transcript is None
    assert "not quoted: 0.1 s of speech were measured" in denied.flags["speech_denied"]
    silent = checked_transcript(clip(2.0), Transcript("", "asr"))
    assert "speech_not_transcribed" in silent.flags
    assert checked_transcript(clip(2.0), spoken).flags == {}


def test_subtitles_are_what_is_spoken_and_need_no_recogniser(
    project: Project, clips_folder: Path, heard: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    (clips_folder / "bunny.srt").write_text(
        "1\n00:00:00,000 --> 00:00:01,000\n<i>Hello</i>\n\n2\n00:00:01,000 --> 00:00:02,000\nlittle rabbit.\n"
    )
    run(speech_s=1.5)
    assert heard.speech_requests == []
    assert row(project)["caption"].endswith('A voice says, "Hello little rabbit."')
    assert row(project)["transcript_origin"] == "subtitles bunny.srt"


def test_subtitles_alone_make_a_draft(project: Project, clips_folder: Path, run: Callable[..., CaptionResult]) -> None:
    (clips_folder / "bunny.mp4.vtt").write_text("WEBVTT\n\nNOTE a remark\n\n00:00.000 --> 00:01.000\nHello.\n")
    run()
    assert row(project)["caption"] == 'A voice says, "Hello."'
    assert row(project)["needs_review"]
    assert {flag["id"] for flag in row(project)["flags"]} >= {"subtitles"}


def test_a_recogniser_that_fails_costs_the_transcript_not_the_caption(
    project: Project, heard: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    heard.speech = lambda request: Answer(status=401)
    result = run()
    assert result.by_source == {"endpoint": 2}
    assert any("Speech was not transcribed" in note for note in result.notes)


@pytest.mark.parametrize("trouble", [Answer(status=400), Answer(status=500), Answer(body=b"{")])
def test_a_server_of_fewer_formats_and_passing_trouble(
    project: Project, heard: ScriptedOpenAI, run: Callable[..., CaptionResult], trouble: Answer
) -> None:
    heard.speech = in_turn(trouble, Answer("Guten Morgen."))
    run()
    assert "Guten Morgen." in row(project)["caption"]
    if trouble.status == 400:
        assert heard.speech_requests[-1]["response_format"] == "json"


def test_a_measured_draft_quotes_what_was_heard(
    project: Project, heard: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    run(captioner="measured")
    assert row(project)["caption"].endswith('Measured description. A voice says, "Guten Morgen, kleiner Hase!"')


def test_none_listens_to_nothing_and_nonsense_is_refused(
    project: Project, heard: ScriptedOpenAI, run: Callable[..., CaptionResult]
) -> None:
    run(speech="none")
    assert heard.speech_requests == []
    with pytest.raises(ConfigError, match="no speech recogniser"):
        run(speech="ears", again=True)
    with pytest.raises(ConfigError, match="no Whisper model"):
        run(speech="local:/nowhere", again=True)


def test_cues_without_words_are_no_subtitles(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\n\n")
    assert subtitles(tmp_path / "a.mp4") is None
