"""The six conditions: exactly which tokens are given clean, where a reference stands, and who gets a condition."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer_core.data.batch import Batch, ModalityBatch, Reference
from trainer_core.errors import DataError
from trainer_core.model.ltx import LtxModel
from trainer_core.model.tiny import TinySource
from trainer_core.objective import Objective, objective_of
from trainer_core.sections.strategy import FlexibleStrategy
from trainer_core.training.conditions import CONDITIONS, Conditioned
from trainer_core.training.step import Draws, draw, prepare_modality

GRID = (3, 2, 3)  # latent frames, rows, columns
AUDIO_FRAMES = 6
RATE = 24.0
SIGMA = 0.75


@cache
def _model() -> LtxModel:
    return LtxModel(TinySource("2.3").transformer(torch.float32))


def _side(
    modality: str,
    batch: int = 2,
    grid: tuple[int, ...] | None = None,
    rates: list[float] | None = None,
    mask: Tensor | None = None,
    reference: Tensor | None = None,
    own_rates: list[float] | None = None,
) -> ModalityBatch:
    own = None if own_rates is None else torch.tensor(own_rates)
    inputs: dict[str, Any] = {"mask": mask, "references": {} if reference is None else {"r": Reference(reference, own)}}
    generator = torch.Generator().manual_seed(batch)
    if modality == "video":
        latents = torch.randn(batch, 4, *(grid or GRID), generator=generator)
        return ModalityBatch(latents, torch.tensor(rates or [RATE] * batch), **inputs)
    return ModalityBatch(torch.randn(batch, 2, *(grid or (AUDIO_FRAMES,)), 2, generator=generator), **inputs)


def _condition(modality: str, **fields: Any) -> Any:
    section = {"is_generated": True, "latents_dir": "latents", "conditions": [fields]}
    side = getattr(FlexibleStrategy.model_validate({modality: section}), modality)
    return side.conditions[0]


def _kept(modality: str, side: ModalityBatch, applied: list[bool] | None = None, **fields: Any) -> Tensor:
    """The keep mask [B, *grid] that one condition makes of nothing kept."""
    condition = _condition(modality, **fields)
    state = Conditioned(torch.zeros(len(side.latents), side.tokens, dtype=torch.bool))
    given = torch.tensor(applied if applied is not None else [True] * len(side.latents))
    result = CONDITIONS[condition.type](state, condition, side, given, _model())
    assert not state.keep.any(), "a condition is a pure function"
    return result.keep.view(-1, *side.grid)


def _frames(*kept: int, grid: tuple[int, ...] = GRID) -> Tensor:
    expected = torch.zeros(grid, dtype=torch.bool)
    expected[list(kept)] = True
    return expected


def test_the_six_are_all_there_is() -> None:
    assert list(CONDITIONS) == ["first_frame", "prefix", "suffix", "spatial_crop", "mask", "reference"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "first_frame"}, _frames(0)),
        ({"type": "prefix", "temporal_boundary": 1}, _frames(0)),
        ({"type": "prefix", "temporal_boundary": 2}, _frames(0, 1)),
        ({"type": "suffix", "temporal_boundary": 1}, _frames(2)),
        ({"type": "suffix", "temporal_boundary": 2}, _frames(1, 2)),
    ],
)
def test_temporal_conditions_keep_whole_frames_of_the_samples_they_apply_to(
    fields: dict[str, Any], expected: Tensor
) -> None:
    kept = _kept("video", _side("video"), [True, False], **fields)
    assert torch.equal(kept[0], expected)
    assert not kept[1].any()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "prefix", "temporal_boundary": 2}, [1, 1, 0, 0, 0, 0]),
        ({"type": "suffix", "temporal_boundary": 3}, [0, 0, 0, 1, 1, 1]),
    ],
)
def test_on_audio_a_boundary_counts_audio_latent_frames(fields: dict[str, Any], expected: list[int]) -> None:
    assert _kept("audio", _side("audio"), [False, True], **fields).int().tolist() == [[0] * AUDIO_FRAMES, expected]


def test_first_frame_of_a_one_frame_sample_keeps_nothing() -> None:
    assert not _kept("video", _side("video", grid=(1, 2, 3)), type="first_frame").any()


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ([0, 32, 64, 64], [[0, 1, 0], [0, 1, 0]]),
        ([32, 0, 64, 96], [[0, 0, 0], [1, 1, 1]]),
        ([0, 1, 64, 95], [[1, 1, 0], [1, 1, 0]]),  # both ends are rounded down
        ([0, 0, 63, 65], [[1, 1, 0], [0, 0, 0]]),
    ],
)
def test_a_spatial_crop_keeps_its_cells_rounded_down_in_every_frame(
    region: list[int], expected: list[list[int]]
) -> None:
    kept = _kept("video", _side("video"), [False, True], type="spatial_crop", spatial_region=region)
    assert not kept[0].any()
    for frame in range(GRID[0]):
        assert kept[1, frame].int().tolist() == expected


def test_a_mask_keeps_what_is_above_one_half_sample_by_sample() -> None:
    mask = torch.tensor([[0.0, 0.5, 0.51, 1.0, 0.49, 0.2], [1.0, 0.0, 0.0, 0.0, 0.0, 0.9]])
    side = _side("audio", mask=mask)
    expected = [[0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 1]]
    assert _kept("audio", side, type="mask", mask_dir="m").int().tolist() == expected
    assert _kept("audio", side, [False, True], type="mask", mask_dir="m").int().tolist() == [[0] * 6, expected[1]]
    video_mask = (torch.arange(2 * 18).view(2, *GRID) % 3 == 0).float()
    assert torch.equal(_kept("video", _side("video", mask=video_mask), type="mask", mask_dir="m"), video_mask > 0.5)


def _objective(video: list[dict[str, Any]] | None = None, audio: list[dict[str, Any]] | None = None) -> Objective:
    def side(conditions: list[dict[str, Any]] | None) -> dict[str, Any] | None:
        return None if conditions is None else {"is_generated": True, "latents_dir": "l", "conditions": conditions}

    return objective_of(FlexibleStrategy.model_validate({"video": side(video), "audio": side(audio)}))


def _batch(video: ModalityBatch | None, audio: ModalityBatch | None) -> Batch:
    count = len((video or audio).latents)  # type: ignore[union-attr]
    features, mask = torch.zeros(count, 1, 1), torch.ones(count, 1)
    clips = tuple(f"clip_{index}" for index in range(count))
    return Batch(video, audio, features, features, mask, clips, tuple(range(count)))


def _drawn(batch: Batch, objective: Objective, seed: int = 0) -> Draws:
    return draw(batch, objective, lambda _tokens, _generator: SIGMA, torch.Generator().manual_seed(seed))


def test_prefix_on_both_modalities_keeps_the_start_of_each() -> None:
    objective = _objective([{"type": "prefix", "temporal_boundary": 1}], [{"type": "prefix", "temporal_boundary": 4}])
    batch = _batch(_side("video"), _side("audio"))
    draws = _drawn(batch, objective)
    video, audio = (prepare_modality(_model(), name, batch, objective, draws) for name in ("video", "audio"))
    assert video is not None
    assert audio is not None
    assert video.trained is not None
    assert audio.trained is not None
    assert video.trained.tolist() == [[0.0] * 6 + [1.0] * 12] * 2
    assert audio.trained.tolist() == [[0.0] * 4 + [1.0] * 2] * 2
    assert torch.equal(video.timesteps, SIGMA * video.trained)
    assert torch.equal(audio.timesteps, SIGMA * audio.trained)


def test_conditions_on_one_modality_add_up() -> None:
    objective = _objective(
        [
            {"type": "prefix", "temporal_boundary": 1},
            {"type": "suffix", "temporal_boundary": 1},
            {"type": "spatial_crop", "spatial_region": [0, 0, 32, 32]},
        ]
    )
    batch = _batch(_side("video", 1), None)
    prepared = prepare_modality(_model(), "video", batch, objective, _drawn(batch, objective))
    assert prepared is not None
    assert prepared.trained is not None
    assert prepared.trained.view(GRID).tolist() == [[[0.0] * 3] * 2, [[0, 1, 1], [1, 1, 1]], [[0.0] * 3] * 2]


@pytest.mark.parametrize("order", [1, -1])
def test_a_mask_adds_to_what_others_keep_in_any_order(order: int) -> None:
    mask = torch.zeros(2, *GRID)
    mask[:, 2, 0] = 1
    conditions = [{"type": "mask", "mask_dir": "m"}, {"type": "prefix", "temporal_boundary": 1}][::order]
    batch = _batch(_side("video", mask=mask), None)
    objective = _objective(conditions)
    prepared = prepare_modality(_model(), "video", batch, objective, _drawn(batch, objective))
    assert prepared is not None
    assert prepared.trained is not None
    assert prepared.trained[1].view(GRID).tolist() == [[[0.0] * 3] * 2, [[1.0] * 3] * 2, [[0.0] * 3, [1.0] * 3]]


def test_reference_and_first_frame_compose() -> None:
    reference = torch.randn(2, 4, 3, 1, 3, generator=torch.Generator().manual_seed(3))
    side = _side("video", grid=(3, 2, 6), reference=reference)
    objective = _objective([{"type": "reference", "latents_dir": "r"}, {"type": "first_frame"}])
    batch = _batch(side, None)
    draws = _drawn(batch, objective)
    prepared = prepare_modality(_model(), "video", batch, objective, draws)
    assert prepared is not None
    assert prepared.trained is not None
    count = 3 * 1 * 3
    assert prepared.tokens.shape == (2, count + 36, 4)
    assert torch.equal(prepared.tokens[:, :count], reference.flatten(2).transpose(1, 2))
    assert not prepared.timesteps[:, :count].any()
    clean = side.latents.flatten(2).transpose(1, 2)
    assert torch.equal(prepared.tokens[:, count : count + 12], clean[:, :12]), "the first frame is given clean"
    torch.testing.assert_close(
        prepared.tokens[:, count + 12 :], ((1 - SIGMA) * clean + SIGMA * draws.noise["video"])[:, 12:]
    )
    assert prepared.trained.tolist() == [[0.0] * 12 + [1.0] * 24] * 2
    assert prepared.timesteps[:, count:].tolist() == [[0.0] * 12 + [SIGMA] * 24] * 2
    assert prepared.positions.shape == (2, 3, count + 36, 2)


def test_without_the_reference_of_this_batch_only_the_target_stands() -> None:
    side = _side("video", reference=torch.zeros(2, 4, *GRID))
    objective = _objective([{"type": "reference", "latents_dir": "r", "probability": 0.0}])
    batch = _batch(side, None)
    prepared = prepare_modality(_model(), "video", batch, objective, _drawn(batch, objective))
    assert prepared is not None
    assert prepared.tokens.shape == (2, 18, 4)


def _covered(
    latent_frame: int, row: int, column: int, *, temporal: int, spatial: int, rate: float
) -> list[list[float]]:
    """What a reference cell stands for in the target, counted picture by picture and pixel by pixel.

    A temporally downscaled reference is made of the target's pictures [0, 1, 1+S, 1+2S, …], a spatially downscaled
    one of its pixels shrunk by S; the causal VAE puts one picture into the first latent frame and eight into each
    later one.
    """
    own = range(1) if latent_frame == 0 else range(8 * latent_frame - 7, 8 * latent_frame + 1)

    def target_pictures(picture: int) -> range:
        """The target's pictures for which one picture of the reference stands."""
        return range(1) if picture == 0 else range(1 + temporal * (picture - 1), 1 + temporal * picture)

    pictures = [one for picture in own for one in target_pictures(picture)]
    rows: list[float] = [spatial * 32 * row, spatial * 32 * (row + 1)]
    columns: list[float] = [spatial * 32 * column, spatial * 32 * (column + 1)]
    return [[min(pictures) / rate, (max(pictures) + 1) / rate], rows, columns]


