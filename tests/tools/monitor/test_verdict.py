from collections.abc import Callable

import pytest

from tools.monitor.status import ordered_steps
from trainer_core.metrics import heldout_rows
from trainer_core.run_folder import RunFolder, RunStatus
from trainer_core.verdict.judge import judge
from trainer_core.verdict.training import MIN_STEPS
from trainer_core.verdict.verdict import Verdict

WriteRun = Callable[..., RunFolder]


@pytest.fixture
def verdict_of(write_run: WriteRun) -> Callable[..., Verdict]:
    def judged(steps: int, **curves: object) -> Verdict:
        run = write_run(RunStatus("done", step=steps, steps=steps), steps, **curves)
        return judge(ordered_steps(run), heldout_rows(run.metrics_path), run.read_status().error)

    return judged


def test_too_few_steps_are_unsure_and_say_how_many_it_takes(verdict_of: Callable[..., Verdict]) -> None:
    verdict = verdict_of(MIN_STEPS - 1, video=lambda step: 1 / step)
    assert (verdict.kind, verdict.confidence) == ("unsure", 0.0)
    assert f"{MIN_STEPS - 1} steps were measured" in verdict.evidence[0]
    assert str(MIN_STEPS) in verdict.evidence[0]


def test_falling_loss_continues_and_cites_the_measured_fall(verdict_of: Callable[..., Verdict]) -> None:
    verdict = verdict_of(200, video=lambda step: 0.2 * (1 - step / 300), noise=0.1)
    assert verdict.kind == "continue"
    assert 0 < verdict.confidence <= 0.8
    assert verdict.evidence[0].startswith("video loss: over the last 100 steps it fell by")


def test_level_loss_is_a_plateau(verdict_of: Callable[..., Verdict]) -> None:
    assert verdict_of(400, noise=0.03).kind == "plateau"


def test_noise_that_hides_any_trend_is_unsure(verdict_of: Callable[..., Verdict]) -> None:
    assert verdict_of(60, noise=1.0).kind == "unsure"


def test_strongly_rising_loss_diverges_even_while_the_other_modality_falls(verdict_of: Callable[..., Verdict]) -> None:
    verdict = verdict_of(200, video=lambda step: 0.1 * 1.02**step, audio=lambda step: 1.2 - step / 400, noise=0.1)
    assert verdict.kind == "diverging"


def test_video_only_run_is_judged_by_video_alone(verdict_of: Callable[..., Verdict]) -> None:
    verdict = verdict_of(100, video=lambda step: 0.2 * (1 - step / 150), audio=None)
    assert verdict.kind == "continue"
    assert not any(line.startswith("audio") for line in verdict.evidence)


def test_gradient_of_exactly_zero_is_dead(verdict_of: Callable[..., Verdict]) -> None:
    assert verdict_of(10, grad_norm=0.0).kind == "dead"


def test_training_loss_never_claims_overfitting_or_a_best_step(verdict_of: Callable[..., Verdict]) -> None:
    verdict = verdict_of(200, video=lambda step: 0.2 * (1 - step / 300), noise=0.1)
    assert verdict.best_step is None
    assert "can't show overfitting" in verdict.evidence[-1]


def test_diverged_run_quotes_the_trainer() -> None:
    verdict = judge([], [], "The loss of step 3 is nan; clip_017 was in it.")
    assert (verdict.kind, verdict.evidence) == ("diverging", ["The loss of step 3 is nan; clip_017 was in it."])
