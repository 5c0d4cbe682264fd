import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_core.verdict.trend import measure_trend, smoothed, smoothing_width

LEVELS = st.lists(st.floats(0.01, 100), min_size=3, max_size=60)


def test_straight_line_has_its_own_slope() -> None:
    trend = measure_trend(list(range(10, 61)), [2.0 - step / 100 for step in range(10, 61)])
    assert trend.change == pytest.approx(-0.5 / 1.65)
    assert trend.change_low == pytest.approx(trend.change_high)
    assert trend.p_value < 1e-9


def test_one_outlier_moves_the_trend_hardly() -> None:
    steps = list(range(50))
    values = [1.0 - step / 100 for step in steps]
    spoiled = [*values[:25], 1000.0, *values[26:]]
    assert measure_trend(steps, spoiled).change == pytest.approx(measure_trend(steps, values).change, rel=0.05)


def test_constant_curve_has_no_trend() -> None:
    trend = measure_trend([1, 2, 3, 4], [0.5] * 4)
    assert (trend.change, trend.p_value) == (0.0, 1.0)


def test_long_curve_keeps_its_trend_when_blocks_are_made() -> None:
    trend = measure_trend(list(range(5000)), [1 - step / 10000 for step in range(5000)])
    assert trend.change == pytest.approx(-0.5 / 0.75, rel=0.01)


@given(LEVELS)
def test_interval_holds_the_change_and_reversal_mirrors_it(values: list[float]) -> None:
    steps = list(range(len(values)))
    forward, backward = measure_trend(steps, values), measure_trend(steps, values[::-1])
    assert forward.change_low <= forward.change <= forward.change_high
    assert forward.change == pytest.approx(-backward.change)
    assert 0 <= forward.p_value <= 1


@given(LEVELS)
def test_smoothing_keeps_length_and_stays_within_the_values(values: list[float]) -> None:
    curve = smoothed(values, smoothing_width(len(values)))
    assert len(curve) == len(values)
    assert min(values) <= min(curve)
    assert max(curve) <= max(values)


def test_smoothing_width_is_odd_and_bounded() -> None:
    widths = [smoothing_width(count) for count in (1, 10, 55, 300, 100_000)]
    assert widths == [3, 3, 5, 31, 101]