@pytest.mark.parametrize(
    ("target", "reference", "temporal", "spatial"),
    [
        ((3, 2, 4), (3, 2, 4), 1, 1),
        ((3, 2, 4), (3, 1, 2), 1, 2),
        ((5, 2, 4), (3, 2, 4), 2, 1),
        ((7, 2, 4), (3, 2, 4), 3, 1),
        ((7, 2, 4), (4, 1, 2), 2, 2),
        ((7, 3, 6), (3, 1, 2), 3, 3),
        ((5, 2, 4), (1, 2, 4), 1, 1),
        ((5, 2, 4), (1, 1, 2), 1, 2),
    ],
)
def test_reference_positions_are_the_seconds_and_pixels_it_stands_for(
    target: tuple[int, int, int], reference: tuple[int, int, int], temporal: int, spatial: int
) -> None:
    rates = [24.0, 15.0]
    side = _side("video", grid=target, rates=rates, reference=torch.zeros(2, 4, *reference))
    condition = _condition("video", type="reference", latents_dir="r")
    empty = Conditioned(torch.zeros(2, side.tokens, dtype=torch.bool))
    found = CONDITIONS["reference"](empty, condition, side, torch.tensor([True, True]), _model())
    assert not found.keep.any()
    assert found.reference is not None
    assert found.reference_positions is not None
    frames, height, width = reference
    assert found.reference.shape == (2, frames * height * width, 4)
    cells = [(f, row, column) for f in range(frames) for row in range(height) for column in range(width)]
    for sample, rate in enumerate(rates):
        expected = [_covered(*cell, temporal=temporal, spatial=spatial, rate=rate) for cell in cells]
        torch.testing.assert_close(found.reference_positions[sample].transpose(0, 1), torch.tensor(expected))
    last_end = float(found.reference_positions[0, 0, -1, 1])
    if frames > 1:
        assert last_end == pytest.approx((8 * (target[0] - 1) + 1) / rates[0]), "it ends when the target ends"


