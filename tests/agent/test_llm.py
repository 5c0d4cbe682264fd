"""The chat model that is chosen, and what a person hears when its endpoint fails: a real server on this machine."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from agent import llm
from agent.desk import Desk
from agent.llm import ask, choose_model
from agent.planner import Planner
from agent.session import open_session
from trainer_core.errors import ConfigError, ExternalError

KEYS = ("LTX_AGENT_BASE_URL", "LTX_AGENT_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY")


class Endpoint(ThreadingHTTPServer):
    """An OpenAI-compatible server that gives its answers in order: a status and a message each."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.requests: list[dict[str, Any]] = []
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        time.sleep(self.server.delay_s)
        answers = self.server.answers
        status, message = answers.pop(0) if len(answers) > 1 else answers[0]
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "", **message}}
        body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        document: Any = body if status == 200 else {"error": {"message": "a secret: sk-123\x1b[31m", "type": "x"}}
        content = message["page"].encode() if "page" in message else json.dumps(document).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if "page" in message else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # the client gave up waiting
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.setenv("LTX_AGENT_BASE_URL", server.url)
        monkeypatch.setenv("LTX_AGENT_MODEL", "m")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_without_an_endpoint_it_is_the_planner(bare: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_model("auto"), Planner)


def test_a_key_alone_is_not_spent_unasked(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("OPENAI_API_KEY", "sk-1")
    assert isinstance(choose_model("auto"), Planner)


def test_builtin_wins_over_an_endpoint(endpoint: Endpoint) -> None:
    assert isinstance(choose_model("builtin"), Planner)


def test_a_half_configured_endpoint_is_an_error(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("LTX_AGENT_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match="LTX_AGENT_MODEL is not"):
        choose_model("auto")


def test_a_named_model_needs_an_endpoint(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="has no endpoint"):
        choose_model("some-model")


def test_an_endpoint_drives_the_graph(endpoint: Endpoint, desk: Desk) -> None:
    tool_call = {"id": "c1", "type": "function", "function": {"name": "inspect_clips", "arguments": "{}"}}
    endpoint.answers = [(200, {"tool_calls": [tool_call]}), (200, {"content": "Two clips."}), (200, {"content": "Hm."})]
    with open_session(Desk(desk.project, choose_model("auto"), desk.tools)) as session:
        list(session.begin("a goal", until="draft"))
        texts = [message.text for message in session.state["messages"] if isinstance(message, AIMessage)]
    assert texts == ["", "Two clips.", "Hm."]
    roles = [message["role"] for message in endpoint.requests[1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]
    assert [tool["function"]["name"] for tool in endpoint.requests[0]["tools"]] == ["inspect_clips", "go_to"]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (400, "refused the request"),
        (401, "refused the key"),
        (404, "no such model"),
        (429, "too many requests"),
        (500, "answered with an error"),
    ],
)
def test_a_failing_endpoint_is_explained(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, status: int, says: str
) -> None:
    monkeypatch.setattr(llm, "RETRIES", 0)
    endpoint.answers = [(status, {})]
    with pytest.raises(ExternalError, match=says) as raised:
        ask(choose_model("auto"), [], [])
    assert "--llm builtin" in raised.value.hint
    assert "sk-123" not in str(raised.value)


def test_a_silent_endpoint_times_out(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "RETRIES", 0)
    monkeypatch.setattr(llm, "TIMEOUT_S", 0.2)
    endpoint.answers, endpoint.delay_s = [(200, {"content": "late"})], 0.6
    with pytest.raises(ExternalError, match="no answer within"):
        ask(choose_model("auto"), [], [])


def test_no_server_at_all_is_explained(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(llm, "RETRIES", 0)
    bare.setenv("LTX_AGENT_BASE_URL", "http://127.0.0.1:9/v1")
    bare.setenv("LTX_AGENT_MODEL", "m")
    with pytest.raises(ExternalError, match="can't be reached"):
        ask(choose_model("auto"), [], [])


def test_a_web_page_is_no_answer(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {"page": "<html>It works!</html>"})]
    with pytest.raises(ExternalError, match="no chat completion"):
        ask(choose_model("auto"), [], [])
