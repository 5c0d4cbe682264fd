"""A project on disk, small tools that are real Tools, and a chat model that says what a script says."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, Field

from agent.context import AgentContext
from agent.planner.chat_model import Planner
from agent.session.events import Event
from agent.session.session import Session, open_session
from agent.state import Stage
from agent.ui.plain.chat import converse
from agent.ui.plain.terminal import Terminal
from tools.project import Progress, Project, ProjectFacts
from tools.spec import Tool
from trainer_core.errors import DataError
from trainer_core.files import write_json, write_jsonl, write_text


class Scripted(BaseChatModel):
    """A chat model that gives its replies in order and keeps what it was shown."""

    replies: list[AIMessage]
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    bound: list[list[str]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        self.bound.append([tool["function"]["name"] for tool in tools])
        return self.bind(tools=tools)

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        self.seen.append(messages)
        return ChatResult(generations=[ChatGeneration(message=self.replies.pop(0))])


def calling(tool: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": f"id-{tool}"}])


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CaptionChoices(BaseModel):
    model_config = ConfigDict(extra="forbid")
    captioner: str = "auto"
    trigger: str | None = None


class DraftChoices(BaseModel):
    model_config = ConfigDict(extra="forbid")
    objective: str | None = None
    adapter: str | None = None
    steps: int | None = Field(default=None, ge=1)
    rank: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    video_only: bool | None = None
    direction: str | None = None
    skip: list[str] | None = None


class OneChange(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    value: int
    reason: str = ""


class Report(BaseModel):
    model_config = ConfigDict(extra="allow")


def inspect_clips(project: Project, arguments: Nothing, progress: Progress) -> Report:
    """Look at the clips."""
    if (project.path / "no-clips").exists():
        raise DataError("The folder holds no clip.", "Put one in.")
    progress("clips", 1, 2)
    write_json(project.report_path, {"clips": []})
    return Report(
        clips=2, usable=2, clips_with_sound=1, sentence="2 of 2 clips.", problems=[], report_html="report.html"
    )


def caption_clips(project: Project, arguments: CaptionChoices, progress: Progress) -> Report:
    """Caption the clips."""
    row = {"path": "a\x1b[31m.mp4", "source": arguments.captioner, "caption": "A red ball.", "needs_review": True}
    write_jsonl(project.captions_path, [row])
    return Report(
        clips=1,
        by_source={arguments.captioner: 1},
        written=1,
        kept=0,
        needs_review=1,
        trigger=arguments.trigger,
        notes=[],
    )


def draft_config(project: Project, arguments: DraftChoices, progress: Progress) -> Report:
    """Draft the plan."""
    write_text(project.config_path, arguments.model_dump_json())
    write_text(project.plan_path, f"The plan: {arguments.steps} steps.\n")
    return Report(
        objective=arguments.objective or "t2v",
        adapter="lora",
        video_only=False,
        values=[],
        sentence="1 of 1.",
        left_out=[],
        notes=[],
    )


def change_config(project: Project, arguments: OneChange, progress: Progress) -> Report:
    """Change one value."""
    before = json.loads(project.config_path.read_text())
    key = arguments.name.split(".")[-1]
    write_text(project.config_path, json.dumps({**before, key: arguments.value}, separators=(",", ":")))
    return Report(name=arguments.name, before=before[key], after=arguments.value, diff=["changed"], note="")


def start_training(project: Project, arguments: Nothing, progress: Progress) -> Report:
    """Start."""
    with (project.path / "started").open("a") as file:
        file.write("x")
    return Report(run="r1", state="running", steps=9, error=None)


class RunChoice(BaseModel):
    model_config = ConfigDict(extra="forbid")
    run: str | None = None


def run_status(project: Project, arguments: RunChoice, progress: Progress) -> Report:
    """Say how it goes."""
    return Report(run="r1", path="/p", state="running", step=3, steps=9, eta_s=30.0, losses={}, verdict=None)


def stop_training(project: Project, arguments: RunChoice, progress: Progress) -> Report:
    """Stop."""
    return Report(message="Run r1 ended as done at step 3 of 9.")


TOOLS: dict[Stage, list[Tool]] = {
    "inspect": [Tool("inspect_clips", inspect_clips, Nothing)],
    "caption": [Tool("caption_clips", caption_clips, CaptionChoices)],
    "draft": [
        Tool("draft_config", draft_config, DraftChoices),
        Tool("change_config", change_config, OneChange, needs_approval="change"),
    ],
    "monitor": [
        Tool("start_training", start_training, Nothing, needs_approval="start"),
        Tool("run_status", run_status, RunChoice),
        Tool("stop_training", stop_training, RunChoice),
    ],
}


def counting_tools() -> dict[Stage, list[Tool]]:
    """TOOLS that leave a line in `effects` when they have had their effect; a cut-off start is found again by it."""

    def counted(tool: Tool) -> Tool:
        def run(project: Project, arguments: BaseModel, progress: Progress) -> BaseModel:
            result = tool.function(project, arguments, progress)
            with (project.path / "effects").open("a") as file:
                file.write(f"{tool.name}\n")
            return result

        def recover(project: Project, arguments: BaseModel, started_at: float) -> BaseModel | None:
            if tool.name != "start_training" or not (project.path / "started").exists():
                return None
            return Report(run="r1", state="running", steps=9, error=None)

        run.__doc__ = tool.function.__doc__
        return Tool(tool.name, run, tool.arguments, tool.needs_approval, recover=recover)

    return {stage: [counted(tool) for tool in tools] for stage, tools in TOOLS.items()}


@pytest.fixture
def counting_context(project: Project) -> AgentContext:
    return AgentContext(project, Planner(), counting_tools())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    path = tmp_path / "project"
    path.mkdir()
    made = Project(path)
    made.write_facts(ProjectFacts(sources=[str(tmp_path / "clips")]))
    return made


@pytest.fixture
def finished(project: Project, tmp_path: Path) -> Project:
    """A project with clips, captions, a plan and two runs that have ended."""
    from finished_project import finish  # children of tests load this file without tests/support on their path

    return finish(project, tmp_path / "clips")


@pytest.fixture
def config_text() -> str:
    from finished_project import CONFIG

    return CONFIG


@pytest.fixture
def context(project: Project) -> AgentContext:
    return AgentContext(project, Planner(), TOOLS)


@pytest.fixture
def session(context: AgentContext) -> Iterator[Session]:
    with open_session(context) as opened:
        yield opened


@pytest.fixture
def in_lines(bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`in_lines(context, *lines)`: hold a conversation in line mode, a line typed at each prompt; what it printed."""

    def talk(context: AgentContext, *lines: str) -> str:
        source, end = os.pipe()
        bare.setattr("sys.stdin", os.fdopen(source))
        sink = os.fdopen(end, "wb", 0)
        waiting, typed = list(lines), Terminal._line

        def line(terminal: Terminal, prompt: str) -> str:
            """Like a person, write only once there is something to answer."""
            if waiting:
                sink.write(f"{waiting.pop(0)}\n".encode())
            else:
                sink.close()
            return typed(terminal, prompt)

        bare.setattr(Terminal, "_line", line)
        capsys.readouterr()
        with sink:
            converse(context, Terminal())
        bare.setattr(Terminal, "_line", typed)
        return capsys.readouterr().out

    return talk