def test_positions_stay_what_they_are_from_step_to_step() -> None:
    """They are kept for the next step: what one step writes into them, the next would train at."""
    model = LtxModel(TinySource("2.3").transformer(torch.float32))
    objective = _objective([{"type": "reference", "latents_dir": "r"}], [{"type": "reference", "latents_dir": "r"}])
    shrunk = _side("video", grid=(5, 2, 4), rates=[24.0, 15.0], reference=torch.zeros(2, 4, 3, 1, 2))
    small = _side("video", grid=(3, 1, 2), rates=[12.0, 7.5], reference=torch.zeros(2, 4, 3, 1, 2))
    steps = []
    for video in (shrunk, small, shrunk, small):
        batch = _batch(video, _side("audio", reference=torch.zeros(2, 2, 4, 2)))
        draws = _drawn(batch, objective)
        made = [prepare_modality(model, name, batch, objective, draws) for name in ("video", "audio")]
        steps.append([one.positions.clone() for one in made if one is not None])
    for first, second in zip(steps[:2], steps[2:], strict=True):
        for before, after in zip(first, second, strict=True):
            assert torch.equal(before, after)


def test_an_audio_reference_is_on_the_targets_clock() -> None:
    side = _side("audio", reference=torch.randn(2, 2, 4, 2))
    empty = Conditioned(torch.zeros(2, side.tokens, dtype=torch.bool))
    condition = _condition("audio", type="reference", latents_dir="r")
    found = CONDITIONS["reference"](empty, condition, side, torch.tensor([True, True]), _model())
    assert found.reference is not None
    assert found.reference_positions is not None
    assert torch.equal(found.reference, side.references["r"].latents.transpose(1, 2).flatten(2))
    expected = torch.tensor([[0.0, 0.01], [0.01, 0.05], [0.05, 0.09], [0.09, 0.13]])
    torch.testing.assert_close(found.reference_positions, expected.expand(2, 1, 4, 2))


