"""What the data decides: sides, first frames, sound alone, levels; each with a reason that is true of it."""

from collections.abc import Callable
from typing import Any

import pytest

from tools.draft.conditions import fit_boundaries
from tools.draft.levels import even_gain_db
from tools.draft.schedule import TABLE, Material, saving_interval, schedule_of
from tools.draft.tool import DraftArguments, DraftResult, draft_config
from tools.inspect.report.report import Audio, Sample
from tools.project import Project
from trainer_core.config import load_config
from trainer_core.errors import DataError
from trainer_core.files import read_jsonl
from trainer_core.objective import load_recipe, name_of

from .conftest import make_clip

MakeProject = Callable[..., Project]
REAL = "/models/ltx-2.3.safetensors"
LONG = [Sample(start_s=0, duration_s=89 / 24, bucket="768x448x89")]


def _draft(project: Project, **arguments: Any) -> DraftResult:
    return draft_config(project, DraftArguments.model_validate(arguments))


def _reason(result: DraftResult, name: str) -> str:
    return next(value.reason for value in result.values if value.name == name)


@pytest.mark.parametrize("objective", [None, "i2v", "video_extension"])
def test_one_clip_with_sound_of_ten_trains_the_picture_of_all(make_project: MakeProject, objective: str | None) -> None:
    clips = [make_clip(f"{number}.mp4", audio="ok" if number == 3 else "none") for number in range(10)]
    result = _draft(make_project(clips, objective=objective))
    assert (result.video_only, result.coverage.training_clips + result.coverage.heldout_clips) == (True, 10)
    assert "only 1 of 10 clips have sound" in _reason(result, "training_strategy.audio")
    assert any("Say `with its sound`" in note for note in result.notes)
    with_sound = _draft(make_project(clips, objective=objective), video_only=False)
    assert (with_sound.video_only, with_sound.training_clips) == (False, 1)
    assert with_sound.coverage.sentence == "1 of 10 clips; 9 have no sound"
    assert any(note.startswith("9 clips lack only sound") for note in with_sound.notes)


def test_the_reason_counts_the_clips_that_have_sound(make_project: MakeProject) -> None:
    clips = [make_clip(f"{number}.mp4", audio="ok" if number < 6 else "none") for number in range(8)]
    result = _draft(make_project(clips))
    assert (result.video_only, result.training_clips) == (False, 6)
    assert _reason(result, "ltx_agent.objective") == "6 of 8 clips have picture and sound"


def test_stills_cannot_start_from_a_frame_though_they_have_no_sound(make_project: MakeProject) -> None:
    clips = [make_clip("a.png", kind="image", audio="none")]
    with pytest.raises(DataError, match="i2v can't be trained on these clips: video is missing"):
        _draft(make_project(clips), objective="i2v")


