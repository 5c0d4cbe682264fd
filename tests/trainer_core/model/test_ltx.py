"""The wrapper round the model library: upstream's gate rule, absent modalities, checkpointing; 2.0, 2.3 and 2.5.

Everything is compared in float32 with the library's own model, called raw with the same weights.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer_core.model.ltx import LtxModel, ModalityInput, branch_of
from trainer_core.model.source import Version
from trainer_core.model.tiny import TinySource
from trainer_core.objective import VaeFactors

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")
GRID, AUDIO_FRAMES, TEXT_TOKENS = (2, 2, 3), 7, 16
SCALE = 1000.0
GATES = {"video": "av_cross_attn_video_a2v_gate", "audio": "av_cross_attn_audio_v2a_gate"}
SHIFTS = {"video": "av_cross_attn_video_scale_shift", "audio": "av_cross_attn_audio_scale_shift"}

pytestmark = pytest.mark.parametrize("version", VERSIONS)


def _raw(version: Version) -> Any:
    """The library's transformer, untouched; the same weights on every call."""
    return TinySource(version).transformer(torch.float32)


def _text_widths(version: Version) -> tuple[int, int]:
    return (32, 32) if version == "2.0" else (64, 32)


def _inputs(
    version: Version, sigmas: Tensor, audio_sigmas: Tensor, *, kept: bool
) -> tuple[ModalityInput, ModalityInput]:
    """Random tokens of two samples; with `kept`, the first tokens of each modality are clean (timestep 0)."""
    generator = torch.Generator().manual_seed(7)
    raw = _raw(version)
    frames, height, width = GRID
    tokens = frames * height * width

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    timesteps, audio_timesteps = (sigmas[:, None].repeat(1, tokens), audio_sigmas[:, None].repeat(1, AUDIO_FRAMES))
    if kept:
        timesteps[:, : height * width] = 0
        audio_timesteps[0, :3] = 0
    video_width, audio_width = _text_widths(version)
    video = ModalityInput(
        random(2, tokens, 128),
        timesteps,
        sigmas,
        raw.rope.prepare_video_coords(2, frames, height, width, torch.device("cpu"), fps=24.0),
        random(2, TEXT_TOKENS, video_width),
    )
    audio = ModalityInput(
        random(2, AUDIO_FRAMES, 128),
        audio_timesteps,
        audio_sigmas,
        raw.audio_rope.prepare_audio_coords(2, AUDIO_FRAMES, torch.device("cpu")),
        random(2, TEXT_TOKENS, audio_width),
    )
    return video, audio


def _apart(version: Version) -> tuple[ModalityInput, ModalityInput]:
    """Every sigma different, some tokens kept: what training really draws."""
    return _inputs(version, torch.tensor([0.9, 0.3]), torch.tensor([0.2, 0.6]), kept=True)


def _stock(transformer: Any, video: ModalityInput, audio: ModalityInput, **options: Any) -> tuple[Tensor, Tensor]:
    return transformer(
        hidden_states=video.tokens,
        audio_hidden_states=audio.tokens,
        encoder_hidden_states=video.context,
        audio_encoder_hidden_states=audio.context,
        timestep=video.timesteps * SCALE,
        audio_timestep=audio.timesteps * SCALE,
        sigma=video.sigma * SCALE,
        audio_sigma=audio.sigma * SCALE,
        encoder_attention_mask=video.context_mask,
        audio_encoder_attention_mask=audio.context_mask,
        video_coords=video.positions,
        audio_coords=audio.positions,
        return_dict=False,
        **options,
    )


def _zero_token(version: Version, modality: str) -> ModalityInput:
    video_width, audio_width = _text_widths(version)
    video = modality == "video"
    return ModalityInput(
        torch.zeros(2, 1, 128),
        torch.zeros(2, 1),
        torch.zeros(2),
        torch.zeros(2, 3 if video else 1, 1, 2),
        torch.zeros(2, 1, video_width if video else audio_width),
    )


