"""Windows of sound alone: 5 to 20 s, silence left out, ends in pauses, short files whole."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.inspect.report.sound_windows import LEAST_S, MARGIN_S, MOST_S, sound_windows


@given(st.floats(0.4, 600, allow_nan=False), st.lists(st.tuples(st.floats(0, 600), st.floats(0.3, 30)), max_size=12))
def test_windows_are_apart_inside_and_of_their_length(duration_s, pauses):
    silences = []
    last = 0.0
    for start, length in sorted(pauses):
        if start >= last and start + length <= duration_s:
            silences.append((start, start + length))
            last = start + length
    found = sound_windows(duration_s, silences)
    assert all(0 <= start < end <= duration_s + 1e-9 for start, end in found)
    assert all(one[1] <= other[0] + 1e-9 for one, other in itertools.pairwise(found))
    assert all(end - start <= MOST_S + 1e-9 for start, end in found)
    assert len(found) <= 1 or all(end - start >= LEAST_S / 2 for start, end in found)


def test_a_short_file_is_one_sample_of_its_length():
    assert sound_windows(4.0, []) == [(0.0, 4.0)]
    assert sound_windows(0.7, []) == [(0.0, 0.7)]


def test_long_talk_is_cut_in_its_pauses():
    speech = [(number * 7.0, number * 7.0 + 6.4) for number in range(10)]
    found = sound_windows(70.0, [], speech)
    assert [end for _, end in found[:-1]] == [pytest.approx(6.7 + 7 * number) for number in (1, 3, 5, 7)]


def test_without_pauses_lengths_are_even():
    assert sound_windows(47.0, []) == [
        (0.0, pytest.approx(47 / 3)),
        (pytest.approx(47 / 3), pytest.approx(94 / 3)),
        (pytest.approx(94 / 3), 47.0),
    ]


def test_silence_is_skipped_but_for_a_margin_and_breaths_stay():
    found = sound_windows(40.0, [(0.0, 3.0), (9.0, 9.8), (18.0, 27.0), (38.0, 40.0)])
    assert found == [(3.0 - MARGIN_S, 18.0 + MARGIN_S), (27.0 - MARGIN_S, 38.0 + MARGIN_S)]


def test_what_is_silent_throughout_has_no_window():
    assert sound_windows(30.0, [(0.0, 30.0)]) == []
