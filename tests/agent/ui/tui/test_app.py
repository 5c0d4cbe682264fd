"""What a person does with keys, and what the screen and the files say then."""

import asyncio
import json
import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage
from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from agent.context import AgentContext
from agent.llm.settings import load_settings
from agent.session.events import Streamed
from agent.session.session import open_session
from agent.ui.tui.app import LtxApp, Posted
from agent.ui.tui.conversation import Happened
from agent.ui.tui.panes.clips import ClipsPane
from agent.ui.tui.panes.curves import CurvesPane
from agent.ui.tui.panes.plan import PlanPane
from agent.ui.tui.screens.keys import Keys
from agent.ui.tui.screens.question import YesNo
from agent.ui.tui.screens.welcome import Welcome
from agent.ui.tui.widgets.entries import ApprovalCard, Notice, SaidEntry, ToolCall, Words
from tools.project import Project
from trainer_core.files import read_jsonl, write_json, write_text

Settle = Callable[[Pilot[None]], Awaitable[None]]
Drive = Callable[..., None]


async def typed(pilot: Pilot[None], text: str) -> None:
    prompt = pilot.app.query_one("#prompt")
    prompt.focus()
    prompt.insert(text)  # type: ignore[attr-defined]
    await pilot.press("enter")


def test_the_whole_talk_goes_by_keys(context: AgentContext, drive: Drive, settle: Settle) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        card = app.query_one(ApprovalCard)
        assert card.approval == "captions"
        assert card.has_focus
        assert [call.title.split()[1] for call in app.query(ToolCall)] == ["inspect_clips", "caption_clips"]
        await pilot.press("y")
        await settle(pilot)
        assert app.talk.card.approval == "plan"
        assert context.project.config_path.exists()
        await pilot.press(*"use")  # the card has the focus; words go to the prompt by themselves
        await typed(pilot, " 300 steps")
        await settle(pilot)
        assert app.talk.card.approval == "plan"
        assert json.loads(context.project.config_path.read_text())["steps"] == 300
        await typed(pilot, "yes")
        await settle(pilot)
        assert app.talk.card.approval == "start"
        assert not (context.project.path / "started").exists()
        await pilot.press("y")
        await settle(pilot)
        assert (context.project.path / "started").exists()
        assert "Training started" in app.query(SaidEntry).last().text

    drive(context, steps)


def in_one_burst(app: LtxApp, text: str) -> None:
    """Type text and Enter faster than the screen keeps up: all keys are there before the first is handled."""
    for character in text:
        app.post_message(events.Key(_character_to_key(character), character))
    app.post_message(events.Key("enter", "\r"))


