"""Which pictures are seen: every shot, moving stretches more often, inside the budget, upright."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.caption.captioners.captioner import PictureBudget
from tools.caption.media.clip_video import small_mp4
from tools.caption.media.frames import choose_times, jpeg_bytes, plan_frames, read_frames_at
from tools.caption.media.pictures import PictureMeasures, measure_pictures
from trainer_core.errors import DataError


def measures(duration_s: float, cuts_s: list[float], changes: list[float]) -> PictureMeasures:
    sampled = [index * duration_s / len(changes) for index in range(len(changes))]
    return PictureMeasures(96, 64, duration_s, len(changes), cuts_s, 0, 0, 0, [], sampled, changes)


def test_every_shot_is_seen_and_moving_ones_more_often() -> None:
    times = choose_times(measures(9.0, [3.0, 6.0], [1.0] * 24 + [9.0] * 24 + [1.0] * 24), 9)
    in_shot = [sum(start <= time < start + 3 for time in times) for start in (0, 3, 6)]
    assert sum(in_shot) == 9
    assert min(in_shot) >= 1
    assert in_shot[1] > in_shot[0]


def test_a_peak_of_motion_is_seen() -> None:
    changes = [0.1] * 80
    changes[61] = 50.0
    times = choose_times(measures(10.0, [], changes), 6)
    assert min(abs(time - 61 / 8) for time in times) < 0.13


def test_a_cut_itself_is_no_motion_and_pictures_keep_away_from_it() -> None:
    changes = [0.0] * 40 + [80.0] + [0.0] * 39
    times = choose_times(measures(10.0, [5.0], changes), 8)
    assert [time < 5 for time in times].count(True) == 4
    assert min(abs(time - 5) for time in times) >= 0.07


def test_more_shots_than_pictures_shows_the_longest() -> None:
    times = choose_times(measures(10.0, [0.5, 1.0, 6.0], [1.0] * 80), 2)
    assert times == [pytest.approx(3.5), pytest.approx(8.0)]


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.05, 60),
    st.lists(st.floats(0.01, 60), max_size=9),
    st.lists(st.floats(0, 255), min_size=1, max_size=60),
    st.integers(1, 16),
)
def test_times_rise_inside_the_clip(duration: float, cuts: list[float], changes: list[float], count: int) -> None:
    times = choose_times(measures(duration, sorted(set(cuts)), changes), count)
    assert 1 <= len(times) <= count
    assert times == sorted(set(times))
    assert all(-1e-3 <= time <= duration + 1e-3 for time in times)


@pytest.mark.parametrize(
    ("size", "duration_s", "budget", "wanted"),
    [
        ((1920, 1080), 5.0, PictureBudget(), (10, 768)),
        ((1920, 1080), 60.0, PictureBudget(), (16, 768)),
        ((1920, 1080), 60.0, PictureBudget(tokens=3000), (16, 448)),
        ((1920, 1080), 60.0, PictureBudget(tokens=1000), (8, 384)),
        ((320, 180), 1.0, PictureBudget(), (4, 320)),
        ((1920, 1080), 60.0, PictureBudget(tokens_per_frame=256, tokens=2048), (8, 768)),
    ],
)
def test_the_budget_holds(size: tuple[int, int], duration_s: float, budget: PictureBudget, wanted: object) -> None:
    count, side, tokens = plan_frames(*size, duration_s, budget)
    assert (count, side) == wanted
    assert tokens <= budget.tokens


def test_real_frames_are_the_ones_asked_for(cut_footage: Path) -> None:
    path = cut_footage / "bikes_1.mp4"
    seen = measure_pictures(path)
    assert seen is not None
    times = choose_times(seen, 5)
    frames = read_frames_at(path, times, 160)
    assert [frame.time_s for frame in frames] == times
    with av.open(str(path)) as container:
        shown = [frame for frame in container.decode(video=0) if frame.time <= times[2] + 1e-3][-1]
        whole = shown.to_ndarray(format="rgb24")
    expected = cv2.resize(whole, (160, 68), interpolation=cv2.INTER_AREA)
    assert frames[2].rgb.shape == (68, 160, 3)
    assert np.abs(frames[2].rgb.astype(int) - expected).mean() < 2
    assert cv2.imdecode(np.frombuffer(jpeg_bytes(frames[0]), np.uint8), cv2.IMREAD_COLOR).shape == (68, 160, 3)


def test_a_clip_without_pictures_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="can't be decoded"):
        read_frames_at(path, [0.0], 100)


def test_the_small_video_has_the_clip_s_length_pictures_and_sound(cut_footage: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.mp4"
    path.write_bytes(small_mp4(cut_footage / "bunny wakes.mp4", 96))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert (frames[0].width, frames[0].height) == (96, 54)
        assert len(frames) == pytest.approx(2.4 * 8, abs=1)
        assert container.streams.audio[0].rate == 16000
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) == pytest.approx(
            2.4, abs=0.2
        )
