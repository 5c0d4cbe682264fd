"""The verdict in plain words first; figures and tests only when they are asked for."""

from typing import Any

import pytest

from agent.text.run import quality_lines, run_lines
from agent.text.verdict import more_steps, verdict_words


def status(kind: str, state: str = "running", evidence: str = "video loss: it fell", **more: Any) -> dict[str, Any]:
    verdict = {"kind": kind, "confidence": 0.8, "evidence": [evidence], "best_step": 300}
    return {"run": "r1", "state": state, "step": 120, "steps": 800, "path": "/p/runs/r1", "verdict": verdict, **more}


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (status("continue"), "It is learning: the training error is still falling. Let it go on; 680 steps are left."),
        (
            status("continue", "done", "held-out clips, later half: fell"),
            "It was still learning when it ended: the held-out error was falling. Give it 400 more steps.",
        ),
        (status("overfitting", evidence="held-out clips rose"), "Stop, and use the checkpoint of step 300."),
        (status("unsure"), "too early"),
        (status("dead", "done"), "It learned nothing"),
    ],
)
def test_a_verdict_is_a_sentence_with_what_to_do(described: dict[str, Any], words: str) -> None:
    assert words in verdict_words(described)


def test_figures_are_folded_until_they_are_asked_for() -> None:
    plain, verbose = "\n".join(run_lines(status("continue"))), "\n".join(run_lines(status("continue"), verbose=True))
    assert "confidence" not in plain
    assert "--verbose" in plain
    assert "Verdict: continue (confidence 80%)" in verbose
    assert "video loss: it fell" in verbose


def test_quality_begins_with_the_verdict_and_promises_nothing() -> None:
    lines = quality_lines(status("plateau", "done", last_checkpoint="checkpoints/a"))
    assert lines[0].startswith("It has learned what this plan teaches it")
    assert "no number says" in lines[-1]


def test_more_steps_are_whole_hundreds() -> None:
    assert [more_steps(steps) for steps in (60, 400, 2000)] == [100, 200, 1000]
