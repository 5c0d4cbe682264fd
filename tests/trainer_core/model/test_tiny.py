"""The tiny model: real classes, deterministic, small, honest about what it is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainer_core.errors import ConfigError
from trainer_core.model.source import Part, Version
from trainer_core.model.tiny import TinySource, tiny_source

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")
LOADERS: dict[Part, Callable[[TinySource], Any]] = {
    "transformer": lambda source: source.transformer(torch.float32),
    "connectors": lambda source: source.connectors(torch.float32),
    "video_vae": lambda source: source.video_vae(torch.float32),
    "audio_vae": lambda source: source.audio_vae(torch.float32),
    "vocoder": lambda source: source.vocoder(torch.float32),
    "text_encoder": lambda source: source.text_encoder(torch.float32)[1],
}


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("part", list(LOADERS))
def test_each_part_is_the_same_every_time_small_and_frozen(part: Part, version: Version) -> None:
    before = torch.get_rng_state()
    module = LOADERS[part](TinySource(version))
    torch.manual_seed(12345)
    again = LOADERS[part](TinySource(version))
    torch.set_rng_state(before)
    assert _same(module, again), "the global generator must not matter"
    assert not _same(module, LOADERS[part](TinySource(version, seed=1)))
    assert torch.equal(torch.get_rng_state(), before), "building must not touch the global generator"
    assert sum(parameter.numel() for parameter in module.parameters()) < 5_000_000
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("version", VERSIONS)
def test_fingerprints_tell_versions_parts_and_seeds_apart(version: Version) -> None:
    found = {TinySource(version).fingerprint(part) for part in LOADERS}
    assert len(found) == len(LOADERS)
    assert found == {TinySource(version).fingerprint(part) for part in LOADERS}
    others = {TinySource(other).fingerprint(part) for other in VERSIONS if other != version for part in LOADERS}
    assert not found & (others | {TinySource(version, seed=1).fingerprint(part) for part in LOADERS})


def test_the_versions_differ_where_ltx_does() -> None:
    configs = {version: TinySource(version).transformer(torch.float32).config for version in VERSIONS}
    assert [configs[version].cross_attn_mod for version in VERSIONS] == [False, True, True]
    assert [configs[version].gated_attn for version in VERSIONS] == [False, True, True]
    assert [configs[version].use_prompt_embeddings for version in VERSIONS] == [True, False, False]
    assert [configs[version].ff_bias for version in VERSIONS] == [True, True, False]
    assert [configs[version].use_keyframes_abs_pos_embedding for version in VERSIONS] == [False, False, True]
    families = [TinySource(version).text_encoder(torch.float32)[1].config.model_type for version in VERSIONS]
    assert [family[:6] for family in families] == ["gemma3", "gemma3", "gemma4"]


def test_the_video_vae_has_the_real_compression() -> None:
    vae = TinySource().video_vae(torch.float32)
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, 9, 64, 96)).latent_dist.mode()
    assert latents.shape == (1, 128, 2, 2, 3)


def test_the_parts_come_in_the_asked_dtype() -> None:
    assert TinySource().transformer(torch.bfloat16).proj_in.weight.dtype == torch.bfloat16
    assert TinySource().connectors(torch.bfloat16).dtype == torch.bfloat16


def test_the_label_promises_nothing() -> None:
    assert TinySource("2.5").label == "tiny random LTX-2.5 (untrained: it can't generate anything)"


@pytest.mark.parametrize(
    ("name", "version"), [("tiny", "2.3"), ("tiny:2.0", "2.0"), ("tiny:2.3", "2.3"), ("tiny:2.5", "2.5")]
)
def test_names(name: str, version: str) -> None:
    assert tiny_source(name).version == version


@pytest.mark.parametrize("name", ["tiny:2.4", "tiny:3", "tiny:two"])
def test_an_unknown_version_names_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"version {name[5:]}") as caught:
        tiny_source(name)
    assert caught.value.hint == "Use tiny:2.0, tiny:2.3, tiny:2.5."
