"""An OpenAI-compatible server on this machine that answers by a script: chat (streamed or whole), models, speech."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tools.endpoint import traits


@dataclass(frozen=True)
class Answer:
    """One answer: a caption, or anything a server may do wrong."""

    text: str = ""
    status: int = 200
    error: str = "scripted error"
    error_code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    finish: str | None = "stop"
    refusal: str | None = None
    tool_call: str | None = None
    body: bytes | None = None
    """Sent as it is instead of an answer, with status and JSON's content type."""
    break_off: bool = False
    """Close the connection in the middle of the answer."""
    tokens: tuple[int, int] = (100, 10)


Script = Callable[[dict[str, Any]], Answer]


class ScriptedOpenAI(ThreadingHTTPServer):
    """`script` answers each chat request; `requests` keeps what was asked, `most_at_once` how many waited together."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: Script = lambda request: Answer("A caption.")
        self.speech: Script = lambda request: Answer("Hello there.")
        self.models: list[dict[str, Any]] | None = [
            {"id": "vision-1", "object": "model", "created": 0, "owned_by": "x"}
        ]
        self.requests: list[dict[str, Any]] = []
        self.speech_requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedOpenAI
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.models is None:
            self._send(404, b'{"error": {"message": "no such path"}}')
        else:
            self._send(200, json.dumps({"object": "list", "data": self.server.models}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.add(self.headers.get("Authorization", ""))
        if self.path.endswith("/audio/transcriptions"):
            self._speech(body)
            return
        request = json.loads(body)
        with self.server.lock:
            self.server.requests.append(request)
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        try:
            answer = self.server.script(request)
            time.sleep(answer.delay_s)
            self._answer(answer, streams=bool(request.get("stream")), usage="stream_options" in request)
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def _speech(self, body: bytes) -> None:
        fields = dict(re.findall(rb'name="(\w+)"\r\n\r\n([^\r]*)\r\n', body))
        request = {key.decode(): value.decode() for key, value in fields.items()}
        request["bytes"] = str(len(body))
        self.server.speech_requests.append(request)
        answer = self.server.speech(request)
        if answer.status != 200 or answer.body is not None:
            self._answer(answer, streams=False, usage=False)
            return
        document = {"text": answer.text}
        if request.get("response_format") == "verbose_json":
            document |= {"language": "english", "duration": 1.0, "segments": []}
        self._send(200, json.dumps(document).encode())

    def _answer(self, answer: Answer, *, streams: bool, usage: bool) -> None:
        if answer.body is not None:
            self._send(answer.status, answer.body, answer.headers)
            return
        if answer.status != 200:
            error = {"message": answer.error, "type": "scripted", "code": answer.error_code}
            self._send(answer.status, json.dumps({"error": error}).encode(), answer.headers)
            return
        counted = {
            "prompt_tokens": answer.tokens[0],
            "completion_tokens": answer.tokens[1],
            "total_tokens": sum(answer.tokens),
        }
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": answer.refusal}
        if answer.tool_call:
            call = {"name": answer.tool_call, "arguments": "{}"}
            message["tool_calls"] = [{"index": 0, "id": "c1", "type": "function", "function": call}]
        base = {"id": "x", "created": 0, "model": "vision-1"}
        if not streams:
            choice = {"index": 0, "finish_reason": answer.finish, "message": message}
            document = {**base, "object": "chat.completion", "choices": [choice], "usage": counted}
            self._send(200, json.dumps(document).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        pieces = [answer.text[start : start + 12] for start in range(0, len(answer.text), 12)] or [""]
        for number, piece in enumerate(pieces):
            delta = {**message, "content": piece} if number == 0 else {"content": piece}
            self._event({**base, "object": "chat.completion.chunk", "choices": [_choice(delta, None)]})
            if answer.break_off:
                self.close_connection = True
                return
        self._event({**base, "object": "chat.completion.chunk", "choices": [_choice({}, answer.finish)]})
        if usage:
            self._event({**base, "object": "chat.completion.chunk", "choices": [], "usage": counted})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, document: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(document)}\n\n".encode())
        self.wfile.flush()

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None: ...


def _choice(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


@contextmanager
def serving() -> Iterator[ScriptedOpenAI]:
    """Run a server until the block ends."""
    traits._KNOWN.clear()  # an address may be another server's again
    with ScriptedOpenAI() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def in_turn(*answers: Answer) -> Script:
    """Answer with each in turn, then with the last one again and again."""
    waiting = list(answers)
    lock = threading.Lock()

    def script(request: dict[str, Any]) -> Answer:
        with lock:
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return script
