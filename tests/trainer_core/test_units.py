"""Amounts as people read them."""

import pytest

from trainer_core.units import counted, duration_text, length_text, size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "unknown"), (0, "0 B"), (999, "999 B"), (3_400, "3.4 kB"), (64e6, "64.0 MB"), (24.44e9, "24.4 GB")],
)
def test_a_size_has_its_unit(count: float | None, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (12600, "3.5 h")]
)
def test_a_duration_is_as_coarse_as_it_is_uncertain(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(4.2, "4.2 s"), (200, "3 min 20 s"), (3900, "1 h 5 min")])
def test_a_length_of_footage_keeps_its_seconds(seconds: float, text: str) -> None:
    assert length_text(seconds) == text


def test_a_count_agrees_with_its_noun() -> None:
    assert [counted(1, "clip"), counted(2, "clip"), counted(3, "copy")] == ["1 clip", "2 clips", "3 copies"]
