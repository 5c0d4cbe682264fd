"""Captions to features to context, against the library's own pipeline on the same tiny parts."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from full_card import FullCard
from torch._subclasses.fake_tensor import FakeTensorMode

from trainer_core.memory.encoding import prompt_bytes
from trainer_core.memory.live import LiveBytes
from trainer_core.model.source import Version
from trainer_core.model.text import (
    TextFeatures,
    connect,
    count_tokens,
    encode_prompts,
    load_prompt_encoder,
    project,
)
from trainer_core.model.tiny import TEXT_TOKENS, TinySource

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")
PROMPTS = ["A fox runs.", '  Ein Fuchs rennt über den Schnee; 狐が走る. 🦊 He says, "go".\n']

pytestmark = pytest.mark.parametrize("version", VERSIONS)


@cache
def _parts(version: Version) -> tuple[Any, Any, Any]:
    source = TinySource(version)
    tokenizer, encoder = source.text_encoder(torch.float32)
    return tokenizer, encoder, source.connectors(torch.float32)


@cache
def _pipeline(version: Version) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Pipeline

    source = TinySource(version)
    tokenizer, encoder, connectors = _parts(version)
    return LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=source.video_vae(torch.float32),
        audio_vae=source.audio_vae(torch.float32),
        text_encoder=encoder,
        tokenizer=tokenizer,
        connectors=connectors,
        transformer=source.transformer(torch.float32),
        vocoder=source.vocoder(torch.float32),
    )


def test_features_then_context_are_the_pipelines_embeddings(version: Version) -> None:
    tokenizer, encoder, connectors = _parts(version)
    with torch.no_grad():
        hidden, mask, _, _ = _pipeline(version).encode_prompt(
            PROMPTS, do_classifier_free_guidance=False, max_sequence_length=TEXT_TOKENS
        )
        video, audio, valid = connectors(hidden, mask)
        features = encode_prompts(tokenizer, encoder, connectors, PROMPTS)
        context = connect(connectors, features)
    assert torch.equal(features.mask, mask)
    torch.testing.assert_close(context.video, video, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(context.audio, audio, rtol=1e-4, atol=1e-5)
    assert context.mask is None, "registers replace the padding: every token counts"
    assert bool(valid.all())


def test_features_are_left_padded_with_one_bit_a_token(version: Version) -> None:
    tokenizer, encoder, connectors = _parts(version)
    features = encode_prompts(tokenizer, encoder, connectors, PROMPTS)
    assert features.video.shape[:2] == features.audio.shape[:2] == features.mask.shape == (2, TEXT_TOKENS)
    for prompt, mask in zip(PROMPTS, features.mask, strict=True):
        count = count_tokens(tokenizer, prompt)
        assert mask.tolist() == [0] * (TEXT_TOKENS - count) + [1] * count
    assert count_tokens(tokenizer, PROMPTS[0]) == len(PROMPTS[0].encode()) + 1, "one token a byte and the start"
    if version == "2.0":
        assert torch.equal(features.video, features.audio), "2.0 has one projection"
    else:
        assert features.video.shape != features.audio.shape
    assert not features.video.requires_grad


def test_a_prompt_has_the_same_features_beside_any_other(version: Version) -> None:
    tokenizer, encoder, connectors = _parts(version)
    together = encode_prompts(tokenizer, encoder, connectors, PROMPTS)
    alone = encode_prompts(tokenizer, encoder, connectors, PROMPTS[:1])
    valid = alone.mask[0].bool()
    torch.testing.assert_close(together.video[0][valid], alone.video[0][valid], rtol=1e-4, atol=1e-5)


def test_different_words_give_different_context(version: Version) -> None:
    tokenizer, encoder, connectors = _parts(version)
    features = encode_prompts(tokenizer, encoder, connectors, ["a fox", "a cat", ""])
    with torch.no_grad():
        context: Any = connect(connectors, features)
    for first, second in ((0, 1), (0, 2)):
        assert float((context.video[first] - context.video[second]).abs().max()) > 1e-3
    assert bool(torch.isfinite(context.video).all())
    assert bool(torch.isfinite(context.audio).all())


def test_a_longer_prompt_is_cut_and_count_tokens_says_so(version: Version) -> None:
    tokenizer, encoder, connectors = _parts(version)
    long = "x" * (TEXT_TOKENS + 100)
    assert count_tokens(tokenizer, long) == TEXT_TOKENS + 101
    features = encode_prompts(tokenizer, encoder, connectors, [long])
    assert features.mask.shape == (1, TEXT_TOKENS)
    assert bool(features.mask.all())


def test_what_stands_in_the_padding_changes_nothing(version: Version) -> None:
    tokenizer, encoder, connectors = _parts(version)
    features = encode_prompts(tokenizer, encoder, connectors, ["a fox"])
    padding = ~features.mask.bool()[..., None]
    spoiled = TextFeatures(
        torch.where(padding, 9.0, features.video), torch.where(padding, -9.0, features.audio), features.mask
    )
    with torch.no_grad():
        clean, dirty = connect(connectors, features), connect(connectors, spoiled)
    torch.testing.assert_close(dirty.video, clean.video)
    torch.testing.assert_close(dirty.audio, clean.audio)


def test_each_modality_is_scaled_by_its_own_width_and_padding_is_blank(version: Version) -> None:
    """Connectors for an encoder half as wide: none of the widths that scale the features are equal."""
    _, _, connectors = _parts(version)
    settings = {key: value for key, value in connectors.config.items() if not key.startswith("_")}
    if version == "2.0":
        pytest.skip("2.0 scales by nothing and projects once")
    narrow = type(connectors)(**{**settings, "caption_channels": 16}).eval()
    hidden = torch.randn(2, 128, 16, settings["text_proj_in_factor"], generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(128) >= 100).long().expand(2, -1)
    with torch.no_grad():
        video, audio, _ = narrow(hidden.flatten(2), mask)
        features = TextFeatures(*project(narrow, hidden, mask), mask)
        context = connect(narrow, features)
    torch.testing.assert_close(context.video, video, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(context.audio, audio, rtol=1e-4, atol=1e-5)
    for name, made in (("video", features.video), ("audio", features.audio)):
        bias = getattr(narrow, f"{name}_text_proj_in").bias.detach()
        torch.testing.assert_close(made[0, :100], bias.expand(100, -1))


def test_a_card_without_room_leaves_the_text_encoder_to_the_cpu(version: Version) -> None:
    """The allocator of a card that can't hold it is torch's own refusal; what was asked of the CPU is what is used."""
    told: list[str] = []
    card, source = torch.device("cuda"), FullCard(version)
    tokenizer, encoder, connectors = load_prompt_encoder(source, torch.float32, card, tell=told.append)
    assert source.asked == [("cuda", False), ("cpu", False)]
    assert "load_text_encoder_in_8bit: true" in told[0]
    found, wanted = encode_prompts(tokenizer, encoder, connectors, PROMPTS), encode_prompts(*_parts(version), PROMPTS)
    assert torch.equal(found.video, wanted.video)
    load_prompt_encoder(source, torch.float32, card, in_8bit=True, tell=told.append)
    assert source.asked[2:] == [("cuda", True), ("cpu", True)]
    assert "load_text_encoder_in_8bit" not in told[1], "it is on already"


def test_what_a_prompt_takes_on_its_way_is_what_the_estimate_says(version: Version) -> None:
    """At the released size, on tensors without memory: 49 layers of 3,840 channels, 1,024 tokens."""
    layers, tokens, channels = 49, 1024, 3840

    def linear(width: int) -> torch.nn.Linear:
        return torch.nn.Linear(layers * channels, width, dtype=torch.bfloat16)

    with FakeTensorMode():
        connectors = SimpleNamespace(
            config=SimpleNamespace(
                per_modality_projections=version != "2.0",
                video_hidden_dim=4096,
                audio_hidden_dim=2048,
                caption_channels=channels,
            ),
            text_proj_in=linear(channels),
            video_text_proj_in=linear(4096),
            audio_text_proj_in=linear(2048),
        )
        states = [torch.empty(1, tokens, channels, dtype=torch.bfloat16) for _ in range(layers)]
        mask = torch.ones(1, tokens, dtype=torch.long)
        counted = LiveBytes()
        counted.hold(*states)
        with torch.no_grad(), counted:
            project(connectors, torch.stack(states, dim=-1), mask)
    assert 0.7 < counted.peak / prompt_bytes(layers, tokens, channels) < 1.02