@pytest.fixture
def scripted(project: Project) -> Callable[..., AgentContext]:
    return lambda *replies: AgentContext(project, Scripted(replies=list(replies)), TOOLS)


@pytest.fixture
def call() -> Callable[..., AIMessage]:
    return calling


@pytest.fixture
def heard() -> Callable[[Iterator[Event]], list[Event]]:
    """Drain a turn."""
    return list


@pytest.fixture
def checkpoints(project: Project) -> Callable[[], int]:
    def count() -> int:
        with sqlite3.connect(project.session_path) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM checkpoints").fetchone()[0])

    return count


ENDPOINT_VARIABLES = (
    "LTX_AGENT_BASE_URL",
    "LTX_AGENT_MODEL",
    "LTX_AGENT_SETTINGS",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "XDG_CONFIG_HOME",
)


class Endpoint(ThreadingHTTPServer):
    """An OpenAI-compatible server that gives its answers in order, the last one again and again.

    An answer is a status and a message. `refuses(request)` gives a status for what this kind of server can't do;
    `streams` is whether it answers a request for a stream with one.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.requests: list[dict[str, Any]] = []
        self.refuses: Callable[[dict[str, Any]], int | None] = lambda _: None
        self.streams = True
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        time.sleep(self.server.delay_s)
        refused = self.server.refuses(request)
        if refused is not None:
            return self._send(refused, _failure(), "application/json")
        answers = self.server.answers
        status, message = answers.pop(0) if len(answers) > 1 else answers[0]
        if "page" in message:
            return self._send(status, message["page"].encode(), "text/html")
        if status != 200:
            return self._send(status, _failure(), "application/json")
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        if request.get("stream") and self.server.streams:
            return self._send(200, _stream(message, usage), "text/event-stream")
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "", **message}}
        body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        return self._send(200, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in self.server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # the client gave up waiting
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None: ...


def _failure() -> bytes:
    return json.dumps({"error": {"message": "a secret: sk-123\x1b[31m", "type": "x"}}).encode()


def _stream(message: dict[str, Any], usage: dict[str, int]) -> bytes:
    """The message as server-sent events: its words one by one, its calls whole."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    words = (message.get("content") or "").split(" ")
    deltas += [{"content": word if index == 0 else f" {word}"} for index, word in enumerate(words) if word]
    calls = message.get("tool_calls")
    if calls:
        deltas.append({"tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]})
    base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**base, "choices": [], "usage": usage})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No endpoint, no key and no settings file, whatever this machine has."""
    for name in ENDPOINT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LTX_AGENT_SETTINGS", str(tmp_path / "settings.yaml"))
    return monkeypatch


@pytest.fixture
def endpoint(bare: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        bare.setenv("LTX_AGENT_BASE_URL", server.url)
        bare.setenv("LTX_AGENT_MODEL", "m")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ltx(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The console script as a person runs it, in `tmp_path` and without a language model."""
    environment = {
        name: value for name, value in os.environ.items() if "OPENAI" not in name and "LTX_AGENT" not in name
    }

    def answered(command: list[Any], answers: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Write each answer into a pipe only when a prompt has come: what is written earlier answers no card."""
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        with (tmp_path / "stderr").open("w+") as errors:
            with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=errors, **pipes) as child:
                seen, left = b"", list(answers)
                while piece := os.read(child.stdout.fileno(), 65536):
                    seen += piece
                    if seen.endswith(b"> ") and left:
                        child.stdin.write(f"{left.pop(0)}\n".encode())
                        child.stdin.flush()
            errors.seek(0)
            return subprocess.CompletedProcess(command, child.returncode, seen.decode(), errors.read())

    def run(
        *arguments: str | Path | bytes, stdin: str = "", answers: Sequence[str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        if answers is not None:
            return answered([Path(sys.executable).with_name("ltx-agent"), *arguments], answers)
        return subprocess.run(
            [Path(sys.executable).with_name("ltx-agent"), *arguments],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=120,
        )

    return run
