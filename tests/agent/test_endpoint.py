"""An endpoint's moods, over real HTTP: streams, servers without tools or streams, retries, budgets, the fall-back."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from agent.context import AgentContext
from agent.llm import endpoint as endpoint_module
from agent.llm.choose import ask, choose_model
from agent.llm.settings import Budget, Settings, load_settings
from agent.session.events import Asked, Called, Returned, Said, Streamed
from agent.session.session import open_session
from trainer_core.errors import ExternalError

TOOL = {
    "type": "function",
    "function": {"name": "inspect_clips", "description": "Look.", "parameters": {"type": "object", "properties": {}}},
}


def calling(name: str, arguments: str = "{}") -> dict[str, Any]:
    return {"tool_calls": [{"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}]}


def settings_with(**llm: Any) -> Settings:
    settings = load_settings()
    return settings.model_copy(update={"llm": settings.llm.model_copy(update=llm)})


def model_with(**llm: Any) -> Any:
    return choose_model("auto", settings_with(**llm))


def test_words_are_heard_while_they_come(endpoint: Any, context: AgentContext) -> None:
    endpoint.answers = [(200, {"content": "Two clips, one with sound."})]
    heard: list[str] = []
    reply = ask(choose_model("auto"), [TOOL], [HumanMessage("hi")], heard.append)
    assert reply.text == "Two clips, one with sound."
    assert len(heard) > 2
    assert "".join(heard) == reply.text
    with open_session(AgentContext(context.project, choose_model("auto"), context.tools)) as session:
        events = list(session.say("hi"))
    assert "".join(event.text for event in events if isinstance(event, Streamed)) == reply.text
    assert Said(reply.text) in events


def test_a_streamed_call_arrives_whole(endpoint: Any) -> None:
    endpoint.answers = [(200, calling("inspect_clips", '{"frame_rate": 24}'))]
    reply = ask(choose_model("auto"), [TOOL], [HumanMessage("hi")], lambda _: None)
    assert [(call["name"], call["args"]) for call in reply.tool_calls] == [("inspect_clips", {"frame_rate": 24})]


def test_a_server_that_can_not_stream_tools_is_asked_without(endpoint: Any) -> None:
    endpoint.refuses = lambda request: 400 if request.get("stream") and request.get("tools") else None
    endpoint.answers = [(200, calling("inspect_clips"))]
    model = choose_model("auto")
    for _ in range(2):
        assert ask(model, [TOOL], [HumanMessage("hi")], lambda _: None).tool_calls
    assert [bool(request.get("stream")) for request in endpoint.requests] == [True, False, False]


def test_a_server_that_answers_a_stream_with_a_page_is_asked_without(endpoint: Any) -> None:
    endpoint.streams = False
    endpoint.answers = [(200, {"content": "Hello."})]
    assert ask(choose_model("auto"), [TOOL], [HumanMessage("hi")], lambda _: None).text == "Hello."


def test_a_server_without_tools_is_spoken_to_in_json(endpoint: Any, context: AgentContext) -> None:
    endpoint.refuses = lambda request: 500 if request.get("tools") else None
    call = json.dumps({"say": None, "tool": "inspect_clips", "arguments": {}})
    endpoint.answers = [(200, {"content": f"```json\n{call}\n```"}), (200, {"content": '{"say": "Two clips."}'})]
    model = model_with(retries=0)
    with open_session(AgentContext(context.project, model, context.tools)) as session:
        events = list(session.say("look at my clips"))
    assert [event.tool for event in events if isinstance(event, Called)] == ["inspect_clips"]
    assert Said("Two clips.") in events
    spoken = endpoint.requests[-1]
    assert "tools" not in spoken
    assert spoken["response_format"]["type"] == "json_schema"
    assert {message["role"] for message in spoken["messages"]} <= {"system", "user", "assistant"}


def test_a_server_that_knows_no_schema_is_spoken_to_without(endpoint: Any) -> None:
    endpoint.refuses = lambda request: 400 if request.get("response_format") else None
    endpoint.answers = [(200, {"content": '<think>hm</think>{"tool": "inspect_clips", "arguments": {}}'})]
    reply = ask(model_with(tools="json", retries=0), [TOOL], [SystemMessage("s"), HumanMessage("hi")])
    assert [call["name"] for call in reply.tool_calls] == ["inspect_clips"]


def test_a_call_that_is_only_quoted_calls_nothing(endpoint: Any) -> None:
    quoted = 'The caption says {"tool": "inspect_clips", "arguments": {}} and nothing else.'
    endpoint.answers = [(200, {"content": quoted})]
    reply = ask(choose_model("auto"), [TOOL], [HumanMessage("hi")])
    assert (reply.text, reply.tool_calls) == (quoted, [])


def test_no_message_has_null_content(endpoint: Any) -> None:
    endpoint.answers = [(200, {"content": "ok"})]
    past = [
        HumanMessage("hi"),
        AIMessage("", tool_calls=[{"name": "inspect_clips", "args": {}, "id": "a"}]),
        ToolMessage("done", tool_call_id="a"),
    ]
    ask(choose_model("auto"), [TOOL], past)
    assert [message["content"] for message in endpoint.requests[0]["messages"]] == ["hi", "", "done"]


def test_a_small_model_that_talks_instead_of_acting_is_asked_for_the_stages_tool(
    endpoint: Any, context: AgentContext
) -> None:
    endpoint.answers = [
        (200, {"content": "I would look at them."}),
        (200, calling("inspect_clips")),
        (200, {"content": "x"}),
    ]
    with open_session(AgentContext(context.project, choose_model("auto"), context.tools)) as session:
        events = list(session.begin("my film", until="inspect"))
    assert "inspect_clips" in [event.tool for event in events if isinstance(event, Called)]
    assert endpoint.requests[1]["tool_choice"] == {"type": "function", "function": {"name": "inspect_clips"}}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_a_while(
    endpoint: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(endpoint_module, "sleep", waits.append)
    endpoint.answers = [(status, {}), (status, {}), (200, {"content": "Hello."})]
    assert ask(choose_model("auto"), [], [HumanMessage("hi")]).text == "Hello."
    assert waits == [0.5, 1.0]


def test_retry_after_is_kept(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(endpoint_module, "sleep", waits.append)
    endpoint.headers = {"Retry-After": "7"}
    endpoint.answers = [(429, {}), (200, {"content": "Hello."})]
    ask(choose_model("auto"), [], [HumanMessage("hi")])
    assert waits == [7.0]


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_what_waiting_can_not_help_is_said_at_once(endpoint: Any, status: int) -> None:
    endpoint.answers = [(status, {})]
    with pytest.raises(ExternalError, match=f"HTTP {status}"):
        ask(choose_model("auto"), [TOOL], [HumanMessage("hi")])
    assert len(endpoint.requests) == 1


def test_the_planner_takes_over_with_consent(endpoint: Any, context: AgentContext) -> None:
    endpoint.answers = [(401, {})]
    with open_session(AgentContext(context.project, choose_model("auto"), context.tools)) as session:
        events = list(session.say("what does rank mean?"))
        question = next(event.question for event in events if isinstance(event, Asked))
        assert question.approval == "fallback"
        assert "refused the key" in "\n".join(question.details)
        events = list(session.answer(True))
        assert any("how much it can hold" in event.text for event in events if isinstance(event, Said))
        assert session.model_name == "builtin"
        assert any(isinstance(event, Said) for event in session.say("what is a sigma?"))
    assert len(endpoint.requests) == 1


def test_without_consent_the_failure_stands(endpoint: Any, context: AgentContext) -> None:
    endpoint.answers = [(401, {})]
    with open_session(AgentContext(context.project, choose_model("auto"), context.tools)) as session:
        list(session.say("hi"))
        events = list(session.answer(False))
        assert events == []
        assert session.state["error"] is not None
        assert session.state["error"]["exit_code"] == 6


def test_a_spent_budget_asks_before_more_is_spent(endpoint: Any, context: AgentContext) -> None:
    endpoint.answers = [(200, {"content": "Hello."})]
    settings = settings_with(price_per_million_input=10.0, price_per_million_output=100.0)
    with open_session(
        AgentContext(context.project, choose_model("auto", settings), context.tools, settings)
    ) as session:
        session.set_budget(Budget(tokens=150))
        list(session.say("hi"))
        assert (session.spent().input_tokens, session.spent().output_tokens) == (100, 20)
        assert session.spent().money == pytest.approx(0.003)
        list(session.say("hi"))
        question = next(event.question for event in session.say("hi") if isinstance(event, Asked))
        assert "budget of 150 tokens is spent" in question.details[0]
    assert len(endpoint.requests) == 2


def test_a_long_talk_forgets_messages_and_keeps_the_persons_words(endpoint: Any, context: AgentContext) -> None:
    endpoint.answers = [(200, {"content": "word " * 300})]
    settings = settings_with(context_tokens=2000)
    with open_session(
        AgentContext(context.project, choose_model("auto", settings), context.tools, settings)
    ) as session:
        for turn in range(8):
            list(session.say(f"are {turn}00 steps enough?"))
        state = session.state
    assert len(state["messages"]) < 16
    assert "person: are 000 steps enough?" in state["earlier"]
    assert len(json.dumps(endpoint.requests[-1]["messages"])) < 4 * 2000 * 1.5 + 6000


def test_wrong_arguments_come_back_with_the_schema_once(endpoint: Any, context: AgentContext) -> None:
    endpoint.answers = [(200, calling("inspect_clips", '{"colour": "red"}'))]
    with open_session(AgentContext(context.project, choose_model("auto"), context.tools)) as session:
        events = list(session.say("look"))
    failed = [event for event in events if isinstance(event, Returned)]
    assert len(failed) == 2
    assert "Schema: {" in failed[0].refusal
    assert len(endpoint.requests) == 2


def test_the_settings_file_names_the_endpoint_and_never_holds_a_key(bare: Any, endpoint: Any, tmp_path: Any) -> None:
    bare.delenv("LTX_AGENT_BASE_URL")
    bare.delenv("LTX_AGENT_MODEL")
    (tmp_path / "settings.yaml").write_text(f"llm: {{base_url: '{endpoint.url}', model: m}}\n")
    endpoint.answers = [(200, {"content": "Hello."})]
    assert ask(choose_model("auto"), [], [HumanMessage("hi")]).text == "Hello."
    (tmp_path / "settings.yaml").write_text("llm: {api_key: sk-secret}\n")
    with pytest.raises(Exception, match="api_key") as raised:
        choose_model("auto")
    assert "sk-secret" not in str(raised.value)


def test_switching_the_model_lasts(endpoint: Any, context: AgentContext) -> None:
    from agent.context import open_context

    endpoint.answers = [(200, {"content": "Hello."})]
    with open_session(AgentContext(context.project, choose_model("builtin"), context.tools)) as session:
        session.set_model("other-model")
        list(session.say("hi"))
        assert session.model_name == "other-model"
    assert endpoint.requests[0]["model"] == "other-model"
    assert open_context(context.project).model.model_name == "other-model"  # type: ignore[attr-defined]
