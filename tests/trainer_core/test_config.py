"""The training YAML: upstream's schema, strict, with errors that say where, what and what is meant."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer_core.config import TrainingConfig, dump_config, is_tiny, load_config, parse_config
from trainer_core.config_paths import resolve_paths
from trainer_core.errors import ConfigError
from trainer_core.objective import OBJECTIVE_NAMES, load_recipe, name_of, objective_of

MINIMAL = """\
model:
  model_path: tiny
lora:
  rank: 8
training_strategy:
  name: flexible
  video:
    is_generated: true
    latents_dir: latents
data:
  preprocessed_data_root: .precomputed
"""

UPSTREAM = """\
model:
  model_path: "/models/ltx-2.safetensors"
  text_encoder_path: "/models/gemma"
  training_mode: "lora"
  load_checkpoint: null
lora:
  rank: 32
  alpha: 32
  dropout: 0.0
  target_modules: ["attn1.*", "ff.net.0.proj"]
training_strategy:
  name: "flexible"
  video:
    is_generated: true
    latents_dir: latents
    conditions:
      - {type: reference, latents_dir: reference_latents}
      - {type: first_frame, probability: 0.2}
  audio: null
optimization:
  learning_rate: 1e-4
  steps: 2000
  batch_size: 1
  scheduler_type: cosine
  scheduler_params: {}
  enable_gradient_checkpointing: true
acceleration:
  mixed_precision_mode: no
  quantization: null
data:
  preprocessed_data_root: "/data/.precomputed"
  num_dataloader_workers: 0
validation:
  samples:
    - prompt: "a fox"
      video_dims: [576, 576, 49]
      conditions:
        - {type: reference, video: "/r.mp4", downscale_factor: 2, include_in_output: true}
        - {type: first_frame, image_or_video: "/r.png"}
  interval: null
checkpoints:
  interval: 250
  keep_last_n: -1
  save_training_state: off
hub: {push_to_hub: false}
wandb: {enabled: false, tags: [a, b]}
flow_matching:
  timestep_sampling_mode: shifted_logit_normal
