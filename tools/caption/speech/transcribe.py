"""Transcripts of clips: subtitles beside them, else a speech recogniser behind an endpoint or on this machine.

transcripts.jsonl keeps what was recognised, by the clip's content, so that no clip is listened to twice.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from tools.caption.captioners.captioner import ClipFile, Transcript
from tools.caption.captioners.existing import subtitles
from tools.caption.lint.sound_checks import LEAST_SPEECH_S
from tools.caption.media.sound import read_sound, wav_bytes
from tools.endpoint.chat_call import open_client
from tools.endpoint.failures import HOPELESS, read_failure
from tools.endpoint.pacing import RequestPace
from tools.endpoint.settings import Endpoint, speech_endpoint
from tools.inspect.report.clips import content_digest
from tools.inspect.report.report import Clip
from tools.plain_text import MAX_CAPTION_CHARACTERS, plain_text, shortened
from tools.project import Progress, Project
from trainer_core.errors import ConfigError, ExternalError, LtxError
from trainer_core.files import append_jsonl, read_jsonl

ATTEMPTS = 4


class Transcriber(Protocol):
    """Hears speech; `name` says who it is. Raises ExternalError when going on is pointless."""

    @property
    def name(self) -> str: ...
    @property
    def concurrency(self) -> int: ...

    async def transcribe(self, sound: Any) -> Transcript | None:
        """Return what is said in float32 [N] at SOUND_RATE_HZ, None when this sound could not be transcribed."""
        ...

    async def close(self) -> None: ...


class EndpointTranscriber:
    """POST /audio/transcriptions of any OpenAI-compatible server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.name = endpoint.model
        self.concurrency = endpoint.concurrency
        self._pace = RequestPace(endpoint.concurrency)
        self._format = "verbose_json"  # it says the language; servers that don't know it get plain json
        self._client: Any = None

    async def transcribe(self, sound: Any) -> Transcript | None:
        if self._client is None:
            self._client = open_client(self.endpoint)
        words = ""
        for attempt in range(ATTEMPTS):
            async with self._pace.turn():
                try:
                    answer = await self._client.audio.transcriptions.create(
                        model=self.endpoint.model,
                        file=("sound.wav", wav_bytes(sound), "audio/wav"),
                        response_format=self._format,
                    )
                    return _transcript(answer, self.name)
                except Exception as error:
                    failure = read_failure(error)
                    if failure is None:
                        raise
                    if failure.kind in HOPELESS:
                        raise self.endpoint.service.hopeless(failure) from error
                    words = failure.words
            if failure.kind in ("rejected", "large"):
                if self._format == "json" or failure.status not in (400, 422):
                    return None
                self._format = "json"
                continue
            self._pace.pause(attempt, failure.retry_after_s)
        raise ExternalError(f"The speech endpoint gives no transcripts: {words}.", "Check that it runs.")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def choose_transcriber(text: str, notes: list[str]) -> Transcriber | None:
    """Return the recogniser that `text` names: auto, none, endpoint[:MODEL] or local[:FOLDER or HUB ID].

    `auto` takes a configured endpoint, else a cached local Whisper, else none. Raises ConfigError.
    """
    kind, model = parse_transcriber(text)
    if kind in ("auto", "endpoint"):
        endpoint = speech_endpoint(model or None)
        if endpoint is not None:
            return EndpointTranscriber(endpoint)
        if kind == "endpoint":
            raise ConfigError("No speech endpoint is configured.", "Set LTX_AGENT_SPEECH_MODEL and its base URL.")
    if kind in ("auto", "local"):
        from tools.caption.speech.local import find_local_transcriber

        return find_local_transcriber(model or None, asked=kind == "local", notes=notes)
    return None


def parse_transcriber(text: str) -> tuple[str, str]:
    """Return the kind and the model that `text` names. Raises ConfigError with what is allowed."""
    kind, _, model = text.partition(":")
    if kind not in ("auto", "none", "endpoint", "local") or (model and kind in ("auto", "none")):
        raise ConfigError(
            f"There is no speech recogniser {text!r}.", "Choose auto, none, endpoint[:MODEL] or local[:FOLDER]."
        )
    return kind, model


def transcribe_clips(
    project: Project,
    transcriber: Transcriber | None,
    clips: Sequence[Clip],
    files: Sequence[ClipFile],
    notes: list[str],
    progress: Progress | None,
) -> dict[str, Transcript]:
    """Return what is spoken, by the clip's content: subtitles first, then what was recognised before, then now.

    Clips without measured speech aren't listened to. A recogniser that fails costs the transcripts, not the captions.
    """
    found: dict[str, Transcript] = {}
    stored = _stored(project)
    todo: list[tuple[Clip, ClipFile]] = []
    for clip, file in zip(clips, files, strict=True):
        key = content_digest(clip)
        spoken = subtitles(file.path) if file.kind != "image" else None
        if spoken is None and transcriber is not None:
            spoken = stored.get((key, transcriber.name))
            silent = file.has_sound is False or (file.speech_s is not None and file.speech_s < LEAST_SPEECH_S)
            if spoken is None and not silent:
                todo.append((clip, file))
        if spoken is not None:
            found[key] = spoken
    if todo and transcriber is not None:
        try:
            asyncio.run(_listen(project, transcriber, todo, found, progress))
        except* LtxError as errors:
            reason: BaseException = errors
            while isinstance(reason, BaseExceptionGroup):
                reason = reason.exceptions[0]
            notes.append(f"Speech was not transcribed: {reason}")
    return found


async def _listen(
    project: Project,
    transcriber: Transcriber,
    todo: Sequence[tuple[Clip, ClipFile]],
    found: dict[str, Transcript],
    progress: Progress | None,
) -> None:
    waiting = iter(todo)
    done = 0

    async def work() -> None:
        nonlocal done
        for clip, file in waiting:
            sound = await asyncio.to_thread(read_sound, file.path)
            spoken = await transcriber.transcribe(sound) if sound is not None else None
            done += 1
            if progress is not None:
                progress("speech", done, len(todo))
            if spoken is not None:
                found[content_digest(clip)] = spoken
                row = {"sha256": content_digest(clip), "model": transcriber.name, "text": spoken.text}
                append_jsonl(_path(project), {**row, "language": spoken.language})

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(transcriber.concurrency):
                group.create_task(work())
    finally:
        await transcriber.close()


def _transcript(answer: Any, model: str) -> Transcript:
    text = answer if isinstance(answer, str) else answer.text
    language = getattr(answer, "language", None)
    spoken = shortened(plain_text(str(text)), MAX_CAPTION_CHARACTERS)
    return Transcript(spoken, model, plain_text(str(language))[:20] if language else None)


def _path(project: Project) -> Any:
    return project.captions_path.with_name("transcripts.jsonl")


def _stored(project: Project) -> dict[tuple[str, str], Transcript]:
    rows = read_jsonl(_path(project)) if _path(project).exists() else []
    return {(row["sha256"], row["model"]): Transcript(row["text"], row["model"], row.get("language")) for row in rows}