def _observe(transformer: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Record (timestep received, embedding returned) of the four cross-attention modulation modules."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name in (*GATES.values(), *SHIFTS.values()):

        def record(_module: nn.Module, args: tuple[Any, ...], output: Any, name: str = name) -> None:
            seen[name] = (args[0].detach().clone(), output[0].detach().clone())

        getattr(transformer, name).register_forward_hook(record)
    return seen


@pytest.mark.parametrize("cross_multiplier", [1000, 250])
def test_gates_see_the_other_modalitys_sigma_and_scale_shift_the_own_tokens(
    version: Version, cross_multiplier: int
) -> None:
    raw = _raw(version)
    raw.register_to_config(cross_attn_timestep_scale_multiplier=cross_multiplier)
    fresh = _raw(version)
    seen = _observe(raw)
    video, audio = _apart(version)
    with torch.no_grad():
        LtxModel(raw)(video, audio)
        received = {
            GATES["video"]: audio.sigma * cross_multiplier,
            GATES["audio"]: video.sigma * cross_multiplier,
            SHIFTS["video"]: (video.timesteps * SCALE).flatten(),
            SHIFTS["audio"]: (audio.timesteps * SCALE).flatten(),
        }
        for name, timestep in received.items():
            torch.testing.assert_close(seen[name][0], timestep)
            expected, _ = getattr(fresh, name)(timestep, batch_size=2, hidden_dtype=torch.float32)
            torch.testing.assert_close(seen[name][1].flatten(), expected.flatten())


def test_the_gate_rule_is_upstreams_over_the_whole_model(version: Version) -> None:
    """The outputs of the library's model whose gate embeddings are swapped for upstream's by hand."""
    video, audio = _apart(version)
    raw, fresh = _raw(version), _raw(version)
    for modality, other in (("video", audio), ("audio", video)):
        module = getattr(fresh, GATES[modality])

        def swap(
            _module: nn.Module, _args: Any, _output: Any, module: Any = module, other: ModalityInput = other
        ) -> Any:
            return module(other.sigma * SCALE, batch_size=2, hidden_dtype=torch.float32)

        getattr(raw, GATES[modality]).register_forward_hook(swap)
    with torch.no_grad():
        expected = _stock(raw, video, audio, use_cross_timestep=False)
        ours = LtxModel(_raw(version))(video, audio)
        for found, wanted in zip(ours, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        for use_cross_timestep in (False, True):
            plain = _stock(_raw(version), video, audio, use_cross_timestep=use_cross_timestep)
            assert max(float((a - b).abs().max()) for a, b in zip(ours, plain, strict=True)) > 1e-4


def test_with_one_sigma_and_nothing_kept_it_is_the_stock_model(version: Version) -> None:
    sigma = torch.tensor([0.8, 0.35])
    video, audio = _inputs(version, sigma, sigma.clone(), kept=False)
    with torch.no_grad():
        ours = LtxModel(_raw(version))(video, audio)
        for use_cross_timestep in (False, True):
            stock = _stock(_raw(version), video, audio, use_cross_timestep=use_cross_timestep)
            for found, wanted in zip(ours, stock, strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_samples_do_not_touch_each_other(version: Version) -> None:
    """A batch of two is two batches of one: sigma, timesteps and gates are those of the sample."""
    video, audio = _apart(version)
    model = LtxModel(_raw(version))

    def row(given: ModalityInput, index: int) -> ModalityInput:
        part = slice(index, index + 1)
        return ModalityInput(
            given.tokens[part], given.timesteps[part], given.sigma[part], given.positions[part], given.context[part]
        )

    with torch.no_grad():
        together = model(video, audio)
        for index in (0, 1):
            for both, alone in zip(together, model(row(video, index), row(audio, index)), strict=True):
                torch.testing.assert_close(both[index : index + 1], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("absent", ["video", "audio"])
def test_an_absent_modality_gives_the_single_modality_call_and_its_gradients(version: Version, absent: str) -> None:
    video, audio = _apart(version)
    zero = _zero_token(version, absent)
    raw, ours = _raw(version), _raw(version)
    present = 1 if absent == "video" else 0
    stock_pair = (zero, audio) if absent == "video" else (video, zero)
    our_pair = (None, audio) if absent == "video" else (video, None)
    for transformer in (raw, ours):
        transformer.requires_grad_(True)
    expected = _stock(raw, *stock_pair, isolate_modalities=True)[present]
    found = LtxModel(ours)(*our_pair)
    assert found[1 - present] is None
    torch.testing.assert_close(found[present], expected, rtol=1e-5, atol=1e-6)
    expected.square().mean().backward()
    found[present].square().mean().backward()
    gradients = dict(raw.named_parameters())
    moved = 0
    for name, parameter in ours.named_parameters():
        wanted = gradients[name].grad
        if parameter.grad is None:
            assert wanted is None or not wanted.any(), name
            continue
        assert wanted is not None
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-8)
        moved += bool(parameter.grad.any())
    assert moved > 20
    for name, parameter in ours.named_parameters():
        if parameter.grad is not None and parameter.grad.any():
            assert branch_of(name) != absent, f"{name} has a gradient though its modality is absent"


@pytest.mark.parametrize("absent", ["video", "audio"])
def test_the_layers_of_an_absent_modality_do_not_run(version: Version, absent: str) -> None:
    raw = _raw(version)
    ran: dict[str, int] = {}
    for name, module in raw.transformer_blocks.named_modules():
        if isinstance(module, nn.Linear):

            def count(_module: nn.Module, _args: Any, _output: Any, name: str = name) -> None:
                ran[name] = ran.get(name, 0) + 1

            module.register_forward_hook(count)
    video, audio = _apart(version)
    model = LtxModel(raw)
    with torch.no_grad():
        model(None, audio) if absent == "video" else model(video, None)
    assert ran
    assert {branch_of(name) for name in ran} == {"audio" if absent == "video" else "video"}
    linears = {name for name, module in raw.transformer_blocks.named_modules() if isinstance(module, nn.Linear)}
    assert set(ran) == {name for name in linears if branch_of(name) not in (absent, "cross")}
    ran.clear()
    with torch.no_grad():
        model(video, audio)
    assert set(ran) == linears, "with both modalities present every layer runs again"


def test_a_modality_that_comes_back_is_as_before(version: Version) -> None:
    video, audio = _apart(version)
    model = LtxModel(_raw(version))
    processors = {name: type(processor) for name, processor in model.transformer.attn_processors.items()}
    with torch.no_grad():
        first = model(video, audio)
        alone_video, alone_audio = model(video, None)[0], model(None, audio)[1]
        again = model(video, audio)
        assert torch.equal(model(video, None)[0], alone_video)
        assert torch.equal(model(None, audio)[1], alone_audio)
        last = model(video, audio)
    for index in (0, 1):
        assert torch.equal(first[index], again[index])
        assert torch.equal(first[index], last[index])
    assert {name: type(one) for name, one in model.transformer.attn_processors.items()} == processors
    assert not any("forward" in vars(module) for module in model.transformer.transformer_blocks.modules())


def test_isolated_modalities_do_not_hear_each_other(version: Version) -> None:
    video, audio = _apart(version)
    model = LtxModel(_raw(version))
    with torch.no_grad():
        isolated = model(video, audio, isolate_modalities=True)
        together = model(video, audio)
        torch.testing.assert_close(isolated[0], model(video, None)[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(isolated[1], model(None, audio)[1], rtol=1e-5, atol=1e-6)
    assert float((isolated[0] - together[0]).abs().max()) > 1e-4


@pytest.mark.parametrize("present", ["both", "video", "audio"])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(version: Version, present: str) -> None:
    video, audio = _apart(version)
    pair = (video if present != "audio" else None, audio if present != "video" else None)
    results = []
    for checkpointing in (False, True):
        transformer = _raw(version).requires_grad_(True).train()
        if checkpointing:
            transformer.enable_gradient_checkpointing()
        outputs = [output for output in LtxModel(transformer)(*pair) if output is not None]
        loss = torch.stack([output.square().mean() for output in outputs]).sum()
        loss.backward()
        results.append(
            (
                loss.detach(),
                {name: p.grad for name, p in transformer.named_parameters() if p.grad is not None and p.grad.any()},
            )
        )
    (plain_loss, plain), (saved_loss, saved) = results
    torch.testing.assert_close(saved_loss, plain_loss, rtol=1e-6, atol=0)
    assert plain.keys() == saved.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(saved[name], gradient, rtol=1e-5, atol=1e-9)


def test_stg_blocks_skip_self_attention(version: Version) -> None:
    if version == "2.0":
        pytest.skip("the library perturbs only since 2.3")
    video, audio = _apart(version)
    model = LtxModel(_raw(version))
    with torch.no_grad():
        plain = model(video, audio)
        first = model(video, audio, stg_blocks=[0])
        both = model(video, audio, stg_blocks=[0, 1])
    assert float((first[0] - plain[0]).abs().max()) > 1e-4
    assert float((both[0] - first[0]).abs().max()) > 1e-4


def test_text_masks_reach_their_own_modality(version: Version) -> None:
    video, audio = _apart(version)
    mask = torch.ones(2, TEXT_TOKENS, dtype=torch.int64)
    mask[:, : TEXT_TOKENS // 2] = 0
    video_masked = ModalityInput(
        video.tokens, video.timesteps, video.sigma, video.positions, video.context, context_mask=mask
    )
    cut = ModalityInput(
        video.tokens, video.timesteps, video.sigma, video.positions, video.context[:, TEXT_TOKENS // 2 :]
    )
    model = LtxModel(_raw(version))
    with torch.no_grad():
        masked, shorter, whole = model(video_masked, audio), model(cut, audio), model(video, audio)
    torch.testing.assert_close(masked[0], shorter[0], rtol=1e-4, atol=1e-5)
    assert float((masked[0] - whole[0]).abs().max()) > 1e-4


def test_positions_are_seconds_and_pixels_of_each_cell(version: Version) -> None:
    model = LtxModel(_raw(version))
    assert model.factors == VaeFactors(time=8, height=32, width=32)
    rates = torch.tensor([24.0, 12.5])
    positions = model.video_positions(GRID, rates)
    frames, height, width = GRID
    for sample, rate in enumerate(rates.tolist()):
        token = 0
        for frame in range(frames):
            # the first latent frame holds one picture, each later one eight
            pictures = (0, 1) if frame == 0 else (8 * frame - 7, 8 * frame + 1)
            for row in range(height):
                for column in range(width):
                    expected = [
                        [pictures[0] / rate, pictures[1] / rate],
                        [32 * row, 32 * row + 32],
                        [32 * column, 32 * column + 32],
                    ]
                    torch.testing.assert_close(positions[sample, :, token], torch.tensor(expected))
                    token += 1
        assert token == positions.shape[2]
    audio = model.audio_positions(2, 4, torch.device("cpu"))
    # 100 mel frames per second, four a latent frame, the first latent frame holds one
    expected_audio = torch.tensor([[0.0, 0.01], [0.01, 0.05], [0.05, 0.09], [0.09, 0.13]])
    torch.testing.assert_close(audio, expected_audio.expand(2, 1, 4, 2))


def test_every_parameter_belongs_to_the_branch_its_gradient_says(version: Version) -> None:
    """A parameter that video alone moves is `video`, one that audio alone moves is `audio`, the others are `cross`."""
    video, audio = _apart(version)
    moved = {}
    for name, pair in {"video": (video, None), "audio": (None, audio), "both": (video, audio)}.items():
        transformer = _raw(version).requires_grad_(True)
        outputs = [output for output in LtxModel(transformer)(*pair) if output is not None]
        torch.stack([output.square().mean() for output in outputs]).sum().backward()
        moved[name] = {key for key, p in transformer.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved["video"] == {key for key in moved["both"] if branch_of(key) == "video"}
    assert moved["audio"] == {key for key in moved["both"] if branch_of(key) == "audio"}
    assert {branch_of(key) for key in moved["both"] - moved["video"] - moved["audio"]} == {"cross"}