seed: 7
output_dir: outputs/fox
"""


def _with(path: str, value: Any) -> str:
    """MINIMAL with `value` at a dotted path."""
    document = yaml.safe_load(MINIMAL)
    *parents, last = path.split(".")
    inner = document
    for part in parents:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return yaml.safe_dump(document, sort_keys=False)


def _refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "run.yaml")
    return caught.value


def test_a_minimal_file_gets_upstreams_defaults() -> None:
    config = parse_config(MINIMAL)
    assert config.lora is not None
    assert (config.lora.rank, config.lora.alpha, config.lora.target_modules) == (
        8,
        64,
        ["to_k", "to_q", "to_v", "to_out.0"],
    )
    optimization = config.optimization
    assert (optimization.learning_rate, optimization.steps, optimization.batch_size) == (5e-4, 3000, 2)
    assert (optimization.optimizer_type, optimization.scheduler_type, optimization.max_grad_norm) == (
        "adamw",
        "linear",
        1.0,
    )
    assert optimization.enable_gradient_checkpointing is False
    assert (config.acceleration.mixed_precision_mode, config.acceleration.quantization) == ("bf16", None)
    assert config.data.num_dataloader_workers == 2
    validation = config.validation
    assert (validation.video_dims, validation.frame_rate, validation.interval) == ((960, 544, 89), 24, 100)
    assert (validation.video_cfg_scale, validation.audio_cfg_scale, validation.guidance_rescale) == (3, 7, 0.7)
    assert (validation.stg_blocks, validation.inference_steps) == ([28], 30)
    assert (config.checkpoints.interval, config.checkpoints.keep_last_n, config.checkpoints.precision) == (
        None,
        1,
        "bfloat16",
    )
    assert config.checkpoints.save_training_state == "minimal"
    assert config.flow_matching.timestep_sampling_mode == "shifted_logit_normal"
    assert (config.seed, config.output_dir, config.wandb.project) == (42, "outputs", "ltxv-trainer")


def test_an_upstream_file_loads_as_it_is() -> None:
    config = parse_config(UPSTREAM)
    assert config.strategy.video is not None
    assert [condition.type for condition in config.strategy.video.conditions] == ["reference", "first_frame"]
    assert config.strategy.video.conditions[1].probability == 0.2
    assert config.strategy.audio is None
    assert config.validation.samples[0].conditions[0].include_in_output is True  # type: ignore[union-attr]
    assert config.validation.interval is None


def test_yaml_1_1_spellings_mean_what_a_person_means() -> None:
    config = parse_config(UPSTREAM)
    assert config.optimization.learning_rate == 1e-4  # YAML 1.1 reads 1e-4 as a string
    assert config.acceleration.mixed_precision_mode == "no"  # … and no and off as false
    assert config.checkpoints.save_training_state == "off"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("flow_matching.timestep_sampling_params", {"eps": "1e-3"}),
        ("optimization.scheduler_params", {"eta_min": "1e-6"}),
    ],
)
def test_exponents_in_free_parameters_are_numbers_too(path: str, value: dict[str, str]) -> None:
    text = _with(path, value).replace("'", "")  # the YAML says 1e-3, unquoted
    assert ": 1e-" in text
    section, name = path.split(".")
    found = getattr(getattr(parse_config(text), section), name)
    assert {type(number) for number in found.values()} == {float}, found


def test_an_unknown_key_is_placed_and_the_nearest_known_key_named() -> None:
    text = MINIMAL.replace("  rank: 8", "  rank: 8\n  alpah: 16")
    error = _refused(text)
    assert "run.yaml, line 5, column 3" in error.message
    assert "`lora.alpah` is not a known key; did you mean `alpha`?" in error.message
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed_", "sede: 3\n", "did you mean `seed`?"),
        ("data:", "optimisation: {steps: 5}\ndata:", "did you mean `optimization`?"),
        ("    latents_dir: latents", "    latents_dirs: latents", "did you mean `latents_dir`?"),
    ],
)
def test_the_nearest_key_is_found_at_every_depth(old: str, new: str, expected: str) -> None:
    text = MINIMAL + new if old == "seed_" else MINIMAL.replace(old, new)
    assert expected in _refused(text).message


def test_an_unknown_key_in_a_condition_knows_that_conditions_keys() -> None:
    text = MINIMAL.replace(
        "    latents_dir: latents",
        "    latents_dir: latents\n    conditions:\n      - type: prefix\n        temporal_boundry: 2",
    )
    message = _refused(text).message
    assert "line 12, column 9" in message
    assert "did you mean `temporal_boundary`?" in message
    assert "mask_dir" not in message


def test_an_unknown_key_like_nothing_lists_what_is_known() -> None:
    message = _refused(MINIMAL.replace("  rank: 8", "  rank: 8\n  zzz: 1")).message
    assert "known here: alpha, dropout, rank, target_modules." in message


def test_every_problem_is_reported_at_once() -> None:
    message = _refused(MINIMAL.replace("rank: 8", "rank: 0") + "seeed: 1\noptimization: {steps: -3}\n").message
    assert len(message.splitlines()) == 3
    assert "lora.rank" in message
    assert "(given: -3)" in message


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("lora.rank", 0, "lora.rank"),
        ("lora.rank", "many", "given: 'many'"),
        ("lora.dropout", 1.0, "lora.dropout"),
        ("lora.target_modules", [], "lora.target_modules"),
        ("optimization.learning_rate", 0, "optimization.learning_rate"),
        ("optimization.steps", 2.5, "given: 2.5"),
        ("optimization.scheduler_type", "cosin", "cosine"),
        ("acceleration.mixed_precision_mode", True, "acceleration.mixed_precision_mode"),
        ("acceleration.quantization", "int16", "int8-quanto"),
        ("validation.video_dims", [960, 540, 89], "multiples of 32"),
        ("validation.video_dims", [960, 544, 88], "frames % 8 == 1"),
        ("checkpoints.precision", "float16", "bfloat16"),
        ("ltx_agent.objective", "t2x", "t2v"),
        ("ltx_agent.buckets", "640x360", "ltx_agent.buckets"),
        ("data.num_dataloader_workers", -1, "data.num_dataloader_workers"),
        ("ltx_agent.noise", {"mean": 0.5}, "sampling_mode: logit_normal"),
        ("ltx_agent.noise", {"std": 2.0}, "sampling_mode: logit_normal"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(path: str, value: Any, expected: str) -> None:
    message = _refused(_with(path, value)).message
    assert expected in message
    assert "line " in message


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("optimization", {"optimizer_type": "schedule_free_adamw", "scheduler_type": "cosine"}, "scheduler_type"),
        ("optimization", {"optimizer_type": "prodigy", "learning_rate": 1e-4}, "learning_rate"),
        ("ltx_agent.training", {"master_weights": "float24"}, "master_weights"),
        ("ltx_agent.memory", {"swap_blocks": 2}, "swap_blocks"),
    ],
)
def test_values_that_contradict_are_placed_at_the_key_that_is_named(path: str, value: Any, key: str) -> None:
    text = _with(path, value)
    line = next(number for number, found in enumerate(text.splitlines(), start=1) if f"{key}:" in found)
    assert f"line {line}, column" in _refused(text).message


def test_the_dimensions_of_a_validation_sample_are_checked_like_the_common_ones() -> None:
    message = _refused(_with("validation.samples", [{"prompt": "a fox", "video_dims": [960, 540, 88]}])).message
    assert "video_dims" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + "seed: 1\nseed: 2\n", "line 13, column 1: `seed` stands twice"),
        (MINIMAL.replace("  rank: 8", "  rank: 8\n  rank: 16"), "line 5, column 3: `rank` stands twice"),
    ],
)
def test_a_key_twice_in_one_section_is_refused(text: str, expected: str) -> None:
    assert expected in _refused(text).message


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"type": "prefix"}, "temporal_boundary` is required"),
        ({"type": "prefix", "temporal_boundary": 0}, "given: 0"),
        ({"type": "mask"}, "mask_dir` is required"),
        ({"type": "first_frame", "probability": 1.5}, "given: 1.5"),
        ({"type": "first_frame", "temporal_boundary": 2}, "not a known key"),
        ({"type": "reference"}, "latents_dir` is required"),
        ({"type": "spatial_crop", "spatial_region": [0, 64, 32, 64]}, "is empty"),
        ({"type": "spatial_crop", "spatial_region": [0, 0, 32]}, "spatial_region"),
        ({"type": "last_frame"}, "last_frame"),
        ({"probability": 0.5}, "type"),
    ],
)
def test_a_condition_is_judged_by_its_own_type(condition: dict[str, Any], expected: str) -> None:
    assert expected in _refused(_with("training_strategy.video.conditions", [condition])).message


def test_lora_mode_needs_the_lora_section_and_full_mode_does_not() -> None:
    document = yaml.safe_load(MINIMAL)
    del document["lora"]
    assert "no `lora:` section" in _refused(yaml.safe_dump(document)).message
    document["model"]["training_mode"] = "full"
    assert parse_config(yaml.safe_dump(document)).lora is None


@pytest.mark.parametrize("section", ["model", "data"])
def test_a_missing_section_is_named(section: str) -> None:
    document = yaml.safe_load(MINIMAL)
    del document[section]
    assert f"`{section}` is required" in _refused(yaml.safe_dump(document)).message


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b\n", "model: [unclosed", "a: b: c", "\x00"])
def test_what_is_no_mapping_is_refused_in_one_sentence(text: str) -> None:
    assert "run.yaml" in _refused(text).message


def test_a_file_that_contains_itself_is_refused() -> None:
    assert "run.yaml" in _refused("model: &m\n  model_path: *m\n").message


def test_a_strategy_without_a_name_is_the_flexible_one() -> None:
    assert parse_config(MINIMAL.replace("  name: flexible\n", "")).strategy == parse_config(MINIMAL).strategy


def test_without_a_strategy_it_is_upstreams_text_to_video() -> None:
    document = yaml.safe_load(MINIMAL)
    del document["training_strategy"]
    config = parse_config(yaml.safe_dump(document))
    assert config.strategy == parse_config(_with("training_strategy", {"name": "text_to_video"})).strategy
    video = config.strategy.video
    assert video is not None
    assert [(condition.type, condition.probability) for condition in video.conditions] == [("first_frame", 0.1)]
    assert config.strategy.audio is None
    assert config.objective_name == "t2v"


def test_null_means_what_it_means_upstream() -> None:
    assert parse_config(_with("acceleration.mixed_precision_mode", None)).acceleration.mixed_precision_mode == "no"
    assert parse_config(_with("validation.stg_blocks", None)).validation.stg_blocks is None


def test_the_legacy_text_to_video_strategy_is_its_flexible_self() -> None:
    config = parse_config(
        _with("training_strategy", {"name": "text_to_video", "with_audio": True, "audio_latents_dir": "sounds"})
    )
    video, audio = config.strategy.video, config.strategy.audio
    assert video is not None
    assert audio is not None
    assert (video.is_generated, video.latents_dir) == (True, "latents")
    assert [(condition.type, condition.probability) for condition in video.conditions] == [("first_frame", 0.1)]
    assert (audio.is_generated, audio.latents_dir, audio.conditions) == (True, "sounds", [])
    silent = parse_config(_with("training_strategy", {"name": "text_to_video", "first_frame_conditioning_p": 0}))
    assert silent.strategy.audio is None
    assert silent.strategy.video is not None
    assert silent.strategy.video.conditions == []


def test_the_legacy_video_to_video_strategy_is_its_flexible_self() -> None:
    config = parse_config(_with("training_strategy", {"name": "video_to_video", "reference_latents_dir": "depth"}))
    assert config.strategy.video is not None
    first_frame, reference = config.strategy.video.conditions
    assert (first_frame.type, first_frame.probability) == ("first_frame", 0.1)
    assert (reference.type, reference.latents_dir) == ("reference", "depth")  # type: ignore[union-attr]
    assert config.strategy.audio is None
    assert (
        "first_frame_conditioning"
        in _refused(_with("training_strategy", {"name": "video_to_video", "first_frame_conditioning": 0.1})).message
    )


def test_deprecated_validation_keys_are_migrated_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    old = {
        "prompts": ["a fox", "a crow"],
        "images": ["fox.png", "crow.png"],
        "reference_videos": ["fox.mp4", "crow.mp4"],
        "reference_downscale_factor": 2,
        "include_reference_in_output": True,
        "guidance_scale": 4.5,
        "stg_scale": 0.5,
        "stg_mode": "stg_v",
    }
    with caplog.at_level(logging.WARNING):
        validation = parse_config(_with("validation", old)).validation
    for name in old:
        assert name in caplog.text
    assert [sample.prompt for sample in validation.samples] == ["a fox", "a crow"]
    first_frame, reference = validation.samples[1].conditions
    assert first_frame.image_or_video == "crow.png"  # type: ignore[union-attr]
    assert (reference.video, reference.downscale_factor, reference.include_in_output) == ("crow.mp4", 2, True)  # type: ignore[union-attr]
    assert (validation.video_cfg_scale, validation.audio_cfg_scale) == (4.5, 4.5)
    assert (validation.video_stg_scale, validation.audio_stg_scale) == (0.5, 0)


@pytest.mark.parametrize(
    ("old", "cfg", "stg"),
    [
        ({"guidance_scale": 5}, (5, 5), (1, 1)),
        ({"stg_scale": 0.5}, (3, 7), (0.5, 0.5)),
        ({"stg_scale": 0.5, "stg_mode": "stg_av"}, (3, 7), (0.5, 0.5)),
        ({"stg_scale": 0.5, "stg_mode": "stg_v"}, (3, 7), (0.5, 0)),
        ({"stg_mode": "stg_v"}, (3, 7), (1, 0)),
        ({"guidance_scale": None, "stg_scale": None, "stg_mode": None, "images": None}, (3, 7), (1, 1)),
    ],
)
def test_deprecated_scales_set_both_modalities_but_for_stg_v(
    old: dict[str, Any], cfg: tuple[float, float], stg: tuple[float, float]
) -> None:
    found = parse_config(_with("validation", old)).validation
    assert (found.video_cfg_scale, found.audio_cfg_scale) == cfg
    assert (found.video_stg_scale, found.audio_stg_scale) == stg


def test_a_file_without_deprecated_keys_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse_config(UPSTREAM)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ({"prompts": ["a", "b"], "images": ["a.png"]}, "images has 1 entries but prompts has 2"),
        ({"prompts": ["a"], "samples": [{"prompt": "b"}]}, "keep `samples`"),
        ({"images": ["a.png"], "samples": [{"prompt": "b"}]}, "`images` (deprecated) and `samples` are both given"),
        ({"guidance_scale": 4, "audio_cfg_scale": 7}, "`guidance_scale` (deprecated) and `audio_cfg_scale` are both"),
        ({"stg_scale": 1, "video_stg_scale": 1}, "keep `video_stg_scale` and `audio_stg_scale` alone"),
        ({"stg_mode": "stg_v", "audio_stg_scale": 1}, "`stg_mode` (deprecated) and `audio_stg_scale` are both given"),
        ({"stg_mode": "stg_a"}, "stg_mode is 'stg_a'; it can be stg_av or stg_v"),
    ],
)
def test_deprecated_keys_that_contradict_are_refused(old: dict[str, Any], expected: str) -> None:
    assert expected in _refused(_with("validation", old)).message


@pytest.mark.parametrize("text", [MINIMAL, UPSTREAM, _with("training_strategy", {"name": "text_to_video"})])
def test_what_is_dumped_loads_equal(text: str) -> None:
    config = parse_config(text)
    again = parse_config(dump_config(config))
    assert again == config
    assert dump_config(again) == dump_config(config)


@pytest.mark.parametrize("name", ["with space", "quo\"te's", "new\nline", "emoji🎬: #1", "- dash", "no", "1e5", "~x"])
def test_any_path_survives_dump_and_load(name: str) -> None:
    config = parse_config(_with("data.preprocessed_data_root", f"/data/{name}"))
    assert parse_config(dump_config(config)).data.preprocessed_data_root == f"/data/{name}"


def test_a_path_of_undecodable_bytes_survives_dump_and_load(tmp_path: Path) -> None:
    config = parse_config(MINIMAL)
    resolved = resolve_paths(config, tmp_path / b"clips\xff".decode(errors="surrogateescape"))
    assert parse_config(dump_config(resolved)) == resolved


def test_load_config_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config file .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"model: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml can't be read"):
        load_config(tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match="can't be read"):
        load_config(tmp_path)
    (tmp_path / "good.yaml").write_text(MINIMAL)
    assert load_config(tmp_path / "good.yaml") == parse_config(MINIMAL)


def test_relative_paths_are_taken_from_the_files_folder_else_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "project", tmp_path / "here"
    for folder in (beside / "both", here / "both", here / "only-here"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)

    def root_of(value: str) -> str:
        return resolve_paths(
            parse_config(_with("data.preprocessed_data_root", value)), beside
        ).data.preprocessed_data_root

    assert root_of("both") == str(beside / "both")
    assert root_of("only-here") == str(here / "only-here")
    assert root_of("neither") == str(beside / "neither")
    assert root_of("/absolute") == "/absolute"


def test_resolving_leaves_tiny_and_nothing_alone_and_changes_no_other_value(tmp_path: Path) -> None:
    config = parse_config(_with("model.model_path", "tiny:2.5"))
    resolved = resolve_paths(config, tmp_path)
    assert resolved.model.model_path == "tiny:2.5"
    assert resolved.model.text_encoder_path is None
    assert resolved.ltx_agent.dataset is None
    assert resolved.output_dir == str(tmp_path / "outputs")
    assert config.output_dir == "outputs", "the argument must not change"
    moved = parse_config(UPSTREAM.replace("/models/ltx-2.safetensors", "weights/ltx"))
    assert resolve_paths(moved, tmp_path).model.model_path == str(tmp_path / "weights" / "ltx")
    assert resolve_paths(resolved, Path("/elsewhere")) == resolved


def test_tiny_is_a_name_and_not_a_prefix() -> None:
    assert is_tiny("tiny")
    assert is_tiny("tiny:2.0")
    assert not is_tiny("tiny-model")
    assert not is_tiny("/models/tiny")


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("direction", ["prefix", "suffix"])
@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_every_recipe_is_a_config_and_knows_its_name(name: str, direction: Any, low_memory: bool) -> None:
    recipe = load_recipe(name, direction=direction, low_memory=low_memory)
    document = {
        **recipe,
        "model": {**recipe["model"], "model_path": "tiny"},
        "data": {"preprocessed_data_root": ".precomputed"},
    }
    config = parse_config(yaml.safe_dump(document, sort_keys=False))
    assert name_of(config.strategy) == name
    objective_of(config.strategy)
    assert config.lora is not None
    assert config.lora.rank == config.lora.alpha == (16 if low_memory else 32)
    assert config.optimization.optimizer_type == ("adamw8bit" if low_memory else "adamw")
    assert config.acceleration.quantization == ("int8-quanto" if low_memory else None)
    kinds = [
        condition.type
        for side in (config.strategy.video, config.strategy.audio)
        if side is not None
        for condition in side.conditions
    ]
    assert config.objective_name == name
    if name.endswith("_extension"):
        assert kinds == [direction]
    else:
        assert "prefix" not in kinds
        assert "suffix" not in kinds


def test_recipes_have_upstreams_rates_and_steps() -> None:
    slow = {"t2a", "audio_extension", "audio_inpainting", "v2v_ic", "a2a_ic", "av2av_ic"}
    for name in OBJECTIVE_NAMES:
        optimization = load_recipe(name)["optimization"]
        expected = (2e-4, 3000) if name in slow else (1e-4, 2000)
        assert (optimization["learning_rate"], optimization["steps"], optimization["batch_size"]) == (*expected, 1), (
            name
        )


def test_an_unknown_recipe_names_the_thirteen() -> None:
    with pytest.raises(ConfigError, match="`t2x` is no objective") as caught:
        load_recipe("t2x")
    assert all(name in caught.value.hint for name in OBJECTIVE_NAMES)
    assert len(OBJECTIVE_NAMES) == 13


def test_the_objective_that_the_yaml_names_wins() -> None:
    conditions = [{"type": "first_frame"}, {"type": "prefix", "temporal_boundary": 1}]
    config = parse_config(_with("training_strategy.video.conditions", conditions))
    assert config.objective_name == "video_extension"
    assert parse_config(_with("ltx_agent.objective", "i2v")).objective_name == "i2v"


def test_the_schema_can_be_published() -> None:
    schema = TrainingConfig.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"model", "data"}