@pytest.mark.parametrize(
    ("target", "reference"),
    [
        ((6, 2, 4), (3, 2, 4)),
        ((5, 2, 4), (9, 2, 4)),
        ((1, 2, 4), (2, 2, 4)),
        ((5, 2, 4), (5, 1, 4)),
        ((5, 2, 4), (5, 3, 4)),
        ((5, 2, 4), (5, 4, 8)),
    ],
)
def test_a_reference_of_an_uneven_fraction_is_refused(
    target: tuple[int, int, int], reference: tuple[int, int, int]
) -> None:
    side = _side("video", grid=target, reference=torch.zeros(2, 4, *reference))
    objective = _objective([{"type": "reference", "latents_dir": "r"}])
    batch = _batch(side, None)
    with pytest.raises(DataError, match="reference"):
        prepare_modality(_model(), "video", batch, objective, _drawn(batch, objective))


def test_a_condition_is_drawn_for_each_sample_and_a_reference_for_the_batch() -> None:
    count = 3000
    side = _side("video", count, grid=(2, 1, 1), reference=torch.zeros(count, 4, 1, 1, 1))
    conditions = [
        {"type": "first_frame", "probability": 0.3},
        {"type": "reference", "latents_dir": "r", "probability": 0.3},
    ]
    objective = _objective(conditions)
    batch = _batch(side, None)
    shares, references = [], []
    for seed in range(8):
        draws = _drawn(batch, objective, seed)
        shares.append(float(draws.applied["video", 0].float().mean()))
        reference = draws.applied["video", 1]
        assert len(set(reference.tolist())) == 1, "all of a batch has references, or none has"
        references.append(bool(reference[0]))
    for share in shares:
        assert abs(share - 0.3) < 4 * (0.3 * 0.7 / count) ** 0.5
    assert len(set(shares)) > 1
    again = [bool(_drawn(batch, objective, seed).applied["video", 1][0]) for seed in range(8)]
    assert again == references


