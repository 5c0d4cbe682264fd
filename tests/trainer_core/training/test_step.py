"""The training step's losses against a computation by hand: the raw model, tokens and positions built here."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer_core.data.batch import Batch, ModalityBatch, Reference, from_tokens, to_tokens
from trainer_core.errors import DataError
from trainer_core.model.ltx import LtxModel
from trainer_core.model.source import Version
from trainer_core.model.text import TextFeatures, connect
from trainer_core.model.tiny import TinySource
from trainer_core.objective import Objective, load_recipe, objective_of
from trainer_core.sections.strategy import FlexibleStrategy
from trainer_core.training.noise import sigma_sampler
from trainer_core.training.step import Draws, StepLoss, draw, masked_mse, training_step

GRID, AUDIO_FRAMES, TEXT_TOKENS = (3, 2, 3), 10, 128
RATES = [24.0, 15.0]
VIDEO_SIGMA, AUDIO_SIGMA = torch.tensor([0.9, 0.35]), torch.tensor([0.15, 0.7])
TOLERANCE: dict[str, Any] = {"rtol": 2e-5, "atol": 1e-6}


@cache
def _raw(version: Version, copy: int = 0) -> Any:
    """The library's transformer, untouched; each `copy` is an object of its own with the same weights."""
    return TinySource(version).transformer(torch.float32)


@cache
def _model(version: Version) -> LtxModel:
    return LtxModel(TinySource(version).transformer(torch.float32))


@cache
def _connectors(version: Version) -> Any:
    return TinySource(version).connectors(torch.float32)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _batch(version: Version = "2.3", *, video: bool = True, audio: bool = True, **inputs: Tensor) -> Batch:
    widths = (32, 32) if version == "2.0" else (64, 32)
    text_mask = torch.ones(2, TEXT_TOKENS, dtype=torch.int64)
    text_mask[0, :100] = 0
    text_mask[1, :60] = 0

    def side(modality: str) -> dict[str, Tensor]:
        folder = {"video": "reference_latents", "audio": "reference_audio_latents"}[modality]
        found: dict[str, Any] = {"mask": inputs.get(f"{modality}_mask")}
        if (reference := inputs.get(f"{modality}_reference")) is not None:
            found["references"] = {folder: Reference(reference)}
        return found

    return Batch(
        video=ModalityBatch(_random(2, 128, *GRID, seed=1), torch.tensor(RATES), **side("video")) if video else None,
        audio=ModalityBatch(_random(2, 8, AUDIO_FRAMES, 16, seed=2), **side("audio")) if audio else None,
        video_features=_random(2, TEXT_TOKENS, widths[0], seed=3),
        audio_features=_random(2, TEXT_TOKENS, widths[1], seed=4),
        text_mask=text_mask,
        clips=("fox.mp4.pt", "crow.mp4.pt"),
        indices=(0, 1),
    )


def _objective(name: str, **kwargs: Any) -> Objective:
    return objective_of(FlexibleStrategy.model_validate(load_recipe(name, **kwargs)["training_strategy"]))


def _draws(objective: Objective, *, applied: bool = True) -> Draws:
    draws = Draws()
    if objective.video.generated:
        draws.sigma["video"], draws.noise["video"] = VIDEO_SIGMA, _random(2, 18, 128, seed=5)
    if objective.audio.generated:
        draws.sigma["audio"], draws.noise["audio"] = AUDIO_SIGMA, _random(2, AUDIO_FRAMES, 128, seed=6)
    for name in ("video", "audio"):
        for place, _ in enumerate(objective.modality(name).conditions):
            draws.applied[name, place] = torch.tensor([applied, applied])
    return draws


def _loss(batch: Batch, objective: Objective, draws: Draws | None = None, version: Version = "2.3") -> StepLoss:
    with torch.no_grad():
        return training_step(_model(version), _connectors(version), batch, objective, draws=draws or _draws(objective))


# ---- the computation by hand: nothing below uses the step, the conditions or the wrapper


@dataclass
class _Side:
    """One modality by hand; `trained` [B, T] says which target tokens count."""

    tokens: Tensor
    timesteps: Tensor
    sigma: Tensor
    positions: Tensor
    target: Tensor | None = None
    trained: Tensor | None = None


