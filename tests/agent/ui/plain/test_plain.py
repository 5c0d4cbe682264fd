"""Line mode over a finished project: plan, clips and curves in words, and what is typed in several lines."""

import shlex
from collections.abc import Callable

import pytest
from finished_project import append_rows, metrics_row

from agent.context import AgentContext
from agent.ui.plain.chat import converse
from agent.ui.plain.terminal import Terminal
from tools.caption.store.captions import CaptionEntry
from tools.project import Project
from trainer_core.files import read_jsonl, write_jsonl, write_text

InLines = Callable[..., str]


def test_the_plan_is_read_with_numbers_and_reasons(finished: Project, context: AgentContext, in_lines: InLines) -> None:
    heard = in_lines(context, "/plan", "/plan rank", "/plan nonsense")
    assert "8    rank: 8   why: few clips: a small adapter forgets less" in heard
    assert "The plan is valid." in heard
    assert "lora.rank, line 8: rank: 8\nIt may be: whole number from 1.\n" in heard
    assert "The plan has no key nonsense." in heard


def test_a_value_whose_reason_was_deleted_is_given_none(
    finished: Project, context: AgentContext, in_lines: InLines, config_text: str
) -> None:
    reason = "few clips: a small adapter forgets less"
    assert f"Why it is so: {reason}.\n" in in_lines(context, "/plan rank")
    write_text(finished.config_path, config_text.replace(f"# {reason}", ""))
    heard = in_lines(context, "/plan rank")
    assert "config.yaml gives no reason for it.\n" in heard
    assert "recipe" not in heard


def test_problems_of_the_plan_name_their_lines(
    finished: Project, context: AgentContext, in_lines: InLines, config_text: str
) -> None:
    write_text(finished.config_path, config_text.replace("steps: 400", "stepz: 400"))
    heard = in_lines(context, "/plan")
    assert "line 16: " in heard
    assert "did you mean `steps`?" in heard


def test_a_value_is_set_after_its_diff_and_a_yes(finished: Project, context: AgentContext, in_lines: InLines) -> None:
    refused = in_lines(context, "/plan set lora.rank 0", "/plan set steps 500", "n")
    assert "line 8" in refused
    assert "was: steps: 400   why: 200 for each clip" in refused
    assert "Nothing was changed." in refused
    assert "steps: 400" in finished.config_path.read_text()
    assert "optimization.steps is 500 now; it was 400." in in_lines(context, "/plan set steps 500", "y")
    assert "steps: 500" in finished.config_path.read_text()


def test_changes_are_taken_one_by_one(
    finished: Project, context: AgentContext, in_lines: InLines, bare: pytest.MonkeyPatch
) -> None:
    class Typing:
        """A terminal's input, in which another program edits the plan after the first line."""

        lines = iter(["/plan\n", "/plan changes\n", "y\n", "n\n"])

        def isatty(self) -> bool:
            return False

        def readline(self, _: int = -1) -> str:
            line = next(self.lines, "")
            if line.startswith("/plan changes"):
                text = finished.config_path.read_text()
                write_text(finished.config_path, text.replace("rank: 8 ", "rank: 16 ").replace("0.002", "0.001"))
            return line

    bare.setattr("sys.stdin", Typing())
    converse(context, Terminal())
    text = finished.config_path.read_text()
    assert "rank: 16 " in text
    assert "learning_rate: 0.002" in text


def test_captions_are_written_and_reviewed(finished: Project, context: AgentContext, in_lines: InLines) -> None:
    rows = read_jsonl(finished.captions_path)
    entries = [CaptionEntry.model_validate({**row, "instruction_version": ""}) for row in rows]
    write_jsonl(finished.captions_path, [entry.model_dump(mode="json") for entry in entries])
    heard = in_lines(
        context, "/clips", "/clips tram", "/clips reviewed rain.png", "/clips caption 2 A tram.", "/clips show 9"
    )
    assert "3 clips, 1 captions to review, 1 that can't be trained on." in heard
    assert "1. rain.png, image, 2.0 s, 320×180, look at it. Flags: no audio." in heard
    assert "1 of them match tram." in heard
    assert "There is no clip 9." in heard
    first, second = read_jsonl(finished.captions_path)
    assert not first["needs_review"]
    assert (second["caption"], second["source"]) == ("A tram.", "person")


def test_curves_are_told_in_words(finished: Project, context: AgentContext, in_lines: InLines) -> None:
    heard = in_lines(context, "/curves", "/compare", "/curves nowhere")
    loss = next(line for line in heard.split("\n") if line.startswith("  train:"))
    assert "at step 400, down from" in loss
    assert "On the way:" in loss
    assert "Best checkpoint: step 150." in heard
    assert "Trouble at step 120: gradient spike" in heard
    assert "Run 20260102-100000 against run 20260101-100000, at step 200" in heard
    assert "There is no run nowhere." in heard


def test_a_rising_loss_is_said_to_rise(finished: Project, context: AgentContext, in_lines: InLines) -> None:
    path = finished.runs()[-1].metrics_path
    append_rows(path, [metrics_row(step, loss=step / 400) for step in range(401, 800)])
    loss = next(line for line in in_lines(context, "/curves").split("\n") if line.startswith("  train:"))
    assert "Rising over the last" in loss


def test_a_line_goes_on_after_a_backslash_and_a_dropped_folder_is_opened(
    finished: Project, context: AgentContext, in_lines: InLines
) -> None:
    heard = in_lines(context, "what does \\", "rank mean?", "/talk", shlex.quote(str(finished.path)), "/never read")
    assert "You: what does \nrank mean?" in heard
    assert "never" not in heard