def test_a_references_probability_holds_over_batches() -> None:
    side = _side("video", 2, grid=(2, 1, 1), reference=torch.zeros(2, 4, 1, 1, 1))
    objective = _objective([{"type": "reference", "latents_dir": "r", "probability": 0.7}])
    batch = _batch(side, None)
    applied = [bool(_drawn(batch, objective, seed).applied["video", 0][0]) for seed in range(600)]
    assert abs(sum(applied) / 600 - 0.7) < 4 * (0.7 * 0.3 / 600) ** 0.5


@pytest.mark.parametrize(("probability", "expected"), [(0.0, False), (1.0, True)])
def test_never_and_always_mean_it(probability: float, expected: bool) -> None:
    objective = _objective([{"type": "first_frame", "probability": probability}])
    batch = _batch(_side("video", 500, grid=(2, 1, 1)), None)
    assert bool((_drawn(batch, objective).applied["video", 0] == expected).all())


def _frozen(video: list[dict[str, Any]]) -> Objective:
    frozen = {"is_generated": False, "latents_dir": "l", "conditions": video}
    return objective_of(
        FlexibleStrategy.model_validate({"video": frozen, "audio": {"is_generated": True, "latents_dir": "a"}})
    )


def test_references_of_one_modality_stand_after_each_other_each_with_positions_of_its_own() -> None:
    generator = torch.Generator().manual_seed(4)
    small, image = torch.randn(2, 4, 3, 1, 2, generator=generator), torch.randn(2, 4, 1, 2, 4, generator=generator)
    side = _side("video", grid=(5, 2, 4))
    side.references.update({"r": Reference(small), "s": Reference(image)})
    objective = _objective([{"type": "reference", "latents_dir": "r"}, {"type": "reference", "latents_dir": "s"}])
    batch = _batch(side, None)
    prepared = prepare_modality(_model(), "video", batch, objective, _drawn(batch, objective))
    assert prepared is not None
    alone = []
    for name in ("r", "s"):
        one = _objective([{"type": "reference", "latents_dir": name}])
        made = prepare_modality(_model(), "video", batch, one, _drawn(batch, one))
        assert made is not None
        alone.append(made)
    counts = [6, 8]
    assert prepared.tokens.shape == (2, 14 + 40, 4)
    assert torch.equal(prepared.tokens[:, :6], alone[0].tokens[:, :6])
    assert torch.equal(prepared.tokens[:, 6:14], alone[1].tokens[:, :8])
    assert torch.equal(prepared.positions[:, :, :6], alone[0].positions[:, :, :6])
    assert torch.equal(prepared.positions[:, :, 6:14], alone[1].positions[:, :, :8])
    assert not prepared.timesteps[:, : sum(counts)].any()
    assert prepared.target is not None
    assert prepared.target.shape == (2, 40, 4)