def test_words_and_enter_that_come_at_once_are_sent_in_order(
    context: AgentContext, drive: Drive, settle: Settle
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        card = app.query_one(ApprovalCard)
        assert card.has_focus
        in_one_burst(app, "why any of my clips? what does rank mean?")
        await settle(pilot)
        assert "why any of my clips? what does rank mean?" in [said.text for said in app.query(Words)]
        assert app.talk.prompt.text == ""
        assert not context.project.config_path.exists()  # the y of "why" said yes to nothing
        app.talk.prompt.focus()
        await pilot.pause()
        in_one_burst(app, "what is a seed?")
        await settle(pilot)
        assert "what is a seed?" in [said.text for said in app.query(Words)]

    drive(context, steps)


def on_screen(app: LtxApp) -> str:
    """The text that stands on the screen."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize("size", [(80, 24), (60, 15)])
def test_a_tall_card_shows_its_costs_and_says_that_there_is_more(
    finished: Project, context: AgentContext, drive: Drive, size: tuple[int, int]
) -> None:
    details = [f"fact {number} to judge the start by" for number in range(1, 31)]
    costs = [f"{kind}: much of it, said in a sentence that is longer than a line of a small terminal, cost {kind}"
             for kind in ("time", "memory", "disk", "money")]  # fmt: skip

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        app.talk.ask("start", "Start the training?", details, costs)
        card = app.talk.card
        for _ in range(3):
            await pilot.pause()
        shown = on_screen(app)
        assert "needs your word: start" in shown
        assert "y yes" in shown
        assert "fact 1 to" in shown
        assert re.search(r"↓ \d+ more lines", shown)
        assert "cost money" in shown or size != (80, 24)
        read = ""
        while "more lines" in on_screen(app):
            await pilot.press("pagedown")
            read += on_screen(app)
        assert all(fact in read for fact in details[3:])  # no page leaves out a line
        assert "fact 30 to" in on_screen(app)
        assert "cost money" in on_screen(app)
        assert "Start the training?" in on_screen(app)
        await pilot.press(*["up"] * 80)
        await pilot.press("down", "up")
        assert "fact 1 to" in on_screen(app)
        app.talk.answered("you said no")
        await pilot.pause()
        assert card.size.height < 3  # the record of it is its question
        assert "more lines" not in on_screen(app)

    drive(context, steps, size=size)


def test_an_answer_comes_in_pieces(finished: Project, context: AgentContext, drive: Drive, settle: Settle) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        for piece in ("Rank is the *width*", " of the adapter.\n\n```\nrank: 8\n", "```\n"):
            app.post_message(Posted(Happened(Streamed(piece))))
            await pilot.pause()
        shown = app.query(SaidEntry).last()
        assert "width" in shown.text
        await typed(pilot, "what is rank?")
        await settle(pilot)
        assert "rank" in app.talk.last_said.lower()

    drive(context, steps)


def test_a_call_opens_to_its_arguments_and_result(context: AgentContext, drive: Drive) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        call = app.query(ToolCall).first()
        assert call.collapsed
        call.query_one("CollapsibleTitle").focus()
        await pilot.press("enter")
        await pilot.pause()
        assert not call.collapsed
        assert '"usable": 2' in str(call.query_one("Contents Static").render())

    drive(context, steps)


def test_reopening_shows_the_talk_where_it_was(context: AgentContext, drive: Drive) -> None:
    with open_session(context) as session:
        list(session.begin("rain on roofs", until="monitor"))

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        assert app.query_one(ApprovalCard).approval == "captions"
        assert len(app.query(ToolCall)) == 2

    drive(context, steps)


def test_another_process_in_the_talk_leaves_the_rest_usable(
    finished: Project, context: AgentContext, drive: Drive
) -> None:
    with open_session(context):

        async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
            assert "Another ltx-agent" in str(app.query(Notice).last().render())
            await pilot.press("f3")
            assert "rank: 8" in app.plan.text

        drive(context, steps)


def test_slash_commands_complete_and_say_what_they_do_not_know(
    finished: Project, context: AgentContext, drive: Drive
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.press("slash", "c", "u")
        assert app.query_one("#completions").display
        await pilot.press("tab")
        assert app.talk.prompt.text == "/curves"
        await pilot.press("enter")
        assert app.workbench.shown == "curves"
        await pilot.press("f2")
        await typed(pilot, "/nonsense ")
        assert "no command /nonsense" in str(app.query(Notice).last().render())
        await typed(pilot, "/compare 20260101-100000")
        assert app.workbench.shown == "curves"

    drive(context, steps)


def test_the_prompt_keeps_lines_history_and_dropped_paths(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle, tmp_path: Path
) -> None:
    dropped = tmp_path / "a clip.mp4"
    dropped.touch()

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        prompt = app.talk.prompt
        prompt.focus()
        await pilot.press("h", "i", "ctrl+j", "y", "o")
        assert prompt.text == "hi\nyo"
        await pilot.press("enter")
        await settle(pilot)
        assert app.query(Words).last().text == "hi\nyo"
        await pilot.press("x", "up")
        assert prompt.text == "hi\nyo"
        await pilot.press("down", "down")
        assert prompt.text == "x"
        await pilot.press("escape")
        assert prompt.text == ""
        app.post_message(events.Paste("two\nlines"))
        await pilot.pause()
        assert prompt.text == "two\nlines"
        await pilot.press("escape")
        app.post_message(events.Paste(str(dropped)))
        await pilot.pause()
        assert prompt.text == f"'{dropped}'"

    drive(context, steps)


def test_the_plan_is_edited_checked_and_saved(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.press("f3", "e")
        editor = app.query_one("#yaml")
        line = next(n for n, text in enumerate(app.plan.text.split("\n")) if "rank: 8" in text)
        editor.move_cursor((line, 8))  # type: ignore[attr-defined]
        await pilot.press("delete", "0")
        await pilot.pause(0.4)
        await settle(pilot)
        assert "1 problem" in str(app.plan.border_subtitle)
        assert f"line {line + 1}" in str(app.query_one("#yaml-hint").render())
        assert "not saved" in str(app.plan.border_title)
        await pilot.press("backspace", "1", "6", "ctrl+s")
        await settle(pilot)
        assert "rank: 16" in finished.config_path.read_text()
        await pilot.press("escape")
        assert editor.read_only  # type: ignore[attr-defined]

    drive(context, steps)


def test_the_editor_completes_from_the_schema(finished: Project, context: AgentContext, drive: Drive) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.press("f3", "e")
        editor = app.query_one("#yaml")
        editor.move_cursor(editor.document.end)  # type: ignore[attr-defined]
        await pilot.press("w", "a", "n", "tab")
        assert app.plan.text.endswith("wandb: ")
        await pilot.press("enter", "tab")
        options = app.query_one("#yaml-completions")
        assert options.display
        await pilot.press("enter")
        assert app.plan.text.endswith("enabled: ")

    drive(context, steps)


def test_a_proposal_is_taken_hunk_by_hunk(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        before = finished.config_path.read_text()
        write_text(finished.config_path, before.replace("rank: 8 ", "rank: 32").replace("steps: 400", "steps: 900"))
        app.watcher.glance()
        for _ in range(200):
            await pilot.pause(0.02)
            if "changed" in str(app.plan.border_subtitle):
                break
        await pilot.press("f3", "d")
        await pilot.pause()
        await pilot.press("r", "a", "enter")
        await settle(pilot)
        text = finished.config_path.read_text()
        assert "rank: 8 " in text
        assert "steps: 900" in text

    drive(context, steps)


def test_curves_zoom_pan_and_read_out(finished: Project, context: AgentContext, drive: Drive, settle: Settle) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        curves: CurvesPane = app.curves
        await pilot.press("f4")
        assert (curves.view.first, curves.view.last) == (1, 400)
        await pilot.press("home", "right", "right")
        legend = str(curves.query("Panel Static").first().render())
        assert "held out" in legend
        assert "step" in legend
        await pilot.press("plus", "plus")
        assert curves.view.span < 200
        first = curves.view.first
        await pilot.press("full_stop")
        assert curves.view.first > first
        await pilot.press("0", "l", "2", "s")
        assert "log" in str(curves.border_subtitle)
        assert "smoothing strong" in str(curves.border_subtitle)
        await pilot.press("n")
        assert curves.view.first <= 120 <= curves.view.last
        await pilot.press("b", "f")
        assert "following" in str(curves.border_subtitle)
        assert curves.view.last == 400
        await pilot.press("c")
        for _ in range(200):
            await pilot.pause(0.02)
            if "against 20260101-100000" in str(curves.border_title):
                break
        assert "against 20260101-100000" in str(curves.border_title)
        await pilot.press("C", "left_square_bracket")
        for _ in range(200):
            await pilot.pause(0.02)
            if "20260101-100000" in str(curves.border_title):
                break
        assert "20260101-100000" in str(curves.border_title)
        assert "20260101-100000" in str(app.query_one("#run").border_title)

    drive(context, steps)


def test_a_live_run_grows_on_the_screen(
    finished: Project,
    context: AgentContext,
    drive: Drive,
    rows: Callable[..., dict[str, object]],
    append: Callable[[Path, list[dict[str, object]]], None],
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        path = finished.runs()[-1].metrics_path
        append(path, [rows(step) for step in range(401, 451)])
        app.watcher.glance()
        for _ in range(200):
            await pilot.pause(0.02)
            if app.curves.view.last == 450:
                break
        assert app.curves.view.last == 450

    drive(context, steps)


def test_a_caption_is_written_as_the_persons(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        pane = app.query_one(ClipsPane)
        await pilot.press("f5", "v")
        await settle(pilot)
        (rain, _) = read_jsonl(finished.captions_path)
        assert not rain["needs_review"]
        assert rain["caption"] == "Rain falls on a tin roof at dusk."
        await pilot.press("e")
        pane.query_one("#caption-editor").load_text("Rain on tin, thunder far away.")  # type: ignore[attr-defined]
        await pilot.press("ctrl+s")
        await settle(pilot)
        (rain, street) = read_jsonl(finished.captions_path)
        assert (rain["caption"], rain["source"]) == ("Rain on tin, thunder far away.", "person")
        assert street["caption"].startswith("A wide street")
        await pilot.press("slash")
        pane.query_one(Input).value = "blocked short"
        await pilot.pause()
        assert pane.query_one(DataTable).row_count == 0
        pane.query_one(Input).value = "too_short"
        await pilot.pause()
        assert pane.query_one(DataTable).row_count == 1

    drive(context, steps)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((80, 24), {"talk"}),
        ((120, 28), {"talk", "plan"}),
        ((120, 36), {"talk", "plan", "curves"}),
        ((200, 60), {"talk", "plan", "curves", "run"}),
    ],
)
def test_as_many_panes_as_fit(
    finished: Project, context: AgentContext, drive: Drive, size: tuple[int, int], shown: set[str]
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        assert {pane.id for pane in app.query("#body > Pane") if pane.display} == shown
        for pane in app.query("#body > Pane"):
            if pane.display:
                assert pane.region.width >= 40
                assert app.screen.region.contains_region(pane.region)
        await pilot.press("f5", "f8")
        assert {pane.id for pane in app.query("#body > Pane") if pane.display} == {"clips"}

    drive(context, steps, size=size)


def test_keys_are_told_on_every_pane_and_the_palette_knows_the_commands(
    finished: Project, context: AgentContext, drive: Drive
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        for key, title in (
            ("f2", "Talk"),
            ("f3", "Plan"),
            ("f4", "Curves"),
            ("f5", "Clips"),
            ("f6", "Run"),
            ("f7", "Samples"),
        ):
            await pilot.press(key, "f1")
            await pilot.pause()
            assert isinstance(app.screen, Keys)
            assert title in str(app.screen.query_one("#keys").border_title)
            await pilot.press("escape")
        names = {command.title for command in app.get_system_commands(app.screen)}
        assert {"/start", "/theme", "/model …"} <= names
        await pilot.press("ctrl+t")
        assert app.theme == "ltx-light"

    drive(context, steps)


def test_what_was_missed_stands_below_what_was_talked_and_the_page_keys_lead_up(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle
) -> None:
    run = finished.runs()[-1]
    with open_session(context) as session:
        for word in ("rank", "sigma", "step", "seed"):
            list(session.say(f"what is a {word}?"))
    write_json(finished.path / ".last-visit.json", {"time": 0.0, "runs": {run.id: "running"}})
    run.record_event("exploding adapter", step=400, message="The adapter doctor finds it exploding.")

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        for _ in range(500):  # the files are looked at beside the conversation
            await pilot.pause(0.01)
            if "While you were away" in on_screen(app):
                break
        last = app.talk.transcript.children[-1]
        assert isinstance(last, Notice)
        assert "finds it exploding" in str(last.render())
        assert app.talk.prompt.has_focus
        assert "what is a rank?" not in on_screen(app)
        for _ in range(12):
            await pilot.press("pageup")
        assert "what is a rank?" in on_screen(app)

    drive(context, steps, size=(80, 24))


def test_another_model_stands_in_the_head_at_once(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle, bare: pytest.MonkeyPatch
) -> None:
    bare.setenv("LTX_AGENT_BASE_URL", "http://127.0.0.1:9/v1")
    settings = load_settings()

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await typed(pilot, "/model other-model")
        await settle(pilot)
        assert "· other-model" in on_screen(app).splitlines()[0]
        await typed(pilot, "/model builtin")
        await settle(pilot)
        assert "· planner" in on_screen(app).splitlines()[0]

    drive(replace(context, settings=settings), steps)


def test_the_lines_of_a_changes_diff_stand_close(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        app.talk.ask("change", "Change the plan like this?", ["-steps: 400", "+steps: 500"], [])
        for _ in range(3):
            await pilot.pause()
        lines = on_screen(app).splitlines()
        at = next(number for number, line in enumerate(lines) if "-steps: 400" in line)
        assert "+steps: 500" in lines[at + 1]

    drive(context, steps)


def test_samples_are_listed_by_name_and_previewed(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle
) -> None:
    folder = finished.runs()[-1].path / "samples" / "20260102-110000" / "01-a1f08899"
    folder.mkdir(parents=True)
    shutil.copy(finished.path.parent / "clips" / "rain.png", folder / "step_00400.png")

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.press("f7")
        for _ in range(300):
            await pilot.pause(0.01)
            if "▀▀▀" in on_screen(app):
                break
        lines = on_screen(app).splitlines()
        assert [line for line in lines if line.startswith("│ step_00400.png  2026") and "▀▀▀" in line]
        assert "step 400" in on_screen(app)
        await pilot.press("y")
        assert app.clipboard.endswith("01-a1f08899/step_00400.png")

    drive(context, steps, size=(80, 24))


def test_leaving_asks_for_what_is_not_saved(finished: Project, context: AgentContext, drive: Drive) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.press("f3", "e", "x")
        await pilot.pause()
        assert isinstance(app.query_one(PlanPane), PlanPane)
        await pilot.press("ctrl+q")
        assert isinstance(app.screen, YesNo)
        await pilot.press("n")
        assert app.is_running

    drive(context, steps)


def test_a_first_run_needs_a_folder_and_nothing_else(
    real_clips: Path, context: AgentContext, bare: pytest.MonkeyPatch, tmp_path: Path, settle: Settle
) -> None:
    bare.chdir(tmp_path)

    async def whole() -> None:
        app = LtxApp(
            None, "builtin", theme="ltx-dark", open_context=lambda project, _: replace(context, project=project)
        )
        async with app.run_test(size=(80, 24)) as pilot:
            for _ in range(3000):
                await pilot.pause(0.01)
                if isinstance(app.screen, Welcome) and app.screen.query_one("#welcome-folders").has_focus:
                    break
            await pilot.press("f3", "f1")
            await pilot.pause()
            assert isinstance(app.screen, Keys)
            told = on_screen(app)
            assert "Welcome" in told
            assert "here" not in told.split("everywhere")[0].split("first.")[1]  # no heading over nothing
            assert "f4" not in told  # there are no panes yet
            await pilot.press("escape")
            assert app.workbench.shown == "talk"
            names = {command.title for command in app.get_system_commands(app.screen)}
            assert {name for name in names if name.startswith("/")} == {"/help", "/theme", "/quit"}
            await pilot.press("enter")
            goal = app.screen.query_one("#welcome-goal", Input)
            for _ in range(500):  # the keys go there as soon as the folder is taken
                await pilot.pause(0.01)
                if goal.has_focus:
                    break
            goal.value = "the look of my film"
            await pilot.press("enter")
            await settle(pilot)
            assert app.project is not None
            assert app.project.facts.sources == [str(real_clips)]
            assert app.project.facts.goal == "the look of my film"
            assert app.query_one(ApprovalCard).approval == "captions"
            assert app.close_threads(wait_s=10)

    asyncio.run(whole())


def test_words_of_a_model_steer_no_terminal(
    scripted: Callable[..., AgentContext], finished: Project, drive: Drive, settle: Settle
) -> None:
    context = scripted(AIMessage("safe \x1b]52;c;aGk=\x07 words \x1b[31m [bold]x[/bold]"))

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await typed(pilot, "hello")
        await settle(pilot)
        svg = app.export_screenshot()
        assert "\x1b" not in svg
        assert "[bold]x[/bold]" in app.query(SaidEntry).last().text

    drive(context, steps)