def _video_tokens(latents: Tensor) -> Tensor:
    _, _, frames, height, width = latents.shape
    cells = [(f, row, column) for f in range(frames) for row in range(height) for column in range(width)]
    return torch.stack([latents[:, :, f, row, column] for f, row, column in cells], dim=1)


def _audio_tokens(latents: Tensor) -> Tensor:
    """Each of the T tokens holds all 16 mel bins of channel 0, then those of channel 1, …"""
    return torch.stack([latents[:, :, t].reshape(len(latents), -1) for t in range(latents.shape[2])], dim=1)


def _video_positions(grid: tuple[int, int, int], *, temporal: int = 1) -> Tensor:
    samples = []
    for rate in RATES:
        cells = []
        for frame in range(grid[0]):
            # of a downscaled reference, picture n > 0 stands for the target's pictures 1 + S·(n-1) … S·n
            start, end = (0, 1) if frame == 0 else (8 * temporal * (frame - 1) + 1, 8 * temporal * frame + 1)
            for row in range(grid[1]):
                for column in range(grid[2]):
                    cells.append(
                        [[start / rate, end / rate], [32 * row, 32 * row + 32], [32 * column, 32 * column + 32]]
                    )
        samples.append(torch.tensor(cells).transpose(0, 1))
    return torch.stack(samples)


def _audio_positions(length: int) -> Tensor:
    cells = [[0.0, 0.01] if t == 0 else [0.04 * t - 0.03, 0.04 * t + 0.01] for t in range(length)]
    return torch.tensor(cells).expand(2, 1, length, 2)


def _noisy(clean: Tensor, positions: Tensor, sigma: Tensor, noise: Tensor, kept: Tensor | None = None) -> _Side:
    kept = torch.zeros(clean.shape[:2], dtype=torch.bool) if kept is None else kept
    mixed = (1 - sigma)[:, None, None] * clean + sigma[:, None, None] * noise
    tokens = torch.where(kept[..., None], clean, mixed)
    timesteps = torch.where(kept, torch.zeros(()), sigma[:, None].expand(clean.shape[:2]))
    return _Side(tokens, timesteps, sigma, positions, noise - clean, ~kept)


def _frozen(clean: Tensor, positions: Tensor) -> _Side:
    return _Side(clean, torch.zeros(clean.shape[:2]), torch.zeros(len(clean)), positions)


def _with_reference(side: _Side, reference: Tensor, positions: Tensor) -> _Side:
    return replace(
        side,
        tokens=torch.cat([reference, side.tokens], 1),
        timesteps=torch.cat([torch.zeros(reference.shape[:2]), side.timesteps], 1),
        positions=torch.cat([positions, side.positions], 2),
    )


def _by_hand(
    batch: Batch, video: _Side | None, audio: _Side | None, version: Version = "2.3"
) -> tuple[Tensor | None, Tensor | None]:
    """Per-sample losses from the raw model: gates swapped for the other modality's sigma, absent = one zero token."""
    raw = _raw(version)
    context = connect(_connectors(version), TextFeatures(batch.video_features, batch.audio_features, batch.text_mask))
    absent = video is None or audio is None
    nothing = {"tokens": torch.zeros(2, 1, 128), "timesteps": torch.zeros(2, 1), "sigma": torch.zeros(2)}
    seen = video or _Side(**nothing, positions=torch.zeros(2, 3, 1, 2))
    heard = audio or _Side(**nothing, positions=torch.zeros(2, 1, 1, 2))
    handles = []
    for name, other in (("av_cross_attn_video_a2v_gate", heard), ("av_cross_attn_audio_v2a_gate", seen)):
        gate = getattr(_raw(version, copy=1), name)

        def swap(_module: nn.Module, _args: Any, _output: Any, gate: Any = gate, other: _Side = other) -> Any:
            return gate(other.sigma * 1000, batch_size=2, hidden_dtype=torch.float32)

        handles.append(getattr(raw, name).register_forward_hook(swap))
    try:
        with torch.no_grad():
            predictions = raw(
                hidden_states=seen.tokens,
                audio_hidden_states=heard.tokens,
                encoder_hidden_states=context.video,
                audio_encoder_hidden_states=context.audio,
                timestep=seen.timesteps * 1000,
                audio_timestep=heard.timesteps * 1000,
                sigma=seen.sigma * 1000,
                audio_sigma=heard.sigma * 1000,
                video_coords=seen.positions,
                audio_coords=heard.positions,
                isolate_modalities=absent,
                return_dict=False,
            )
    finally:
        for handle in handles:
            handle.remove()
    losses: list[Tensor | None] = []
    for prediction, side in zip(predictions, (video, audio), strict=True):
        if side is None or side.target is None or side.trained is None:
            losses.append(None)
            continue
        count = side.target.shape[1]
        own = prediction[:, prediction.shape[1] - count :]
        # the mean over the trained tokens and channels of each sample
        rows = [
            (own[index][kept] - side.target[index][kept]).square().mean()
            for index, kept in enumerate(side.trained.bool())
        ]
        losses.append(torch.stack(rows))
    return losses[0], losses[1]