def test_each_of_several_references_has_a_probability_of_its_own() -> None:
    side = _side("video", 2, grid=(2, 1, 1))
    side.references.update({"r": Reference(torch.zeros(2, 4, 1, 1, 1)), "s": Reference(torch.ones(2, 4, 1, 1, 1))})
    objective = _objective(
        [
            {"type": "reference", "latents_dir": "r", "probability": 0.0},
            {"type": "reference", "latents_dir": "s", "probability": 1.0},
        ]
    )
    batch = _batch(side, None)
    prepared = prepare_modality(_model(), "video", batch, objective, _drawn(batch, objective))
    assert prepared is not None
    assert prepared.tokens.shape == (2, 3, 4)
    assert bool((prepared.tokens[:, 0] == 1).all())


def test_a_reference_of_a_frozen_modality_is_attended_to() -> None:
    side = _side("video")
    side.references["r"] = Reference(torch.ones(2, 4, *GRID))
    batch = _batch(side, _side("audio"))
    objective = _frozen([{"type": "reference", "latents_dir": "r"}])
    draws = _drawn(batch, objective)
    assert "video" not in draws.sigma
    prepared = prepare_modality(_model(), "video", batch, objective, draws)
    assert prepared is not None
    assert prepared.target is None
    assert prepared.tokens.shape == (2, 36, 4)
    assert bool((prepared.tokens[:, :18] == 1).all())
    assert torch.equal(prepared.tokens[:, 18:], side.latents.flatten(2).transpose(1, 2))
    assert not prepared.timesteps.any()
    assert not prepared.sigma.any()
    never = _frozen([{"type": "reference", "latents_dir": "r", "probability": 0.0}])
    without = prepare_modality(_model(), "video", batch, never, _drawn(batch, never))
    assert without is not None
    assert without.tokens.shape == (2, 18, 4)


def test_a_reference_stands_at_its_own_frame_rate() -> None:
    """Its own over S_t; the shift, which undoes the causal first frame, is the target's."""
    reference, own = torch.zeros(2, 4, 3, 2, 4), [20.0, 30.0]
    side = _side("video", grid=(5, 2, 4), rates=[24.0, 15.0], reference=reference, own_rates=own)
    empty = Conditioned(torch.zeros(2, side.tokens, dtype=torch.bool))
    condition = _condition("video", type="reference", latents_dir="r")
    found = CONDITIONS["reference"](empty, condition, side, torch.tensor([True, True]), _model()).reference_positions
    assert found is not None
    for sample, (rate, target) in enumerate(zip(own, [24.0, 15.0], strict=True)):
        effective = rate / 2  # S_t: (5 - 1) / (3 - 1)
        bounds = [(0, 1), (1, 9), (9, 17)]  # pictures that a causal latent frame stands for
        expected = [[max(at / effective - 1 / target, 0.0) for at in pair] for pair in bounds]
        torch.testing.assert_close(found[sample, 0, ::8], torch.tensor(expected))


def test_a_rate_that_is_divided_already_is_not_divided_again() -> None:
    """Files state their source's rate, or that of the frames they hold: both stand for the target's time."""
    empty = Conditioned(torch.zeros(2, 40, dtype=torch.bool))
    condition = _condition("video", type="reference", latents_dir="r")
    found = []
    for own in ([24.0, 15.0], [12.0, 7.5], None):
        side = _side("video", grid=(5, 2, 4), rates=[24.0, 15.0], reference=torch.zeros(2, 4, 3, 2, 4), own_rates=own)
        state = CONDITIONS["reference"](empty, condition, side, torch.tensor([True, True]), _model())
        assert state.reference_positions is not None
        found.append(state.reference_positions)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_an_image_has_no_frame_rate_of_its_own() -> None:
    """The official trainer stores 1.0 for images, which would stretch it over a second."""
    side = _side(
        "video", grid=(5, 2, 4), rates=[24.0, 24.0], reference=torch.zeros(2, 4, 1, 2, 4), own_rates=[1.0, 1.0]
    )
    empty = Conditioned(torch.zeros(2, side.tokens, dtype=torch.bool))
    condition = _condition("video", type="reference", latents_dir="r")
    found = CONDITIONS["reference"](empty, condition, side, torch.tensor([True, True]), _model()).reference_positions
    assert found is not None
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.0, 1 / 24]))
