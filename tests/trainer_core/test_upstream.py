"""The YAML for the official trainer: its keys and words alone; rounded or refused where its schema takes no more."""

from typing import Any

import pytest
import yaml

from trainer_core.config import TrainingConfig, parse_config
from trainer_core.errors import ConfigError
from trainer_core.objective import OBJECTIVE_NAMES, load_recipe, merged
from trainer_core.upstream import upstream_yaml


def _config(overlay: dict[str, Any] | None = None, objective: str = "t2v") -> TrainingConfig:
    base = {"model": {"model_path": "/models/ltx.safetensors"}, "data": {"preprocessed_data_root": ".precomputed"}}
    return parse_config(yaml.safe_dump(merged(merged(load_recipe(objective), base), overlay or {})))


def _exported(overlay: dict[str, Any] | None = None) -> tuple[list[str], dict[str, Any]]:
    text = upstream_yaml(_config(overlay))
    said = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    return said, yaml.safe_load(text)


@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_a_recipe_needs_no_comment_and_reads_back(name: str) -> None:
    config = _config(objective=name)
    text = upstream_yaml(config)
    assert not text.startswith("#")
    again = parse_config(text)
    assert again.model_dump(exclude={"ltx_agent"}) == config.model_dump(exclude={"ltx_agent"})
    assert isinstance(yaml.safe_load(text)["lora"]["alpha"], int), "the official schema takes whole numbers"


def test_what_our_section_changes_in_training_is_said_and_nothing_else() -> None:
    said, document = _exported(
        {
            "ltx_agent": {
                "warmup_steps": 100,
                "trigger": "ohwx",
                "objective": "t2v",
                "torch_compile": True,
                "incomplete_samples": "leave_out",
                "training": {"ema_decay": 0.999},
                "memory": {"precompute_text": True},
            }
        }
    )
    assert "ltx_agent" not in document
    assert len(said) == 2
    assert said[0].startswith("ltx_agent.warmup_steps 100 is left out: the official trainer has no warm-up")
    assert said[1] == "ltx_agent.training.ema_decay 0.999 is left out: the official trainer has no word for it"


def test_an_alpha_is_rounded_with_what_that_does_to_the_scale() -> None:
    said, document = _exported({"lora": {"rank": 16, "alpha": 12.5}})
    assert document["lora"]["alpha"] == 12
    assert said == [
        "lora.alpha 12.5 is rounded to 12, as the official trainer takes whole numbers: alpha/rank is 0.75 instead of "
        "0.7812"
    ]


@pytest.mark.parametrize(
    ("key", "value", "least"),
    [
        ("video_cfg_scale", 0.5, 1.0),
        ("audio_cfg_scale", 0, 1.0),
        ("video_stg_scale", -0.5, 0.0),
        ("audio_modality_guidance_scale", 0.9, 1.0),
    ],
)
def test_guidance_below_none_is_raised_to_none(key: str, value: float, least: float) -> None:
    said, document = _exported({"validation": {key: value}})
    assert document["validation"][key] == least
    assert len(said) == 1
    assert f"validation.{key} {value:g} is raised to {least:g}" in said[0]
    assert "the training won't" in said[0]


@pytest.mark.parametrize(
    ("overlay", "parts"),
    [
        ({"lora": {"rank": 1, "alpha": 1}}, ("lora.rank 1: the official trainer takes 2 or more", "lora.rank 2")),
        ({"lora": {"alpha": 0.25}}, ("lora.alpha 0.25", "4 times as strongly", "lora.alpha 1 or more")),
    ],
)
def test_what_nothing_near_would_train_alike_is_refused(overlay: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        upstream_yaml(_config(overlay))
    for part in parts:
        assert part in str(caught.value)
    assert "without the form `upstream`" in caught.value.hint


def test_a_word_that_upstream_does_not_know_is_refused_with_its_own() -> None:
    config = _config()
    optimization = config.optimization.model_copy(update={"optimizer_type": "prodigy"})
    with pytest.raises(ConfigError, match=r"optimizer_type 'prodigy' has no counterpart .* adamw, adamw8bit"):
        upstream_yaml(config.model_copy(update={"optimization": optimization}))


def test_several_references_are_written_as_upstream_reads_them() -> None:
    conditions = [{"type": "reference", "latents_dir": name} for name in ("depth", "pose")]
    document = yaml.safe_load(
        upstream_yaml(_config({"training_strategy": {"video": {"conditions": conditions}}}, "v2v_ic"))
    )
    found = document["training_strategy"]["video"]["conditions"]
    assert [(one["type"], one["latents_dir"]) for one in found] == [("reference", "depth"), ("reference", "pose")]
