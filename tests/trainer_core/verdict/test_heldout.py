"""The verdict on held-out curves: each kind told apart, its evidence measured, and the documented table true."""

import random
from pathlib import Path
from typing import Any

import pytest
from verdict_simulation import KINDS, MARKERS, curve, simulate, table

from trainer_core.verdict.heldout import FEWEST_EVALUATIONS, jitter
from trainer_core.verdict.judge import judge

TABLES = Path(__file__).parents[2] / "instruments" / "TABLES.md"


def series(heldout: list[float], train: list[float] | None = None) -> list[dict[str, Any]]:
    return [
        {"step": 10 * index, "heldout": {"relative": {"audio": held}}, "train": {"relative": {"audio": own}}}
        for index, (held, own) in enumerate(zip(heldout, train or heldout, strict=True))
    ]


def test_the_documented_table_is_what_the_rule_gives() -> None:
    found = simulate()
    assert sum(sum(row.values()) for row in found.values()) >= 1000
    text = TABLES.read_text(encoding="utf-8")
    assert f"{MARKERS[0]}\n{table(found)}\n{MARKERS[1]}" in text, "run `python tests/instruments/verdict_simulation.py`"


@pytest.mark.parametrize("kind", KINDS)
def test_most_curves_of_a_kind_are_called_that_and_few_another(kind: Any) -> None:
    chance = random.Random(11)
    answers = [judge([], curve(kind, chance)).kind for _ in range(100)]
    assert sum(answer not in (kind, "unsure") for answer in answers) <= 12
    assert answers.count(kind) >= 55


def test_overfitting_names_the_best_step_and_quotes_both_curves() -> None:
    falling = [1 - 0.02 * index for index in range(10)]
    rising = [falling[-1] + 0.02 * index for index in range(1, 9)]
    verdict = judge([], series(falling + rising, [1 - 0.03 * index for index in range(18)]))
    assert (verdict.kind, verdict.best_step) == ("overfitting", 90)
    assert verdict.confidence > 0.9
    assert "rose by" in verdict.evidence[0]
    assert verdict.evidence[1].startswith("training clips over the same steps: fell by")


def test_too_few_evaluations_leave_it_to_the_training_loss() -> None:
    verdict = judge([], series([1 - 0.1 * index for index in range(FEWEST_EVALUATIONS - 1)]))
    assert verdict.kind == "unsure"
    assert f"takes {FEWEST_EVALUATIONS}" in verdict.evidence[-1]
    assert verdict.best_step == 60


def test_both_modalities_count_alike_however_large_their_losses() -> None:
    rows = [
        {
            "step": index,
            "heldout": {"relative": {"video": 1 - 0.01 * index, "audio": 1 + 0.01 * index}},
            "train": {"relative": {"video": 1.0, "audio": 1.0}},
        }
        for index in range(12)
    ]
    assert judge([], rows).kind in ("plateau", "dead")


def test_jitter_is_of_the_noise_alone() -> None:
    chance = random.Random(3)
    sloped = [5 - 0.1 * index + chance.gauss(0, 0.05) for index in range(400)]
    assert jitter(sloped) == pytest.approx(0.05, rel=0.15)
    assert jitter([float(index) for index in range(20)]) == pytest.approx(0.0, abs=1e-12)