def _clean_video(batch: Batch) -> Tensor:
    assert batch.video is not None
    return _video_tokens(batch.video.latents)


def _clean_audio(batch: Batch) -> Tensor:
    assert batch.audio is not None
    return _audio_tokens(batch.audio.latents)


def _assert_equal(found: Tensor | None, expected: Tensor | None) -> None:
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.shape == (2,)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_tokens_are_laid_out_as_by_hand_and_come_back() -> None:
    batch = _batch()
    assert batch.video is not None
    assert batch.audio is not None
    assert torch.equal(to_tokens(batch.video.latents), _clean_video(batch))
    assert torch.equal(to_tokens(batch.audio.latents), _clean_audio(batch))
    assert torch.equal(from_tokens(_clean_video(batch), GRID, 128), batch.video.latents)
    assert torch.equal(from_tokens(_clean_audio(batch), (AUDIO_FRAMES,), 8), batch.audio.latents)


@pytest.mark.parametrize("version", ["2.0", "2.3", "2.5"])
def test_t2v_is_the_hand_computation(version: Version) -> None:
    objective, batch = _objective("t2v"), _batch(version)
    draws = _draws(objective)
    video = _noisy(_clean_video(batch), _video_positions(GRID), VIDEO_SIGMA, draws.noise["video"])
    audio = _noisy(_clean_audio(batch), _audio_positions(AUDIO_FRAMES), AUDIO_SIGMA, draws.noise["audio"])
    expected_video, expected_audio = _by_hand(batch, video, audio, version)
    loss = _loss(batch, objective, draws, version)
    _assert_equal(loss.video, expected_video)
    _assert_equal(loss.audio, expected_audio)
    assert expected_video is not None
    assert expected_audio is not None
    torch.testing.assert_close(loss.total, (expected_video + expected_audio).mean(), **TOLERANCE)
    assert torch.equal(loss.sigma_video, VIDEO_SIGMA)  # type: ignore[arg-type]
    assert torch.equal(loss.sigma_audio, AUDIO_SIGMA)  # type: ignore[arg-type]


def test_i2v_is_the_hand_computation_for_the_sample_with_and_the_one_without_its_first_frame() -> None:
    objective, batch = _objective("i2v"), _batch()
    draws = _draws(objective)
    draws.applied["video", 0] = torch.tensor([False, True])
    kept = torch.zeros(2, 18, dtype=torch.bool)
    kept[1, :6] = True
    video = _noisy(_clean_video(batch), _video_positions(GRID), VIDEO_SIGMA, draws.noise["video"], kept)
    audio = _noisy(_clean_audio(batch), _audio_positions(AUDIO_FRAMES), AUDIO_SIGMA, draws.noise["audio"])
    loss = _loss(batch, objective, draws)
    for found, expected in zip((loss.video, loss.audio), _by_hand(batch, video, audio), strict=True):
        _assert_equal(found, expected)


