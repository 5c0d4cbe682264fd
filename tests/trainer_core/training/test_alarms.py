"""Alarms ring for spikes and explosions, and keep still for the noise of a healthy run."""

import random

from trainer_core.training.monitoring.alarms import FEWEST, Alarms


def healthy(alarms: Alarms, steps: int, seed: int, first: int = 1) -> list[str]:
    """Feed noise as sigma makes it: losses and norms that vary by half; return what rang."""
    chance = random.Random(seed)
    rang = []
    for step in range(first, first + steps):
        alarm = alarms.observe(step, chance.lognormvariate(0, 0.4), chance.lognormvariate(-1, 0.4))
        rang += [alarm.kind] if alarm else []
    return rang


def test_a_healthy_run_rings_nothing() -> None:
    rang = [kind for seed in range(50) for kind in healthy(Alarms(), 300, seed)]
    assert len(rang) <= 3  # of 15,000 steps


def test_a_spike_rings_once_and_names_step_and_size() -> None:
    alarms = Alarms()
    healthy(alarms, 100, 1)
    alarm = alarms.observe(101, 1.0, 50.0)
    assert alarm is not None
    assert (alarm.kind, alarm.step) == ("gradient spike", 101)
    assert "Step 101" in alarm.message
    assert alarms.observe(102, 1.0, 0.4) is None


def test_an_explosion_rings_once_within_its_window() -> None:
    alarms = Alarms()
    healthy(alarms, 100, 2)
    rang = [alarms.observe(101 + index, 8.0, 0.4) for index in range(30)]
    kinds = [alarm.kind for alarm in rang if alarm]
    assert kinds == ["loss explosion"]
    assert "times the" in next(alarm.message for alarm in rang if alarm)


def test_the_first_steps_have_no_past_to_compare_with() -> None:
    alarms = Alarms()
    assert [alarms.observe(step, 10.0**step, 10.0**step) for step in range(FEWEST)] == [None] * FEWEST


def test_alarms_go_on_after_a_resume() -> None:
    before, after = Alarms(), Alarms()
    healthy(before, 60, 3)
    after.restore(before.state())
    assert after.observe(61, 1.0, 90.0) == before.observe(61, 1.0, 90.0)
