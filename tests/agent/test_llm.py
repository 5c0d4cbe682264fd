"""The chat model that is chosen, and what a person hears when its endpoint fails: a real server on this machine."""

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from agent.context import AgentContext
from agent.llm.choose import ask, choose_model
from agent.llm.settings import Settings, load_settings
from agent.planner.chat_model import Planner
from agent.session.session import open_session
from trainer_core.errors import ConfigError, ExternalError


def asked_once(**llm: Any) -> BaseChatModel:
    """The environment's model, which sends a failed request once."""
    settings = load_settings()
    return choose_model("auto", Settings(llm=settings.llm.model_copy(update={"retries": 0, **llm})))


def test_without_an_endpoint_it_is_the_planner(bare: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_model("auto"), Planner)


def test_a_key_alone_is_not_spent_unasked(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("OPENAI_API_KEY", "sk-1")
    assert isinstance(choose_model("auto"), Planner)


def test_builtin_wins_over_an_endpoint(endpoint: Any) -> None:
    assert isinstance(choose_model("builtin"), Planner)


def test_a_half_configured_endpoint_is_an_error(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("LTX_AGENT_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match="LTX_AGENT_MODEL is not"):
        choose_model("auto")


def test_a_named_model_needs_an_endpoint(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="has no endpoint"):
        choose_model("some-model")


def test_an_endpoint_drives_the_graph(endpoint: Any, context: AgentContext) -> None:
    tool_call = {"id": "c1", "type": "function", "function": {"name": "inspect_clips", "arguments": "{}"}}
    endpoint.answers = [(200, {"tool_calls": [tool_call]}), (200, {"content": "Two clips."}), (200, {"content": "Hm."})]
    with open_session(AgentContext(context.project, choose_model("auto"), context.tools)) as session:
        list(session.begin("a goal", until="draft"))
        texts = [message.text for message in session.state["messages"] if isinstance(message, AIMessage)]
    assert texts[:3] == ["", "Two clips.", "Hm."]
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
def test_a_failing_endpoint_is_explained(endpoint: Any, status: int, says: str) -> None:
    endpoint.answers = [(status, {})]
    with pytest.raises(ExternalError, match=says) as raised:
        ask(asked_once(), [], [])
    assert "--llm builtin" in raised.value.hint
    assert "sk-123" not in str(raised.value)


def test_a_silent_endpoint_times_out(endpoint: Any) -> None:
    endpoint.answers, endpoint.delay_s = [(200, {"content": "late"})], 0.6
    with pytest.raises(ExternalError, match="no answer within"):
        ask(asked_once(timeout_s=0.2), [], [])


def test_no_server_at_all_is_explained(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("LTX_AGENT_BASE_URL", "http://127.0.0.1:9/v1")
    bare.setenv("LTX_AGENT_MODEL", "m")
    with pytest.raises(ExternalError, match="can't be reached"):
        ask(asked_once(), [], [])


def test_a_web_page_is_no_answer(endpoint: Any) -> None:
    endpoint.answers = [(200, {"page": "<html>It works!</html>"})]
    with pytest.raises(ExternalError, match="no chat completion"):
        ask(asked_once(), [], [])
