"""Who judges a run, and what a judgement says of its own limits."""

from typing import Any

from trainer_core.verdict.judge import judge


def step(number: int) -> dict[str, Any]:
    loss = 2 - number / 100 + 0.02 * ((number * 7919) % 13 - 6) / 6
    return {"step": number, "loss": loss, "loss_video": loss, "grad_norm": 0.5}


def evaluation(number: int) -> dict[str, Any]:
    return {"step": number, **{part: {"relative": {"video": 1 - number / 1000}} for part in ("heldout", "train")}}


STEPS = [step(number) for number in range(1, 121)]


def test_a_run_without_held_out_clips_says_that_it_needs_them() -> None:
    assert "that needs held-out clips" in judge(STEPS, []).evidence[-1]


def test_a_short_run_that_has_held_out_clips_never_says_that_they_are_needed() -> None:
    for evaluations in (1, 3):
        evidence = " ".join(judge(STEPS, [evaluation(40 * index) for index in range(evaluations)]).evidence)
        assert "needs held-out clips" not in evidence
        assert "a judgement from them takes 8 evaluations" in evidence
    short = judge(STEPS[:10], [evaluation(0)])
    assert short.kind == "unsure"
    assert "needs held-out clips" not in " ".join(short.evidence)
