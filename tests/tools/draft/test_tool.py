from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.text.results import SUMMARIES
from tools.draft.tool import DRAFT_TOOLS, DraftArguments, DraftResult, draft_config
from tools.inspect.report.report import Sample
from tools.project import Project
from trainer_core.config import load_config
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import read_jsonl, write_jsonl
from trainer_core.objective import OBJECTIVE_NAMES, name_of

from .conftest import make_clip

MakeProject = Callable[..., Project]


def _draft(project: Project, **arguments: Any) -> DraftResult:
    return draft_config(project, DraftArguments.model_validate(arguments))


def test_clips_with_sound_become_an_audio_visual_lora(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4"), make_clip("b.mp4")], trigger="ohwx: #1")
    result = _draft(project)
    config = load_config(project.config_path)
    assert name_of(config.strategy) == "t2v"
    assert (config.model.model_path, config.model.training_mode) == ("tiny", "lora")
    assert config.lora is not None
    assert config.lora.alpha == config.lora.rank
    assert config.lora.target_modules == ["to_k", "to_q", "to_v", "to_out.0"]
    assert config.ltx_agent.model_dump(exclude_defaults=True) == {
        "objective": "t2v",
        "dataset": "dataset.jsonl",
        "buckets": "96x64x17",
        "frame_rate": 24.0,
        "trigger": "ohwx: #1",
    }
    assert (config.data.preprocessed_data_root, config.output_dir) == (".precomputed", "runs")
    assert (config.validation.samples, config.validation.interval) == ([], None)  # a tiny model's would be noise
    assert result.sentence == "2 of 2 clips will train."
    assert (result.samples, result.captions_to_review, result.tiny_model) == (4, 2, True)


def test_every_chosen_value_carries_its_reason_in_the_file(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4")])
    result = _draft(project, steps=500)
    lines = project.config_path.read_text().splitlines()
    for value in result.values:
        key = value.name.rsplit(".", 1)[-1]
        assert value.reason
        assert any(line.strip().startswith(f"{key}:") and line.endswith(f"# {value.reason}") for line in lines), value
    steps = next(value for value in result.values if value.name == "optimization.steps")
    assert (steps.value, steps.reason) == (500, "you asked for it")


def test_what_was_asked_for_is_what_stands(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4")], objective="i2v", model="/models/ltx-2.3.safetensors")
    result = _draft(project, steps=7, rank=3, learning_rate=5e-5, batch_size=2)
    config = load_config(project.config_path)
    assert name_of(config.strategy) == "i2v"
    assert config.lora is not None
    found = (config.optimization.steps, config.lora.rank, config.optimization.learning_rate)
    assert (*found, config.optimization.batch_size) == (7, 3, 5e-5, 2)
    assert config.checkpoints.interval == 3
    assert config.model.model_path == "/models/ltx-2.3.safetensors"
    assert any("was not found here" in note for note in result.notes)
    assert not result.tiny_model


def test_real_model_follows_the_recipe_at_its_usual_amount_of_data(make_project: MakeProject) -> None:
    samples = [Sample(start_s=0, duration_s=89 / 24, bucket="768x448x89")]
    clips = [make_clip(f"{number:02d}.mp4", samples=samples) for number in range(33)]
    project = make_project(clips, model="/models/ltx-2.3.safetensors")
    _draft(project)
    config = load_config(project.config_path)
    assert config.lora is not None
    assert (config.lora.rank, config.optimization.steps, config.optimization.learning_rate) == (32, 2000, 1e-4)
    assert config.acceleration.mixed_precision_mode == "bf16"
    assert config.optimization.enable_gradient_checkpointing


def test_clips_without_sound_are_named_and_left_out_of_an_audio_visual_run(make_project: MakeProject) -> None:
    clips = [
        make_clip("loud.mp4"),
        make_clip("mute `x`\n.mp4", audio="none"),
        make_clip("still.png", kind="image", audio="none"),
        make_clip("silent.mp4", audio="silent"),
        make_clip("stub.mp4", status="unusable", samples=[]),
        make_clip("notes.txt", kind="other", status="unusable", samples=[]),
    ]
    project = make_project(clips)
    result = _draft(project, video_only=False)
    assert result.sentence == "1 of 5 clips will train."
    assert result.coverage.sentence == "1 of 5 clips; 2 have no sound; 1 can't be used; 1 is silent"
    assert "for `only the picture`, they train too" in " ".join(result.notes)
    told = SUMMARIES["draft_config"](result.model_dump(mode="json"))
    assert "– 'mute `x`\\n.mp4', 'still.png': it has no sound" in told
    assert {clip.path: clip.reason for clip in result.left_out} == {
        "stub.mp4": "it has 5 frames, fewer than 9",
        "mute `x`\n.mp4": "it has no sound",
        "still.png": "it has no sound",
        "silent.mp4": "its sound is silent",
    }
    assert [Path(row["video"]).name for row in read_jsonl(project.dataset_path)] == ["loud.mp4"]
    plan = project.plan_path.read_text()
    assert "1 of 5 clips will train." in plan
    assert "- `mute 'x'\\n.mp4`: it has no sound" in plan


def test_clips_left_out_by_choice_are_told_as_such(make_project: MakeProject) -> None:
    clips = [make_clip("loud.mp4"), *(make_clip(f"mute_{number}.mp4", audio="none") for number in range(3))]
    project = make_project(clips)
    result = _draft(project, only=["mute_0.mp4"])
    assert result.video_only
    assert "3 are left out as you asked" in result.coverage.sentence
    notes = " ".join(result.notes)
    assert "No clip that trains has usable sound" in notes
    assert "lack only sound" not in notes


def test_no_sound_at_all_trains_the_picture_alone(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4", audio="none"), make_clip("b.mp4", audio="silent")])
    result = _draft(project)
    config = load_config(project.config_path)
    assert (result.objective, result.video_only, result.training_clips) == ("t2v", True, 2)
    assert config.strategy.audio is None
    assert config.lora is not None
    assert all(name.startswith(("attn1.", "attn2.")) for name in config.lora.target_modules)
    assert "video only" in project.plan_path.read_text()
    assert any("leaves sound alone" in note for note in result.notes)


@pytest.mark.parametrize("objective", OBJECTIVE_NAMES)
def test_every_objective_is_drafted_or_refused_by_its_missing_column(make_project: MakeProject, objective: str) -> None:
    project = make_project([make_clip("a.mp4")])
    needs = {"v2v_ic": "reference_video", "a2a_ic": "reference_audio", "av2av_ic": "reference_audio, reference_video"}
    needs |= {"video_inpainting": "video_mask", "audio_inpainting": "audio_mask"}
    if objective in needs:
        with pytest.raises(DataError, match=f"{needs[objective]} is missing") as caught:
            _draft(project, objective=objective)
        assert caught.value.exit_code == 3
        assert not project.config_path.exists()
        return
    for adapter in ("lora", "full"):
        _draft(project, objective=objective, adapter=adapter)
        config = load_config(project.config_path)
        assert name_of(config.strategy) == objective
        assert (config.lora is None) is (adapter == "full")


def test_reference_column_makes_an_in_context_lora_of_the_clips_that_have_it(make_project: MakeProject) -> None:
    columns = {"reference_video": "refs/a.mp4"}
    project = make_project([make_clip("a.mp4", columns=columns), make_clip("b.mp4")])
    result = _draft(project, objective="v2v_ic")
    assert result.adapter == "ic-lora"
    assert [(clip.path, clip.reason) for clip in result.left_out] == [("b.mp4", "it has no reference_video")]
    config = load_config(project.config_path)
    assert name_of(config.strategy) == "v2v_ic"
    assert config.lora is not None
    assert config.lora.target_modules[-2:] == ["ff.net.0.proj", "ff.net.2"]
    row = read_jsonl(project.dataset_path)[0]
    assert (project.path / row["reference_video"]).resolve() == Path("/footage/refs/a.mp4")


def test_sound_to_picture_with_reference_clips_becomes_an_in_context_lora(make_project: MakeProject) -> None:
    plain = _draft(make_project([make_clip("a.mp4")]), objective="a2v")
    assert plain.adapter == "lora"
    clips = [make_clip("a.mp4", columns={"reference_video": "/refs/a.mp4"})]
    result = _draft(make_project(clips), objective="a2v")
    assert result.adapter == "ic-lora"
    assert "the data has reference clips" in next(
        value.reason for value in result.values if value.name == "model.training_mode"
    )


def test_in_context_lora_needs_a_reference(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4")])
    with pytest.raises(DataError, match="adapter ic-lora needs `reference_video`"):
        _draft(project, adapter="ic-lora")


def test_objective_that_no_clip_can_carry_names_each_clip(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4", samples=[]), make_clip("b.mp4", status="unusable")])
    with pytest.raises(
        DataError, match=r"b\.mp4: it has 5 frames, fewer than 9; a\.mp4: no stretch of it fills"
    ) as caught:
        _draft(project)
    assert caught.value.exit_code == 3


def test_sound_that_fills_no_sample_counts_for_nothing(make_project: MakeProject) -> None:
    result = _draft(make_project([make_clip("a.mp4", samples=[]), make_clip("b.mp4", audio="none")]))
    assert (result.video_only, result.sentence) == (True, "1 of 2 clips will train.")


def test_dataset_has_upstreams_columns_and_ours(make_project: MakeProject) -> None:
    source = "/footage/day 1"
    project = make_project(
        [make_clip("sub/a b.mp4", source=source), make_clip("c.wav", kind="audio", source=source)], objective="t2a"
    )
    _draft(project)
    video, audio = read_jsonl(project.dataset_path)
    assert (project.path / video["video"]).resolve() == Path("/footage/day 1/sub/a b.mp4")
    assert (project.path / audio["audio"]).resolve() == Path("/footage/day 1/c.wav")
    assert "video" not in audio
    assert video["caption"] == "What sub/a b.mp4 shows."
    assert video["samples"] == [sample.model_dump() for sample in make_clip("x").samples]
    assert (video["sha256"], video["has_audio"]) == ("sha-of-sub/a b.mp4", True)


def test_clip_without_a_caption_is_named_and_nothing_is_drafted(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4"), make_clip("b.mp4")])
    write_jsonl(project.captions_path, read_jsonl(project.captions_path)[:1])
    with pytest.raises(DataError, match=r"1 of the 2 clips to train on have no caption: b\.mp4"):
        _draft(project)
    assert not project.config_path.exists()


def test_edited_config_is_kept_and_the_result_says_so(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4")])
    assert _draft(project).backup is None
    assert _draft(project, steps=90).backup is None
    edited = project.config_path.read_text().replace("seed: 42", "seed: 7")
    project.config_path.write_text(edited)
    result = _draft(project, steps=100)
    assert result.backup is not None
    assert Path(result.backup).read_text() == edited
    assert any("config.yaml.bak-1" in note for note in result.notes)
    assert load_config(project.config_path).optimization.steps == 100


def test_outpainting_region_lies_inside_the_samples_picture(make_project: MakeProject) -> None:
    wide = [Sample(start_s=0.0, duration_s=1.0, bucket="768x448x25")]
    project = make_project([make_clip("a.mp4", samples=wide)], objective="video_outpainting")
    _draft(project)
    video = load_config(project.config_path).strategy.video
    assert video is not None
    assert video.conditions[0].model_dump()["spatial_region"] == (0, 192, 448, 576)


def test_plan_says_what_a_tiny_model_is(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4")])
    _draft(project)
    plan = project.plan_path.read_text()
    assert "tiny and random" in plan
    assert "can generate anything" in plan
    assert "60 steps" in plan


def test_unknown_objective_in_the_project_is_refused(make_project: MakeProject) -> None:
    with pytest.raises(ConfigError, match="`t2x` is no objective"):
        _draft(make_project([make_clip("a.mp4")], objective="t2x"))


@pytest.mark.parametrize(
    "arguments", [{"steps": 0}, {"learning_rate": float("nan")}, {"rank": -1}, {"colour": "red"}, {"adapter": "dora"}]
)
def test_arguments_are_strict(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DraftArguments.model_validate(arguments)


def test_model_sees_a_described_strict_schema() -> None:
    schema = DRAFT_TOOLS[0].schema()["function"]
    assert schema["description"]
    assert schema["parameters"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("frames", "objective", "boundary", "reason"),
    [
        (121, "video_extension", 8, "8 latent frames as the recipe has it"),
        (89, "video_extension", 8, "8 latent frames as the recipe has it"),
        (
            17,
            "video_extension",
            2,
            "2 latent frames instead of the recipe's 8: at most two thirds of the usual sample is given",
        ),
        (121, "audio_extension", 8, "8 audio latent frames as the recipe has it"),
        (9, "audio_extension", 6, "6 audio latent frames instead of the recipe's 8"),
    ],
)
def test_an_extension_is_given_at_most_two_thirds_of_the_usual_sample(
    make_project: MakeProject, frames: int, objective: str, boundary: int, reason: str
) -> None:
    samples = [Sample(start_s=0.0, duration_s=frames / 24, bucket=f"96x64x{frames}")]
    clips = [make_clip(name, samples=samples) for name in ("a.mp4", "b.mp4")]
    project = make_project(clips, objective=objective)
    result = _draft(project, direction="before")
    side = objective.removesuffix("_extension")
    section = getattr(load_config(project.config_path).strategy, side)
    assert [(one.type, one.temporal_boundary) for one in section.conditions] == [("suffix", boundary)]
    said = next(value.reason for value in result.values if value.name == f"training_strategy.{side}.conditions")
    assert reason in said
    assert said.startswith("the end of each clip is given, what comes before it is learned: you asked for it; ")


def test_a_still_is_left_out_of_an_extension_by_name(make_project: MakeProject) -> None:
    still = make_clip("still.png", kind="image", samples=[Sample(start_s=0.0, duration_s=1 / 24, bucket="96x64x1")])
    result = _draft(make_project([make_clip("a.mp4"), still]), objective="video_extension")
    assert [(clip.path, clip.reason) for clip in result.left_out] == [
        ("still.png", "it is a still: nothing follows its only frame")
    ]


def test_clips_too_short_to_go_on_from_are_refused(make_project: MakeProject) -> None:
    short = [Sample(start_s=0.0, duration_s=0.02, bucket="96x64x1")]
    project = make_project([make_clip("a.mp4", samples=short)], objective="video_extension")
    with pytest.raises(DataError, match=r"a\.mp4: its samples are no longer than the 1 latent frame given"):
        _draft(project)


def test_sound_for_a_picture_leaves_the_picture_alone(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4")], objective="v2a")
    result = _draft(project)
    config = load_config(project.config_path)
    assert config.lora is not None
    targets = config.lora.target_modules
    assert "audio_ff.net.2" in targets
    assert "video_to_audio_attn.to_k" in targets
    assert all(name.startswith(("audio_attn", "audio_ff", "video_to_audio_attn")) for name in targets)
    reason = next(value.reason for value in result.values if value.name == "lora.target_modules")
    assert "nothing of the picture that is given" in reason


def test_an_in_context_lora_is_given_the_first_frame_now_and_then(make_project: MakeProject) -> None:
    project = make_project([make_clip("a.mp4", columns={"reference_video": "refs/a.mp4"})], objective="v2v_ic")
    result = _draft(project)
    video = load_config(project.config_path).strategy.video
    assert video is not None
    assert [(one.type, one.probability) for one in video.conditions] == [("reference", 1.0), ("first_frame", 0.2)]
    text = project.config_path.read_text()
    assert "# given to go by: the reference, always; the first frame, in 20% of the steps, so that it works" in text
    assert not any("first frame" in assumption for assumption in result.assumptions)
