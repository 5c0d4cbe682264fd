"""Buckets: legal sizes, upstream's choice, windows, and proposals from the data."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_core.data.buckets import (
    REAL_LIMITS,
    TINY_LIMITS,
    Bucket,
    ClipExtent,
    choose_bucket,
    format_buckets,
    frames_at,
    least_tail,
    limits_of,
    parse_buckets,
    propose_buckets,
    shots_of,
    windows,
)
from trainer_core.errors import ConfigError

legal_buckets = st.builds(
    lambda columns, rows, latents: Bucket(columns * 32, rows * 32, latents * 8 + 1),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0, 30),
)


@given(st.lists(legal_buckets, min_size=1, max_size=6, unique=True))
def test_spelling_round_trips(buckets):
    assert parse_buckets(format_buckets(buckets)) == buckets


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("100x64x17", "Use 96 or 128."),
        ("96x10x17", "Use 32."),
        ("96x64x16", "Use 9 or 17."),
        ("96x64x0", "Use 1."),
        ("96x64", "WxHxF"),
        ("", "WxHxF"),
        ("96x64x17;", "WxHxF"),
        ("-96x64x17", "WxHxF"),
        ("96x64x1²", "WxHxF"),
        ("96x64x17;96X64X17", "stands twice"),
    ],
)
def test_illegal_spellings_name_what_is_legal(spelling, said):
    with pytest.raises(ConfigError) as caught:
        parse_buckets(spelling)
    assert said in str(caught.value)


def test_tokens_are_latent_cells():
    assert Bucket(768, 448, 89).tokens == 12 * 24 * 14


def test_choice_takes_aspect_then_frames_then_area():
    wide, long_wide, large_wide, tall = (
        Bucket(128, 64, 9),
        Bucket(128, 64, 17),
        Bucket(256, 128, 17),
        Bucket(64, 128, 25),
    )
    every = [wide, long_wide, large_wide, tall]
    assert choose_bucket(200, 100, 60, every) == large_wide
    assert choose_bucket(100, 200, 60, every) == tall
    assert choose_bucket(200, 100, 10, every) == wide
    assert choose_bucket(200, 100, 60, [wide, long_wide]) == long_wide
    assert choose_bucket(200, 100, 8, every) is None


@given(
    st.floats(0, 600, allow_nan=False), st.sampled_from([23.976, 24.0, 25.0, 29.97, 30.0]), st.sampled_from([9, 17, 89])
)
def test_windows_follow_each_other_inside_the_clip(duration_s, frame_rate, frames):
    found = windows(duration_s, frame_rate, [frames])
    assert all(length == frames for _, length in found)
    starts = [start_s for start_s, _ in found]
    length_s = frames / frame_rate
    assert starts == [pytest.approx(index * length_s) for index in range(len(starts))]
    assert len(starts) * length_s <= duration_s + 0.011 / frame_rate
    assert (len(starts) + 1) * length_s > duration_s


def test_a_duration_rounded_down_keeps_its_last_frame():
    assert frames_at(2.0399999, 25) == 51
    assert windows(51 / 25, 25, [17]) == [(0.0, 17), (17 / 25, 17), (34 / 25, 17)]


@given(st.integers(0, 2000), st.lists(st.integers(1, 15).map(lambda latents: latents * 8 + 1), min_size=1, max_size=4))
def test_windows_of_several_lengths_leave_less_than_the_shortest_over(frames, lengths):
    found = windows(frames / 25, 25, lengths)
    ends = [round(start_s * 25) + length for start_s, length in found]
    assert [round(start_s * 25) for start_s, _ in found] == [0, *ends[:-1]][: len(found)]
    assert [length for _, length in found] == sorted((length for _, length in found), reverse=True)
    assert frames - (ends[-1] if ends else 0) < min(lengths)


def test_one_tiny_bucket_for_clips_of_one_shape():
    assert propose_buckets([ClipExtent(192, 128, 53), ClipExtent(192, 128, 71)], TINY_LIMITS) == [Bucket(96, 64, 17)]


def test_real_footage_gets_the_size_that_shows_most_of_it():
    assert propose_buckets([ClipExtent(1280, 720, 132)], REAL_LIMITS) == [Bucket(768, 448, 81), Bucket(768, 448, 49)]


def test_what_the_main_length_leaves_over_gets_a_shorter_one_of_at_least_half():
    proposed = propose_buckets([ClipExtent(1280, 720, 240), ClipExtent(1280, 720, 500)], REAL_LIMITS)
    assert [bucket.frames for bucket in proposed] == [89, 49]
    made = [length for frames in (240, 500) for _, length in windows(frames / 25, 25, [89, 49], (), least_tail(89))]
    assert made == [89, 89, 49, 89, 89, 89, 89, 89, 49]


@given(st.lists(st.integers(9, 2000), min_size=1, max_size=12))
def test_no_clip_of_proposed_lengths_is_cut_into_stubs(all_frames):
    lengths = [bucket.frames for bucket in propose_buckets([ClipExtent(1280, 720, n) for n in all_frames], REAL_LIMITS)]
    least = least_tail(max(lengths))
    for frames in all_frames:
        made = [length for _, length in windows(frames / 25, 25, lengths, (), least)]
        assert made
        assert len(made) == 1 or min(made) >= least


def test_no_window_crosses_a_cut_and_a_short_shot_makes_none():
    cuts_s = [2.0, 2.4, 5.02]
    found = windows(10.0, 25, [49, 25], cuts_s, least_tail(49))
    assert found == [(0.0, 49), (2.4, 49), (126 / 25, 49), (175 / 25, 49), (224 / 25, 25)]
    edges = [0.0, *cuts_s, 10.0]
    for start_s, frames in found:
        assert any(a <= start_s + 1e-9 and start_s + (frames - 1) / 25 < b for a, b in itertools.pairwise(edges))


def test_cuts_decide_the_lengths():
    shots = tuple(frames for _, frames in shots_of(20.0, 24, [2.0, 4.1, 6.2, 8.3, 10.4, 12.5, 14.6, 16.7, 18.8]))
    proposed = propose_buckets([ClipExtent(1280, 720, 480, shots)], REAL_LIMITS)
    assert [bucket.frames for bucket in proposed] == [49, 41]


def test_shots_that_are_all_too_short_for_any_sample_propose_nothing():
    assert propose_buckets([ClipExtent(1280, 720, 48, (6,) * 8)], REAL_LIMITS) == []


def test_a_budget_of_tokens_holds_and_small_pictures_may_last_longer():
    assert limits_of(4032) == REAL_LIMITS
    small, large = (propose_buckets([ClipExtent(*size, 121)], REAL_LIMITS)[0] for size in ((640, 384), (1920, 1080)))
    assert (small, large.frames <= 89) == (Bucket(640, 384, 121), True)
    halved = propose_buckets([ClipExtent(1920, 1080, 300)], limits_of(2016))
    assert all(bucket.tokens <= 2016 for bucket in halved)


def test_portrait_and_stills_get_their_own_and_short_clips_a_shorter_one():
    clips = [
        ClipExtent(1080, 1920, 300),
        ClipExtent(1920, 1080, 300),
        ClipExtent(1920, 1080, 20),
        ClipExtent(800, 800, 1),
    ]
    proposed = propose_buckets(clips, REAL_LIMITS)
    assert {(bucket.width > bucket.height, bucket.frames > 20) for bucket in proposed if bucket.frames > 1} == {
        (True, True),
        (True, False),
        (False, True),
    }
    stills = [bucket for bucket in proposed if bucket.frames == 1]
    assert [bucket.width == bucket.height for bucket in stills] == [True]


def test_nothing_to_propose_from():
    assert propose_buckets([ClipExtent(31, 400, 100), ClipExtent(640, 480, 8)], REAL_LIMITS) == []


@given(
    st.lists(
        st.builds(ClipExtent, st.integers(16, 1200), st.integers(16, 1200), st.integers(1, 400)), min_size=1, max_size=8
    ),
    st.sampled_from([TINY_LIMITS, REAL_LIMITS]),
)
def test_proposals_stay_in_their_limits_and_never_enlarge_what_they_were_made_for(clips, limits):
    for bucket in propose_buckets(clips, limits):
        most_px = limits.max_area_px if bucket.frames > 1 else limits.max_still_area_px
        assert bucket.width * bucket.height <= most_px
        assert bucket.frames <= limits.max_frames
        assert bucket.tokens <= max(limits.max_tokens, 2 * bucket.width * bucket.height // 1024)
        assert any(bucket.fits_inside(clip.width, clip.height) and bucket.frames <= clip.frames for clip in clips)
