"""Curves of any length in the same memory: buckets, the growing file, columns and drawing."""

import json
from pathlib import Path

import numpy as np
import pytest
from finished_project import append_rows, metrics_row
from hypothesis import given
from hypothesis import strategies as st

from agent.ui.shared.curves.canvas import Canvas
from agent.ui.shared.curves.columns import View, curve, envelope, smooth
from agent.ui.shared.curves.figures import FIGURES, value_format
from agent.ui.shared.curves.plot import AXIS_WIDTH, Plot, Trace, draw, sparkline, step_label
from agent.ui.shared.curves.reader import MetricsReader
from agent.ui.shared.curves.series import Series
from trainer_core.verdict.trend import smoothed


def series_of(values: list[float], buckets: int = 8, chunk: int = 3) -> Series:
    made = Series(["a"], buckets)
    steps = np.arange(1, len(values) + 1, dtype=float)
    for start in range(0, len(values), chunk):
        part = slice(start, start + chunk)
        made.extend(steps[part], np.array(values[part])[:, None], np.arange(len(values))[part])
    return made


@given(
    st.lists(st.one_of(st.floats(-1e3, 1e3, width=32), st.just(float("nan"))), min_size=1, max_size=200),
    st.integers(1, 50),
)
def test_buckets_hold_least_greatest_and_mean_of_their_steps(values: list[float], chunk: int) -> None:
    made = series_of(values, chunk=chunk)
    assert len(made) <= 8
    for index in range(len(made)):
        first, last = int(made.first_step[index]), int(made.last_step[index])
        part = np.array(values[first - 1 : last])
        known = part[~np.isnan(part)]
        if not len(known):
            assert np.isnan([made.low("a")[index], made.high("a")[index], made.mean("a")[index]]).all()
            continue
        assert made.low("a")[index] == known.min()
        assert made.high("a")[index] == known.max()
        assert made.mean("a")[index] == pytest.approx(known.mean(), abs=1e-2)
    assert made.last_step[-1] == len(values)


def test_memory_does_not_grow_with_the_run() -> None:
    short, long = series_of([1.0] * 10), series_of([1.0] * 10_000, chunk=500)
    assert long.nbytes == short.nbytes


def test_a_resumed_run_replaces_the_steps_it_repeats() -> None:
    made = series_of([1.0, 2.0, 3.0, 4.0])
    made.extend(np.array([3.0, 4.0, 5.0]), np.array([[30.0], [40.0], [50.0]]), np.array([10, 11, 12]))
    assert made.first_step.tolist() == [1, 2, 3, 4, 5]
    assert made.mean("a").tolist() == [1, 2, 30, 40, 50]


def read_all(reader: MetricsReader) -> None:
    while reader.read():
        pass


def test_only_whole_new_lines_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_rows(path, [metrics_row(1), metrics_row(2)])
    reader = MetricsReader(path)
    read_all(reader)
    half = json.dumps(metrics_row(3))
    with path.open("a") as file:
        file.write(half[:40])
    assert not reader.read()
    with path.open("a") as file:
        file.write(half[40:] + "\n")
    read_all(reader)
    assert reader.steps.first_step.tolist() == [1, 2, 3]
    assert reader.steps.mean("loss")[2] == pytest.approx(metrics_row(3)["loss"])
    reader.close()


def test_a_rotated_file_goes_on_in_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_rows(path, [metrics_row(1)])
    reader = MetricsReader(path)
    read_all(reader)
    append_rows(path, [metrics_row(2)])  # written before the rotation, not read yet
    path.rename(tmp_path / "metrics.jsonl.1")
    append_rows(path, [metrics_row(3)])
    read_all(reader)
    assert reader.steps.first_step.tolist() == [1, 2, 3]
    again = MetricsReader(path)
    read_all(again)
    assert again.steps.first_step.tolist() == [1, 2, 3]
    for each in (reader, again):
        each.close()


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_rows(path, [metrics_row(step) for step in range(1, 6)])
    reader = MetricsReader(path)
    read_all(reader)
    path.write_text("")
    append_rows(path, [metrics_row(1), metrics_row(2)])
    read_all(reader)
    assert reader.steps.first_step.tolist() == [1, 2]
    replaced = tmp_path / "other"
    append_rows(replaced, [metrics_row(1, loss=9.0)])  # as a resume does, which cuts rows off
    replaced.rename(path)
    read_all(reader)
    assert reader.steps.mean("loss").tolist() == [9.0]
    reader.close()


def test_heldout_rows_go_apart_and_damaged_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_rows(
        path, [metrics_row(1, loss_audio=None), {"step": 1, "heldout": {"video": 0.5, "audio": None}}, {"step": "x"}]
    )
    with path.open("a") as file:
        file.write("no json\n")
    reader = MetricsReader(path)
    read_all(reader)
    assert reader.unreadable_lines == 2
    assert reader.heldout.mean("heldout_video").tolist() == [0.5]
    assert reader.heldout.mean("heldout").tolist() == [0.5]
    assert not reader.steps.has("loss_audio")
    reader.close()