def test_a_share_of_first_frames_is_no_other_objective_and_stills_get_none(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4")])
    result = _draft(project)
    strategy = load_config(project.config_path).strategy
    assert strategy.video is not None
    assert [(one.type, one.probability) for one in strategy.video.conditions] == [("first_frame", 0.1)]
    assert name_of(strategy) == "t2v"
    assert "one sample in ten" in _reason(result, "training_strategy.video.conditions")
    _draft(make_project([make_clip("a.png", kind="image", audio="none"), make_clip("b.png", kind="image")]))
    still = load_config(project.config_path).strategy
    assert still.video is not None
    assert still.video.conditions == []


def test_sound_alone_takes_its_own_windows_of_clips_and_an_even_level(make_project: MakeProject) -> None:
    sounds = [Sample(start_s=0.0, duration_s=14.2, bucket=None)]
    loud = Audio(status="ok", loudness_lufs=-14.0, peak_dbfs=-1.0)
    project = make_project([make_clip("a.mp4", sound_samples=sounds, audio="ok")], objective="t2a")
    _draft(project)
    (row,) = read_jsonl(project.dataset_path)
    assert row["samples"] == [{"start_s": 0.0, "duration_s": 14.2, "bucket": None}]
    assert "gain_db" not in row  # its loudness was not measured
    clip = make_clip("b.mp4").model_copy(update={"audio": loud})
    assert even_gain_db(clip) == -9.0
    quiet = loud.model_copy(update={"loudness_lufs": -40.0, "peak_dbfs": -12.0})
    assert even_gain_db(clip.model_copy(update={"audio": quiet})) == 11.0  # as far as the peak allows
    near = loud.model_copy(update={"loudness_lufs": -23.5})
    assert even_gain_db(clip.model_copy(update={"audio": near})) == 0.0


def test_prompts_come_from_captions_and_their_cost_is_said(make_project: MakeProject) -> None:
    clips = [make_clip(f"{number:02d}.mp4", samples=LONG) for number in range(30)]
    project = make_project(clips, model=REAL, trigger="ohwx")
    result = _draft(project)
    section = load_config(project.config_path).validation
    held_out = result.held_out[0]
    assert [sample.prompt for sample in section.samples][1:] == [f"ohwx What {held_out} shows."] * 2
    assert section.samples[0].prompt.startswith("ohwx What ")
    assert section.samples[0].prompt != section.samples[1].prompt
    assert [len(sample.conditions) for sample in section.samples] == [0, 0, 1]
    assert (section.video_dims, section.frame_rate) == ((768, 448, 89), 24.0)
    steps, interval = load_config(project.config_path).optimization.steps, section.interval
    assert interval is not None
    assert steps % interval == 0
    assert interval % (load_config(project.config_path).checkpoints.interval or 1) == 0
    assert "of the computing" in _reason(result, "validation.interval")


def test_what_was_asked_for_samples_stays(make_project: MakeProject) -> None:
    clips = [make_clip(f"{number:02d}.mp4", samples=LONG) for number in range(30)]
    asked = {"validation.samples": [{"prompt": "a fox"}], "validation.interval": 7}
    project = make_project(clips, model=REAL, asked=asked)
    _draft(project)
    section = load_config(project.config_path).validation
    assert ([sample.prompt for sample in section.samples], section.interval) == (["a fox"], 7)


def test_a_batch_that_was_asked_for_keeps_the_samples_a_step(make_project: MakeProject) -> None:
    clips = [make_clip(f"{number:03d}.mp4", samples=LONG) for number in range(600)]
    project = make_project(clips, model=REAL)
    _draft(project, batch_size=2)
    optimization = load_config(project.config_path).optimization
    assert (optimization.batch_size, optimization.gradient_accumulation_steps) == (2, 2)


def test_steps_and_ranks_rise_with_the_amount_and_never_pass_their_limits() -> None:
    recipe = load_recipe("t2v")
    last = 0
    for samples in (1, 3, 6, 12, 30, 60, 99, 1000, 4000, 40_000):
        schedule = schedule_of(Material(samples, samples, 4032, 0), "lora", recipe)
        steps = schedule.values["optimization.steps"][0]
        assert last <= steps * schedule.samples_a_step <= 3 * 2000 * 4
        assert steps * schedule.samples_a_step <= max(200, 150 * samples)
        last = steps * schedule.samples_a_step
    assert schedule_of(Material(30, 30, 4032, 0), "lora", recipe).values["optimization.steps"][0] == 2000
    assert [row.rank for row in TABLE] == sorted(row.rank for row in TABLE)
    full = schedule_of(Material(30, 30, 4032, 0), "full", recipe).values
    assert full["optimization.learning_rate"][0] == 1e-5
    assert "lora.rank" not in full


@pytest.mark.parametrize("steps", [1, 7, 60, 200, 600, 800, 2000, 2400, 4000, 6000, 12_345])
def test_adapters_are_saved_in_time(steps: int) -> None:
    interval, _ = saving_interval(steps)
    assert 1 <= interval <= max(1, steps // 2)
    assert interval <= 500


def test_what_an_extension_is_given_fits_the_samples(make_project: MakeProject) -> None:
    short = [Sample(start_s=0, duration_s=57 / 24, bucket="768x448x57")]
    clips = [make_clip(f"{number}.mp4", samples=LONG) for number in range(4)] + [make_clip("short.mp4", samples=short)]
    training, left_out = fit_boundaries(strategy := _extension(8), clips)
    assert strategy["video"]["conditions"][0]["temporal_boundary"] == 8
    assert [clip.path for clip in training] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert [(clip.path, reason) for clip, reason in left_out] == [
        ("short.mp4", "its samples are no longer than the 8 latent frames given")
    ]
    training, left_out = fit_boundaries(strategy := _extension(8), [make_clip("tiny.mp4")])  # 17 frames, 3 latent
    assert strategy["video"]["conditions"][0]["temporal_boundary"] == 2
    assert (len(training), left_out) == (1, [])
    project = make_project(clips, objective="video_extension", model=REAL)
    assert _draft(project).objective == "video_extension"


def _extension(given: int) -> dict[str, Any]:
    condition = {"type": "prefix", "temporal_boundary": given}
    return {"video": {"is_generated": True, "latents_dir": "latents", "conditions": [condition]}, "audio": None}
