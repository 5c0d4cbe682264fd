"""The captioner behind any OpenAI-compatible endpoint: pictures or a small video, and sound where it is taken."""

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tools.caption.captioners.captioner import (
    CaptionDraft,
    CaptionRequest,
    CaptionSource,
    Declined,
    PictureBudget,
)
from tools.caption.captioners.instruction import clip_words
from tools.caption.captioners.reply import caption_of
from tools.caption.media.clip_video import small_mp4
from tools.caption.media.frames import jpeg_bytes
from tools.caption.media.sound import wav_bytes
from tools.endpoint.chat_call import CONNECT_TIMEOUT_S, CallFailed, Reply, call_chat, open_client
from tools.endpoint.failures import Failure, read_failure, shorten
from tools.endpoint.pacing import RequestPace
from tools.endpoint.settings import Endpoint, Offer, read_offer
from tools.endpoint.traits import traits_of
from tools.endpoint.usage import Usage
from trainer_core.errors import ConfigError, DataError, ExternalError

ATTEMPTS = 6
MAX_TOKENS = 700
"""Room for one caption."""
ASSUMED_SPEED = (2000.0, 40.0)
"""Tokens per second read and written: a guess at a hosted vision model of the middle size."""
LOST_IN_A_ROW = 3
"""So many clips lost one after the other, and the endpoint counts as gone."""