def test_inpainting_is_the_hand_computation() -> None:
    mask = (_random(2, *GRID, seed=8) > 0.3).float()
    objective, batch = _objective("video_inpainting"), _batch(audio=False, video_mask=mask)
    draws = _draws(objective)
    kept = mask.reshape(2, -1).bool()
    assert kept.float().mean(dim=1).tolist() != [0.5, 0.5]
    video = _noisy(_clean_video(batch), _video_positions(GRID), VIDEO_SIGMA, draws.noise["video"], kept)
    loss = _loss(batch, objective, draws)
    _assert_equal(loss.video, _by_hand(batch, video, None)[0])
    assert loss.audio is None
    assert loss.sigma_audio is None


def test_audio_extension_backwards_is_the_hand_computation() -> None:
    objective, batch = _objective("audio_extension", direction="suffix"), _batch(video=False)
    draws = _draws(objective)
    kept = torch.zeros(2, AUDIO_FRAMES, dtype=torch.bool)
    kept[:, -8:] = True
    audio = _noisy(_clean_audio(batch), _audio_positions(AUDIO_FRAMES), AUDIO_SIGMA, draws.noise["audio"], kept)
    loss = _loss(batch, objective, draws)
    _assert_equal(loss.audio, _by_hand(batch, None, audio)[1])
    assert loss.video is None
    torch.testing.assert_close(loss.total, loss.audio.mean())  # type: ignore[union-attr]


@pytest.mark.parametrize("version", ["2.0", "2.3", "2.5"])
@pytest.mark.parametrize(("grid", "temporal"), [(GRID, 1), ((2, 2, 3), 2), ((1, 2, 3), 1)])
def test_v2v_ic_is_the_hand_computation(version: Version, grid: tuple[int, int, int], temporal: int) -> None:
    reference = _random(2, 128, *grid, seed=9)
    objective, batch = _objective("v2v_ic"), _batch(version, audio=False, video_reference=reference)
    draws = _draws(objective)
    draws.applied["video", 1] = torch.tensor([False, True])  # the first frame that one in five is given too
    kept = torch.zeros(2, 18, dtype=torch.bool)
    kept[1, :6] = True
    video = _with_reference(
        _noisy(_clean_video(batch), _video_positions(GRID), VIDEO_SIGMA, draws.noise["video"], kept),
        _video_tokens(reference),
        _video_positions(grid, temporal=temporal),
    )
    _assert_equal(_loss(batch, objective, draws, version).video, _by_hand(batch, video, None, version)[0])


def test_av2av_ic_is_the_hand_computation() -> None:
    references: dict[str, Any] = {
        "video_reference": _random(2, 128, *GRID, seed=9),
        "audio_reference": _random(2, 8, 6, 16, seed=10),
    }
    objective, batch = _objective("av2av_ic"), _batch(**references)
    draws = _draws(objective)
    video = _with_reference(
        _noisy(_clean_video(batch), _video_positions(GRID), VIDEO_SIGMA, draws.noise["video"]),
        _video_tokens(references["video_reference"]),
        _video_positions(GRID),
    )
    audio = _with_reference(
        _noisy(_clean_audio(batch), _audio_positions(AUDIO_FRAMES), AUDIO_SIGMA, draws.noise["audio"]),
        _audio_tokens(references["audio_reference"]),
        _audio_positions(6),
    )
    loss = _loss(batch, objective, draws)
    for found, expected in zip((loss.video, loss.audio), _by_hand(batch, video, audio), strict=True):
        _assert_equal(found, expected)
    without = _loss(batch, objective, _draws(objective, applied=False))
    assert float((without.video - loss.video).abs().max()) > 1e-4  # type: ignore[operator]