def test_rows_of_a_stretch_are_read_again_in_full(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_rows(path, [metrics_row(step) for step in range(1, 20_001)])
    reader = MetricsReader(path)
    read_all(reader)
    assert reader.steps.rows_a_bucket > 1
    detail = reader.rows(5000, 5100)
    assert detail is not None
    assert detail.rows_a_bucket == 1
    assert set(range(5000, 5101)) <= set(detail.first_step.astype(int))
    at = int(np.flatnonzero(detail.first_step == 5050)[0])
    assert detail.mean("loss")[at] == pytest.approx(metrics_row(5050)["loss"])
    reader.close()


@given(st.lists(st.floats(0, 10), min_size=3, max_size=80), st.integers(1, 15))
def test_smoothing_is_the_verdicts_running_median(values: list[float], half: int) -> None:
    width = 2 * half + 1
    if width // 2 >= len(values):
        width = 2 * (len(values) - 1) + 1
    assert smooth(np.array(values), width).tolist() == pytest.approx(smoothed(values, width))


def test_an_envelope_keeps_every_spike() -> None:
    values = [1.0] * 5000
    values[1234], values[3456] = 50.0, -50.0
    made = series_of(values, buckets=512, chunk=100)
    low, high = envelope(made, "a", View(1, 5000), 80)
    assert high.max() == 50
    assert low.min() == -50
    assert not np.isnan(low).any()


def test_a_sparse_curve_is_joined_by_lines() -> None:
    made = series_of([0.0, 10.0])
    line = curve(made, made.mean("a"), View(1, 2), 11)
    assert line.tolist() == pytest.approx(list(range(11)))


def test_a_line_has_no_gaps_and_stays_thin_over_a_shade() -> None:
    canvas = Canvas(4, 2)
    canvas.fill("shade", np.zeros(8), np.full(8, 7.0))
    canvas.line("line", np.array([0.0, 7.0, 7.0, 0.0, 0.0, 7.0, 0.0, 7.0]))
    dots = canvas.layers[1][1]
    assert dots.any(axis=0).all()
    assert dots[:, 1].sum() == 7  # from beside its neighbour down to its own height
    _, owner = canvas.cells()
    assert (owner == 1).any()


def test_a_plot_fills_its_lines_and_names_its_ends() -> None:
    made = series_of([float(value) for value in range(1, 101)], buckets=128)
    trace = Trace("a", made, "a", "total", "raw", made.mean("a"))
    lines = draw(Plot("a", [trace], View(1, 100), cursor=50, marks=[(20, "event", "▲")]), 60, 10)
    texts = ["".join(text for text, _ in line) for line in lines]
    assert [len(text) for text in texts] == [60] * 10
    assert texts[-1].split() == ["1", "50", "100"] or texts[-1].split()[0] == "1"
    assert "│" in texts[0][9:]
    assert any("▲" in text for text in texts)
    assert any(colour == "cursor" for line in lines for _, colour in line)


def test_a_logarithmic_plot_leaves_out_what_has_no_logarithm() -> None:
    made = series_of([0.0, 1.0, 10.0, 100.0, 1000.0], buckets=8)
    lines = draw(Plot("a", [Trace("a", made, "a", "total", "", made.mean("a"))], View(1, 5), log=True), 40, 9)
    labels = [line[0][0].strip(" ┤│") for line in lines[:-1] if line[0][0].strip(" ┤│")]
    assert float(labels[0]) > 900
    assert 0 < float(labels[-1]) < 1.1


def test_a_plot_without_values_says_so() -> None:
    lines = draw(Plot("loss", [], View(0, 1)), 30, 5)
    assert "No loss yet" in "".join(text for line in lines for text, _ in line)


@pytest.mark.parametrize(("step", "label"), [(7, "7"), (9999, "9999"), (12_500, "12.5k"), (1_000_000, "1M")])
def test_steps_are_written_short(step: float, label: str) -> None:
    assert step_label(step) == label


def test_a_sparkline_has_the_shape_of_its_values() -> None:
    assert sparkline(np.array([0.0, 1.0, 2.0, 3.0]), 4) == "▁▃▆█"
    assert sparkline(np.array([]), 4) == ""


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("step time", 5.46e-05, "5.46e-5"),
        ("step time", 5.46e-10, "5.5e-10"),
        ("loss", -1.234e-05, "-1.2e-5"),
        ("loss", 4.876, "4.88"),
        ("learning rate", 2.1e-4, "2.1e-4"),
        ("learning rate", 0.0, "0"),
    ],
)
def test_a_value_on_an_axis_keeps_its_exponent(name: str, value: float, text: str) -> None:
    figure = next(figure for figure in FIGURES if figure.name == name)
    assert value_format(figure)(value) == text
    assert len(text) <= AXIS_WIDTH - 2