class EndpointCaptioner:
    """Asks one clip a request. What the server doesn't take (a parameter, sound) is left out and remembered."""

    source: CaptionSource = "endpoint"
    batch_size = 1
    assumed_speed = ASSUMED_SPEED

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.model = endpoint.model
        self.concurrency = self.waiting = endpoint.concurrency
        self.traits = traits_of(endpoint.base_url, endpoint.model)
        self.offer: Offer | None = None
        self.media = endpoint.media or frozenset({"image", "audio"})
        self.pace = RequestPace(endpoint.concurrency)
        self.notes: list[str] = []
        self._client: Any = None
        self._answered = False
        self._lost = 0

    @property
    def sees(self) -> bool:
        return bool(self.media & {"image", "video"})

    @property
    def budget(self) -> PictureBudget:
        """The usual one, or half of what the server says the model can read."""
        usual, context = PictureBudget(), self.offer.context_tokens if self.offer else None
        return usual if context is None else replace(usual, tokens=min(usual.tokens, context // 2))

    @property
    def hears(self) -> bool:
        return "audio" in self.media

    async def open(self) -> None:
        await self.discover()

    async def caption(self, requests: Sequence[CaptionRequest]) -> list[CaptionDraft | Declined]:
        return [await self._one(request) for request in requests]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def discover(self) -> Offer:
        """Ask the server once what its model takes and costs; a server that doesn't say is no obstacle.

        Raises ExternalError for a refused key and ConfigError for a model that takes no pictures.
        """
        if self.offer is None:
            self.offer = await self._read_models()
            if self.endpoint.media is None and self.offer.media is not None:
                self.media = self.offer.media
            if not self.sees and not self.hears:
                raise ConfigError(
                    f"{shorten(self.model)} takes text alone: it can't see clips.",
                    "Set LTX_AGENT_CAPTION_MODEL to a vision model.",
                )
        return self.offer

    @property
    def price_usd(self) -> tuple[float, float] | None:
        """US dollars a token in and out, where the settings or the server say so."""
        return self.endpoint.price_usd or (self.offer.price_usd if self.offer else None)

    def client(self) -> Any:
        if self._client is None:
            self._client = open_client(self.endpoint)
        return self._client

    async def _read_models(self) -> Offer:
        try:
            listed = await self.client().with_options(timeout=CONNECT_TIMEOUT_S).models.list()
            entries = [entry.model_dump() for entry in listed.data]
        except Exception as error:
            failure = read_failure(error)
            if failure is not None and failure.kind in ("key", "forbidden"):
                raise self.endpoint.service.hopeless(failure) from error
            return Offer()  # many servers have no such list, or a list of their own kind: then nothing is known
        return next((read_offer(entry) for entry in entries if entry.get("id") == self.model), Offer())

    async def _one(self, request: CaptionRequest) -> CaptionDraft | Declined:
        began = None
        failure = Failure("broken", "no attempt was made")
        for attempt in range(ATTEMPTS):
            media = self.media
            messages = await asyncio.to_thread(self._messages, request, media)
            async with self.pace.turn():
                began = began or time.monotonic()
                if media != self.media:  # found out while this request waited for its turn
                    media = self.media
                    messages = await asyncio.to_thread(self._messages, request, media)
                sent_as = self.traits.as_arguments(MAX_TOKENS), media
                try:
                    reply = await call_chat(self.client(), self.endpoint, messages, self.traits, MAX_TOKENS)
                except CallFailed as caught:
                    failure = caught.failure
                else:
                    answer = self._answer(request, reply, time.monotonic() - began)
                    if answer is not None:
                        self._answered, self._lost = True, 0
                        await self.pace.went_well()
                        return answer
                    failure = Failure("broken", "the answer was empty")
            smaller = await self._after(failure, request, attempt, sent_as)
            if smaller is None:
                break
            request = smaller
        return self._give_up(failure)

    def _sent_as(self) -> tuple[dict[str, Any], frozenset[str]]:
        """How requests are made now; other requests under way may change it."""
        return self.traits.as_arguments(MAX_TOKENS), self.media

    async def _after(
        self,
        failure: Failure,
        request: CaptionRequest,
        attempt: int,
        sent_as: tuple[dict[str, Any], frozenset[str]],
    ) -> CaptionRequest | None:
        """Return what to ask next after a failure, None when asking again can't help."""
        if failure.kind == "rejected":
            return request if sent_as != self._sent_as() or self._adapt(failure.words) else None
        if failure.kind == "large":
            return _smaller(request)
        if failure.kind == "unreachable" and not self._answered and attempt >= 1:
            return None
        if failure.words == "the stream was empty":
            self.traits.streams = False
            return request
        if attempt + 1 < ATTEMPTS:
            if failure.kind == "busy":
                await self.pace.complained(attempt, failure.retry_after_s)
            else:
                self.pace.pause(attempt, failure.retry_after_s)
            return request
        return None

    def _adapt(self, message: str) -> bool:
        """Leave out what the server rejects: sound first where it is named, then parameters."""
        if "audio" in message.lower() and "audio" in self.media:
            self.media = self.media - {"audio"}
            self.notes.append("The endpoint takes no sound: captions say nothing of what is heard.")
            return True
        if "video" in message.lower() and "video" in self.media:
            self.media = (self.media - {"video"}) | {"image"}
            self.notes.append("The endpoint takes no video: it is shown pictures.")
            return True
        return self.traits.adapt(message)

    def _answer(self, request: CaptionRequest, reply: Reply, seconds: float) -> CaptionDraft | Declined | None:
        """Turn a reply into a draft; None when it is empty and worth another try."""
        usage = Usage(reply.prompt_tokens, reply.completion_tokens, seconds)
        if reply.refusal or reply.finish == "content_filter":
            return Declined("refusal", shorten(reply.refusal or "the server's content filter stopped it"), usage)
        caption = caption_of(reply.text)
        flags: dict[str, str] = {}
        if reply.called_tools:
            flags["tool_call"] = "the model tried to call a tool; it has none, and the call was dropped"
        if reply.finish == "length":
            flags["cut_off"] = f"the model was cut off at {MAX_TOKENS} tokens"
        if not caption:
            return None
        return CaptionDraft(
            caption=caption,
            source="endpoint",
            needs_review=bool(flags),
            model=self.model,
            instruction_version=request.instruction.version,
            frames_s=[frame.time_s for frame in request.frames] if self.sees else [],
            flags=flags,
            heard=self.hears and request.sound is not None,
            usage=usage,
        )

    def _give_up(self, failure: Failure) -> Declined:
        self._lost += 1
        gone = failure.kind in ("unreachable", "busy", "broken", "silent")
        if gone and (not self._answered or self._lost >= max(LOST_IN_A_ROW, self.concurrency)):
            raise ExternalError(
                f"The captioning endpoint gives no captions: {failure.words}.",
                "Check that it runs and can be reached. Captions made so far are kept; the same command goes on.",
            )
        if not self._answered and self._lost >= LOST_IN_A_ROW:
            raise ExternalError(
                f"The captioning endpoint rejects every clip: {failure.words}.",
                "Check that the model takes pictures, or set LTX_AGENT_CAPTION_MEDIA to what it takes.",
            )
        return Declined("failed", failure.words)

    def _messages(self, request: CaptionRequest, media: frozenset[str]) -> list[dict[str, Any]]:
        """The request's messages: the instruction apart from everything that comes from the clip."""
        content: list[dict[str, Any]] = []
        sees, hears = bool(media & {"image", "video"}), "audio" in media
        pictures = (*request.reference, *request.frames) if sees else ()
        if "video" in media and request.clip.kind == "video" and not request.reference:
            try:
                side = max(request.frames[0].rgb.shape[:2]) if request.frames else 512
                film = small_mp4(request.clip.path, side)
                content.append({"type": "video_url", "video_url": {"url": _data_url("video/mp4", film)}})
                pictures = ()
            except DataError:  # it can't be encoded again: its pictures were decoded already
                pass
        for picture in pictures:
            content.append({"type": "image_url", "image_url": {"url": _data_url("image/jpeg", jpeg_bytes(picture))}})
        sounds = (request.reference_sound, request.sound) if hears else ()
        for sound in sounds:
            if sound is not None:
                data = base64.b64encode(wav_bytes(sound)).decode("ascii")
                content.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
        words = clip_words(request, sees=sees, hears=hears)
        return [
            {"role": "system", "content": request.instruction.text},
            {"role": "user", "content": [*content, {"type": "text", "text": words}]},
        ]


def _smaller(request: CaptionRequest) -> CaptionRequest | None:
    """Every second picture of a request that was too large, and no sound; None when nothing can be spared."""
    if len(request.frames) <= 1 and request.sound is None:
        return None
    return replace(request, frames=request.frames[::2], reference=request.reference[::2], sound=None)


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
