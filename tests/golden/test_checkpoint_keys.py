"""Our full checkpoints at the released sizes, key by key, shape by shape and by metadata names, without their weights.

`checkpoint_keys.json` are the keys of the released files; `released_configs.json` is what the metadata of the released
files says under `config.transformer` (2.3 and 2.5 from the published files; of 2.0 the names that converters publish).
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_loader import check_opens

from trainer_core.adapters import AdapterFacts
from trainer_core.full_checkpoint import full_weights, trained_metadata, transformer_only
from trainer_core.model.names import (
    PROJECTION_PREFIX,
    beside_the_transformer,
    connectors_to_diffusers,
    connectors_to_upstream,
    to_diffusers,
)
from trainer_core.model.reader_config import builds_a_model, made_metadata, reader_config

HERE = Path(__file__).parent
KEYS: dict[str, Any] = json.loads((HERE / "checkpoint_keys.json").read_text())
CONFIGS: dict[str, Any] = json.loads((HERE / "released_configs.json").read_text())
VERSIONS = ("2.0", "2.3", "2.5")
# INTERFACES.md: what readers look for, by version; all but the sizes are the same everywhere
NAMES = {
    "num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "num_layers",
    "cross_attention_dim", "audio_num_attention_heads", "audio_attention_head_dim", "audio_in_channels",
    "audio_out_channels", "audio_cross_attention_dim", "caption_channels", "rope_type", "frequencies_precision",
    "av_ca_timestep_scale_multiplier", "cross_attention_norm", "standardization_norm",
    "norm_elementwise_affine", "qk_norm", "positional_embedding_type", "use_audio_video_cross_attention",
    "share_ff", "av_cross_ada_norm", "use_middle_indices_grid", "attention_bias", "activation_fn",
    "num_embeds_ada_norm",
}  # fmt: skip
SINCE_2_3 = {"apply_gated_attention", "cross_attention_adaln", "caption_proj_before_connector"}
SINCE_2_5 = {"ff_bias", "use_keyframes_abs_pos_embedding"}
TOGETHER = {
    "caption_proj_before_connector",
    "caption_projection_first_linear",
    "caption_proj_input_norm",
    "caption_projection_second_linear",
}


def _maker() -> Any:
    specification = importlib.util.spec_from_file_location("make_checkpoint_keys", HERE / "make_checkpoint_keys.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


maker = _maker()


@pytest.fixture(scope="module", params=VERSIONS)
def written(request: pytest.FixtureRequest) -> tuple[str, dict[str, tuple[int, ...]], dict[str, str], dict[str, Any]]:
    """(version, keys and shapes that a full run would write, its metadata, the library's configs) at full size."""
    version = request.param
    transformer, connectors = maker.released(version)
    shapes = {one.name: one.shape for one in full_weights(transformer, torch.bfloat16)}
    shapes |= {connectors_to_upstream(name): tuple(value.shape) for name, value in connectors.state_dict().items()}
    facts = AdapterFacts(version, "base", "f", "t2v", 7)
    configs = {"transformer": dict(transformer.config), "connectors": dict(connectors.config)}
    metadata = transformer_only(trained_metadata(made_metadata(version, **configs), facts.metadata()))
    return version, shapes, metadata, configs


def test_the_keys_and_shapes_are_those_of_the_released_files(written: Any) -> None:
    version, shapes, _, _ = written
    assert len(shapes) == KEYS[version]["keys"]
    assert maker.patterns(shapes) == KEYS[version]["shapes"]


def test_the_pack_of_2_5_has_as_many_keys_in_its_transformer_file() -> None:
    projections = [key for key in KEYS["2.5"]["shapes"] if key.startswith(PROJECTION_PREFIX)]
    assert KEYS["2.5"]["keys"] - len(projections) == 4349


def test_the_config_has_the_names_and_values_of_the_released_files(written: Any) -> None:
    version, _, metadata, _ = written
    config = json.loads(metadata["config"])["transformer"]
    assert {name: config[name] for name in CONFIGS[version]} == CONFIGS[version]
    wanted = NAMES | (SINCE_2_3 if version != "2.0" else set()) | (SINCE_2_5 if version == "2.5" else set())
    assert wanted <= set(config)
    assert len(TOGETHER & set(config)) == (0 if version == "2.0" else 4), "a part of the four is an error to loaders"
    assert not {"gated_attn", "cross_attn_mod", "perturbed_attn", "_use_default_values"} & set(config)
    assert metadata["model_version"] == version
    assert (metadata["objective"], metadata["step"], metadata["trainer"]) == ("t2v", "7", "ltx-agent")


def test_comfyui_builds_the_model_from_it(written: Any) -> None:
    version, shapes, metadata, configs = written
    check_opens(shapes, metadata)
    with pytest.raises(AssertionError):  # the library's names, which earlier files had
        check_opens(shapes, {**metadata, "config": json.dumps({"transformer": _plain(configs["transformer"])})})
    if version != "2.0":
        config = json.loads(metadata["config"])["transformer"]
        less = {name: value for name, value in config.items() if not name.startswith("connector_")}
        with pytest.raises(AssertionError):  # connectors of 2.0's size
            check_opens(shapes, {**metadata, "config": json.dumps({"transformer": less})})


def test_the_connectors_names_go_both_ways(written: Any) -> None:
    _, shapes, _, _ = written
    beside = [key for key in shapes if beside_the_transformer(key)]
    assert [connectors_to_upstream(connectors_to_diffusers(key)) for key in beside] == beside
    own = {to_diffusers(key.removeprefix("model.diffusion_model.")) for key in shapes if key not in beside}
    assert not any("connector" in name or ("projection." in name and "caption" not in name) for name in own)
    with pytest.raises(KeyError):
        connectors_to_upstream("transformer_blocks.0.attn1.to_q.weight")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_released_config_is_kept_and_another_is_not_taken_for_one(version: Any) -> None:
    assert builds_a_model(version, CONFIGS[version])
    unnamed = {name: value for name, value in CONFIGS[version].items() if name != "_class_name"}
    assert builds_a_model(version, unnamed)
    transformer, connectors = maker.released(version)
    assert not builds_a_model(version, _plain(dict(transformer.config)))
    assert not builds_a_model(version, {"num_attention_heads": 32})
    assert builds_a_model(version, reader_config(version, dict(transformer.config), dict(connectors.config)))


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}