@pytest.mark.parametrize("name", ["v2a", "a2v"])
def test_a_frozen_modality_is_clean_at_sigma_zero_and_has_no_loss(name: str) -> None:
    objective, batch = _objective(name), _batch()
    draws = _draws(objective)
    clean_video, clean_audio = _clean_video(batch), _clean_audio(batch)
    if name == "v2a":
        video = _frozen(clean_video, _video_positions(GRID))
        audio = _noisy(clean_audio, _audio_positions(AUDIO_FRAMES), AUDIO_SIGMA, draws.noise["audio"])
    else:
        video = _noisy(clean_video, _video_positions(GRID), VIDEO_SIGMA, draws.noise["video"])
        audio = _frozen(clean_audio, _audio_positions(AUDIO_FRAMES))
    received: dict[str, Any] = {}

    def record(_module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        received.update(kwargs)

    handle = _model("2.3").transformer.register_forward_pre_hook(record, with_kwargs=True)
    try:
        loss = _loss(batch, objective, draws)
    finally:
        handle.remove()
    frozen = "" if name == "v2a" else "audio_"
    assert torch.equal(received[f"{frozen}hidden_states"], clean_video if name == "v2a" else clean_audio)
    assert not received[f"{frozen}timestep"].any()
    assert not received[f"{frozen}sigma"].any()
    generated = "audio_" if name == "v2a" else ""
    torch.testing.assert_close(received[f"{generated}sigma"], (AUDIO_SIGMA if name == "v2a" else VIDEO_SIGMA) * 1000)
    expected = _by_hand(batch, video, audio)
    _assert_equal(loss.video, expected[0])
    _assert_equal(loss.audio, expected[1])
    assert (loss.video is None) == (name == "v2a")
    assert (loss.sigma_video is None) == (name == "v2a")
    assert (loss.sigma_audio is None) == (name == "a2v")


def test_a_loss_is_normalised_by_the_masks_mean_of_each_sample() -> None:
    predicted, target = _random(2, 4, 3, seed=1), _random(2, 4, 3, seed=2)
    trained = torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 0, 1]])
    squares = (predicted - target).square()
    expected = torch.stack([squares[0, 0].mean(), squares[1, [0, 1, 3]].mean()])
    torch.testing.assert_close(masked_mse(predicted, target, trained), expected)
    torch.testing.assert_close(masked_mse(predicted, target, torch.ones(2, 4)), squares.mean(dim=(1, 2)))
    low = masked_mse(predicted.bfloat16(), target, trained)
    assert low.dtype == torch.float32, "the loss is taken in float32 whatever the model's precision"


def test_the_total_sums_modalities_and_averages_samples() -> None:
    video, audio = torch.tensor([1.0, 3.0]), torch.tensor([10.0, 20.0])
    assert float(StepLoss(video, audio, None, None).total) == 17.0
    assert float(StepLoss(None, audio, None, None).total) == 15.0
    assert float(StepLoss(video, None, None, None).total) == 2.0


def test_sigma_is_drawn_for_each_modality_and_sample_by_its_own_token_count() -> None:
    objective, batch = _objective("t2v"), _batch()
    asked: list[int] = []

    def sampler(tokens: int, generator: torch.Generator) -> float:
        asked.append(tokens)
        return float(torch.rand((), generator=generator))

    draws = draw(batch, objective, sampler, torch.Generator().manual_seed(0))
    assert asked == [18, 18, AUDIO_FRAMES, AUDIO_FRAMES]
    assert len({*draws.sigma["video"].tolist(), *draws.sigma["audio"].tolist()}) == 4
    assert not torch.equal(draws.noise["video"][0], draws.noise["video"][1])


def test_nothing_is_drawn_for_a_frozen_modality() -> None:
    draws = draw(_batch(), _objective("v2a"), sigma_sampler("uniform", {}), torch.Generator().manual_seed(0))
    assert set(draws.sigma) == set(draws.noise) == {"audio"}


def test_noise_is_standard_normal() -> None:
    noise = draw(_batch(), _objective("t2v"), sigma_sampler("uniform", {}), torch.Generator().manual_seed(1)).noise
    for tokens in noise.values():
        assert abs(float(tokens.mean())) < 4 / tokens.numel() ** 0.5
        assert abs(float(tokens.std()) - 1) < 4 / (2 * tokens.numel()) ** 0.5


def test_the_same_draws_give_the_same_loss_and_a_generator_gives_the_draws() -> None:
    objective, batch = _objective("i2v"), _batch()
    sampler = sigma_sampler("shifted_logit_normal", {})

    def generator(seed: int = 3) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    draws = draw(batch, objective, sampler, generator())
    given = _loss(batch, objective, draws)
    again = _loss(batch, objective, draws)
    with torch.no_grad():
        drawn, other = (
            training_step(
                _model("2.3"), _connectors("2.3"), batch, objective, sampler=sampler, generator=generator(seed)
            )
            for seed in (3, 4)
        )
    for loss in (again, drawn):
        assert torch.equal(loss.video, given.video)  # type: ignore[arg-type]
        assert torch.equal(loss.audio, given.audio)  # type: ignore[arg-type]
        assert torch.equal(loss.sigma_video, given.sigma_video)  # type: ignore[arg-type]
    assert not torch.equal(other.video, given.video)  # type: ignore[arg-type]


def test_with_a_generator_for_each_sample_its_loss_does_not_depend_on_the_batch() -> None:
    objective, batch = _objective("i2v"), _batch()
    sampler = sigma_sampler("shifted_logit_normal", {})
    assert batch.video is not None
    assert batch.audio is not None

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (11, 12)]

    with torch.no_grad():
        together = training_step(
            _model("2.3"), _connectors("2.3"), batch, objective, sampler=sampler, generator=generators()
        )
        for index in (0, 1):
            part = slice(index, index + 1)
            alone = Batch(
                ModalityBatch(batch.video.latents[part], torch.tensor(RATES[part])),
                ModalityBatch(batch.audio.latents[part]),
                batch.video_features[part],
                batch.audio_features[part],
                batch.text_mask[part],
                batch.clips[part],
                batch.indices[part],
            )
            single = training_step(
                _model("2.3"), _connectors("2.3"), alone, objective, sampler=sampler, generator=generators()[part]
            )
            torch.testing.assert_close(single.video, together.video[part], **TOLERANCE)  # type: ignore[index]
            torch.testing.assert_close(single.audio, together.audio[part], **TOLERANCE)  # type: ignore[index]


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_a_mask_that_keeps_everything_is_refused_by_the_clips_name(modality: str) -> None:
    if modality == "video":
        mask = torch.ones(2, *GRID)
        mask[0, 0, 0, 0] = 0
        batch = _batch(audio=False, video_mask=mask)
    else:
        mask = torch.ones(2, AUDIO_FRAMES)
        mask[0, 0] = 0
        batch = _batch(video=False, audio_mask=mask)
    with pytest.raises(DataError, match=r"crow\.mp4\.pt: nothing is left to train on") as caught:
        _loss(batch, _objective(f"{modality}_inpainting"))
    assert caught.value.exit_code == 3
    assert modality in caught.value.message


def test_without_registers_the_text_mask_reaches_both_modalities() -> None:
    settings = {key: value for key, value in _connectors("2.3").config.items() if not key.startswith("_")}
    settings |= {f"{side}_connector_num_learnable_registers": None for side in ("video", "audio")}
    connectors = type(_connectors("2.3"))(**settings)
    objective, batch = _objective("t2v"), _batch()
    received: dict[str, Any] = {}

    def record(_module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        received.update(kwargs)

    handle = _model("2.3").transformer.register_forward_pre_hook(record, with_kwargs=True)
    try:
        with torch.no_grad():
            training_step(_model("2.3"), connectors, batch, objective, draws=_draws(objective))
    finally:
        handle.remove()
    assert torch.equal(received["encoder_attention_mask"], batch.text_mask)
    assert torch.equal(received["audio_encoder_attention_mask"], batch.text_mask)


def test_the_loss_reaches_the_parameters_of_both_modalities() -> None:
    transformer = TinySource("2.3").transformer(torch.float32).requires_grad_(True)
    objective, batch = _objective("t2v"), _batch()
    loss = training_step(LtxModel(transformer), _connectors("2.3"), batch, objective, draws=_draws(objective))
    loss.total.backward()
    for name in ("proj_out", "audio_proj_out", "proj_in", "audio_proj_in"):
        gradient = getattr(transformer, name).weight.grad
        assert gradient is not None
        assert bool(torch.isfinite(gradient).all())
        assert bool(gradient.any())
