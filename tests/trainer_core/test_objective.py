"""The 13 objectives as data, and every impossible combination refused with its value and what is allowed."""

from typing import Any

import pytest

from trainer_core.errors import ConfigError, DataError, LtxError
from trainer_core.objective import (
    OBJECTIVE_NAMES,
    Objective,
    VaeFactors,
    load_recipe,
    merged,
    name_of,
    objective_of,
    recipe_for,
)
from trainer_core.sample_shape import check_shape, latent_region, reference_scales
from trainer_core.sections.strategy import FlexibleStrategy

FACTORS = VaeFactors(time=8, height=32, width=32)
CLIP = "clip_017.mp4.pt"

# (video role, video conditions, audio role, audio conditions): the design's table, written down again
TABLE: dict[str, tuple[str, list[str], str, list[str]]] = {
    "t2v": ("generate", [], "generate", []),
    "i2v": ("generate", ["first_frame"], "generate", []),
    "video_extension": ("generate", ["prefix"], "generate", []),
    "video_inpainting": ("generate", ["mask"], "absent", []),
    "video_outpainting": ("generate", ["spatial_crop"], "absent", []),
    "t2a": ("absent", [], "generate", []),
    "audio_extension": ("absent", [], "generate", ["prefix"]),
    "audio_inpainting": ("absent", [], "generate", ["mask"]),
    "a2v": ("generate", [], "frozen", []),
    "v2a": ("frozen", [], "generate", []),
    "v2v_ic": ("generate", ["reference", "first_frame"], "absent", []),
    "a2a_ic": ("absent", [], "generate", ["reference"]),
    "av2av_ic": ("generate", ["reference"], "generate", ["reference"]),
}
# the precomputed directory of each input, and the dataset column it is made from
COLUMNS: dict[str, dict[str, str]] = {
    "latents": {"latents": "video"},
    "audio": {"audio_latents": "audio"},
    "video_mask": {"video_masks": "video_mask"},
    "audio_mask": {"audio_masks": "audio_mask"},
    "video_reference": {"reference_latents": "reference_video"},
    "audio_reference": {"reference_audio_latents": "reference_audio"},
}


def _objective(name: str) -> Objective:
    return objective_of(FlexibleStrategy.model_validate(load_recipe(name)["training_strategy"]))


def _strategy(video: Any = None, audio: Any = None) -> FlexibleStrategy:
    def side(given: Any, latents_dir: str) -> dict[str, Any] | None:
        if given is None:
            return None
        generated, conditions = given
        return {"is_generated": generated, "latents_dir": latents_dir, "conditions": conditions}

    return FlexibleStrategy.model_validate({"video": side(video, "latents"), "audio": side(audio, "audio_latents")})


def _video(*conditions: dict[str, Any]) -> Objective:
    return objective_of(_strategy(video=(True, list(conditions))))


def _audio(*conditions: dict[str, Any]) -> Objective:
    return objective_of(_strategy(audio=(True, list(conditions))))


def _check(objective: Objective, video: tuple[int, int, int] | None = None, audio: int | None = None) -> None:
    check_shape(objective, CLIP, video, audio, FACTORS)


def _assert_sentence(error: LtxError, *parts: str) -> None:
    for part in parts:
        assert part in str(error)
    assert error.message.endswith(".")
    assert error.hint.endswith(".")


@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_each_objective_is_the_row_of_the_table(name: str) -> None:
    objective = _objective(name)
    video, audio = objective.video, objective.audio
    assert (
        video.role,
        [condition.type for condition in video.conditions],
        audio.role,
        [condition.type for condition in audio.conditions],
    ) == TABLE[name]


@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_each_objective_names_the_columns_it_needs(name: str) -> None:
    video_role, video_conditions, audio_role, audio_conditions = TABLE[name]
    expected = {"conditions": "caption"}
    if video_role != "absent":
        expected |= COLUMNS["latents"]
    if audio_role != "absent":
        expected |= COLUMNS["audio"]
    for modality, conditions in (("video", video_conditions), ("audio", audio_conditions)):
        for kind in ("mask", "reference"):
            if kind in conditions:
                expected |= COLUMNS[f"{modality}_{kind}"]
    assert _objective(name).columns() == expected
    assert _objective(name).uses_reference == name.endswith("_ic")


def test_the_i2v_condition_is_given_to_half_of_the_samples() -> None:
    condition = _objective("i2v").video.condition("first_frame")
    assert condition is not None
    assert condition.probability == 0.5


@pytest.mark.parametrize(
    ("strategy", "parts"),
    [
        (_strategy(), ("Neither modality is generated", "is_generated: true")),
        (_strategy(video=(False, []), audio=(False, [])), ("Neither modality is generated",)),
        (_strategy(video=(False, [])), ("Neither modality is generated",)),
        (
            _strategy(video=(False, [{"type": "first_frame"}]), audio=(True, [])),
            ("`first_frame` on the frozen video", "is_generated: true on video"),
        ),
        (
            _strategy(video=(True, []), audio=(False, [{"type": "prefix", "temporal_boundary": 2}])),
            ("`prefix` on the frozen audio",),
        ),
        (
            _strategy(video=(True, [{"type": "reference", "latents_dir": "r"}] * 2)),
            ("latents_dir `r` on video stands for 2 references", "`r_2`"),
        ),
        (
            _strategy(video=(True, [{"type": "reference", "latents_dir": "latents"}])),
            ("latents_dir `latents` on video stands for a reference and the target",),
        ),
        (_strategy(audio=(True, [{"type": "first_frame"}])), ("`first_frame` is a condition on video",)),
        (
            _strategy(audio=(True, [{"type": "spatial_crop", "spatial_region": [0, 0, 32, 32]}])),
            ("`spatial_crop` is a condition on video",),
        ),
        (
            _strategy(video=(True, [{"type": "first_frame"}] * 2)),
            ("`first_frame` stands 2 times on video", "only references"),
        ),
    ],
)
def test_an_impossible_strategy_is_refused(strategy: FlexibleStrategy, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        objective_of(strategy)
    _assert_sentence(caught.value, *parts)


@pytest.mark.parametrize("kind", ["prefix", "suffix"])
def test_a_boundary_that_leaves_nothing_is_refused_with_the_most_that_fits(kind: str) -> None:
    objective = _video({"type": kind, "temporal_boundary": 8})
    with pytest.raises(ConfigError) as caught:
        _check(objective, video=(7, 2, 2))
    _assert_sentence(caught.value, f"{kind} of 8 latent frames leaves no frame to train on: {CLIP} has 7", "at most 6")
    with pytest.raises(ConfigError):
        _check(objective, video=(8, 2, 2))
    _check(objective, video=(9, 2, 2))


def test_prefix_and_suffix_are_refused_when_together_they_leave_nothing() -> None:
    objective = _video({"type": "prefix", "temporal_boundary": 2}, {"type": "suffix", "temporal_boundary": 3})
    with pytest.raises(ConfigError, match="leaves no frame"):
        _check(objective, video=(5, 2, 2))
    _check(objective, video=(6, 2, 2))


def test_an_audio_boundary_is_counted_in_audio_latent_frames() -> None:
    objective = _audio({"type": "prefix", "temporal_boundary": 8})
    with pytest.raises(ConfigError) as caught:
        _check(objective, audio=8)
    _assert_sentence(caught.value, "prefix of 8 audio latent frames", f"{CLIP} has 8")
    _check(objective, audio=9)


def test_first_frame_on_a_picture_is_refused_only_when_it_is_certain() -> None:
    with pytest.raises(ConfigError) as caught:
        _check(_video({"type": "first_frame"}), video=(1, 2, 2))
    _assert_sentence(caught.value, f"first_frame leaves no frame to train on: {CLIP} has only one")
    _check(_video({"type": "first_frame", "probability": 0.5}), video=(1, 2, 2))
    _check(_video({"type": "first_frame"}), video=(2, 2, 2))


def _crop(*region: int) -> dict[str, Any]:
    return {"type": "spatial_crop", "spatial_region": list(region)}


@pytest.mark.parametrize(
    ("region", "parts"),
    [
        ((0, 0, 96, 64), ("lies outside", "96x64", "0,0,96,64", CLIP)),
        ((0, 64, 32, 97), ("lies outside", "0,64,32,97")),
        ((0, 0, 64, 96), ("covers the whole", "96x64", CLIP)),
        (
            (1, 1, 31, 40),
            ("empty once its ends are rounded down to whole latent cells of 32x32 pixels", "a multiple of"),
        ),
        ((0, 33, 64, 63), ("is empty once its ends are rounded down",)),
    ],
)
def test_an_impossible_region_is_refused(region: tuple[int, ...], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        _check(_video(_crop(*region)), video=(3, 2, 3))
    _assert_sentence(caught.value, *parts)


def test_a_region_inside_one_cell_of_a_one_cell_picture_is_called_too_small() -> None:
    with pytest.raises(ConfigError, match="is empty once its ends are rounded down"):
        _check(_video(_crop(5, 5, 20, 20)), video=(3, 1, 1))


def test_a_region_smaller_than_the_picture_is_accepted() -> None:
    _check(_video(_crop(0, 0, 64, 64)), video=(3, 2, 3))
    _check(_video(_crop(0, 32, 32, 96)), video=(3, 2, 3))


def test_a_region_and_a_boundary_may_meet() -> None:
    _check(_video(_crop(0, 0, 64, 64), {"type": "prefix", "temporal_boundary": 1}), video=(3, 2, 3))


@pytest.mark.parametrize(
    ("region", "rows", "columns"),
    [
        ((0, 0, 32, 32), [0], [0]),
        ((0, 32, 64, 96), [0, 1], [1, 2]),
        ((1, 0, 64, 95), [0, 1], [0, 1]),  # both ends are rounded down, as upstream does
        ((31, 31, 97, 97), [0, 1, 2], [0, 1, 2]),
        ((0, 63, 31, 128), [], [1, 2, 3]),
    ],
)
def test_a_regions_ends_are_rounded_down_to_whole_cells(
    region: tuple[int, int, int, int], rows: list[int], columns: list[int]
) -> None:
    found_rows, found_columns = latent_region(region, FACTORS)
    assert list(range(4))[found_rows] == rows
    assert list(range(4))[found_columns] == columns


def test_the_mapping_uses_the_checkpoints_own_factors() -> None:
    rows, columns = latent_region((0, 16, 32, 48), VaeFactors(time=4, height=16, width=8))
    assert (rows, columns) == (slice(0, 2), slice(2, 6))
    with pytest.raises(ConfigError, match=r"lies outside .*24x32"):
        check_shape(_video(_crop(0, 0, 33, 8)), CLIP, (3, 2, 3), None, VaeFactors(time=4, height=16, width=8))


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3), (121, 16)])
def test_latent_frames_count_the_causal_first_frame(frames: int, latents: int) -> None:
    assert FACTORS.latent_frames(frames) == latents


@pytest.mark.parametrize(
    ("target", "source", "scales"),
    [
        ((7, 4, 6), (7, 4, 6), (1, 1)),
        ((7, 4, 6), (7, 2, 3), (2, 1)),
        ((7, 4, 6), (4, 4, 6), (1, 2)),
        ((7, 4, 6), (3, 2, 3), (2, 3)),
        ((7, 4, 6), (1, 4, 6), (1, 1)),
        ((7, 4, 6), (1, 2, 3), (2, 1)),
        ((1, 4, 6), (1, 2, 3), (2, 1)),
    ],
)
def test_reference_scales_are_whole_ratios(
    target: tuple[int, int, int], source: tuple[int, int, int], scales: tuple[int, int]
) -> None:
    assert reference_scales(target, source) == scales


@pytest.mark.parametrize(
    ("target", "source", "parts"),
    [
        ((7, 4, 6), (5, 4, 6), ("has 5 latent frames, the target 7", "even fraction")),
        ((7, 4, 6), (8, 4, 6), ("has 8 latent frames, the target 7",)),
        ((7, 4, 6), (13, 4, 6), ("has 13 latent frames, the target 7",)),
        ((1, 4, 6), (2, 4, 6), ("has 2 latent frames, the target 1",)),
        ((7, 4, 6), (7, 3, 4), ("4x3 latents", "6x4")),
        ((7, 4, 6), (7, 2, 6), ("6x2 latents", "6x4")),
        ((7, 4, 6), (7, 8, 12), ("12x8 latents", "6x4")),
        ((7, 4, 4), (7, 2, 1), ("1x2 latents", "4x4")),
    ],
)
def test_an_uneven_reference_is_refused(
    target: tuple[int, int, int], source: tuple[int, int, int], parts: tuple[str, ...]
) -> None:
    with pytest.raises(DataError) as caught:
        reference_scales(target, source, CLIP)
    assert caught.value.exit_code == 3
    _assert_sentence(caught.value, CLIP, *parts)


def test_merging_lays_mapping_over_mapping_and_changes_neither() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": [1]}
    overlay = {"a": {"b": 3}, "d": [2], "e": None}
    assert merged(base, overlay) == {"a": {"b": 3, "c": 2}, "d": [2], "e": None}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1]}
    assert overlay == {"a": {"b": 3}, "d": [2], "e": None}


def test_turning_one_recipe_round_does_not_turn_the_next() -> None:
    load_recipe("video_extension", direction="suffix")["training_strategy"]["video"]["conditions"].clear()
    assert load_recipe("video_extension")["training_strategy"]["video"]["conditions"] == [
        {"type": "prefix", "temporal_boundary": 8}
    ]


def _reference(folder: str = "reference_latents", **fields: Any) -> dict[str, Any]:
    return {"type": "reference", "latents_dir": folder, **fields}


PREFIX = {"type": "prefix", "temporal_boundary": 2}
SUFFIX = {"type": "suffix", "temporal_boundary": 2}
FIRST = {"type": "first_frame", "probability": 0.2}
OFTEN = {"type": "first_frame", "probability": 0.5}
MASK = {"type": "mask", "mask_dir": "m"}


@pytest.mark.parametrize(
    ("video", "audio", "name"),
    [
        ((True, []), (True, []), "t2v"),
        ((True, []), None, "t2v"),
        ((True, [OFTEN]), (True, []), "i2v"),
        ((True, [OFTEN]), None, "i2v"),
        ((True, [FIRST]), (True, []), "t2v"),
        ((True, [FIRST, PREFIX]), (True, []), "video_extension"),
        ((True, [PREFIX, SUFFIX]), None, "video_extension"),
        ((True, [SUFFIX]), (True, [SUFFIX]), "video_extension"),
        ((True, [MASK, FIRST]), None, "video_inpainting"),
        ((True, [MASK]), (True, []), "video_inpainting"),
        ((True, [_crop(0, 0, 32, 32), FIRST]), None, "video_outpainting"),
        ((True, [_reference(), FIRST]), None, "v2v_ic"),
        ((True, [FIRST, _reference(), PREFIX, _reference("r2")]), None, "v2v_ic"),
        ((True, [_reference(), MASK]), None, "v2v_ic"),
        ((True, [_reference(), FIRST]), (True, [_reference("ra")]), "av2av_ic"),
        ((True, [_reference()]), (True, []), "t2v"),
        ((True, []), (False, []), "a2v"),
        ((True, [_reference(), FIRST]), (False, []), "a2v"),
        ((False, []), (True, [PREFIX]), "v2a"),
        ((False, [_reference()]), (True, []), "v2a"),
        (None, (True, []), "t2a"),
        (None, (True, [PREFIX, SUFFIX]), "audio_extension"),
        (None, (True, [MASK, PREFIX]), "audio_inpainting"),
        (None, (True, [_reference("ra"), PREFIX]), "a2a_ic"),
    ],
)
def test_an_objective_is_known_by_roles_and_references_whatever_else_is_given(
    video: Any, audio: Any, name: str
) -> None:
    assert name_of(_strategy(video, audio)) == name


def test_what_generates_nothing_has_no_name() -> None:
    with pytest.raises(ConfigError, match="Neither modality is generated"):
        name_of(_strategy(video=(False, [])))


def test_several_references_have_a_column_each() -> None:
    objective = _video(_reference("depth"), FIRST, _reference("pose"), _reference("edges"))
    assert [one.latents_dir for one in objective.video.references] == ["depth", "pose", "edges"]
    assert objective.columns() == {
        "conditions": "caption",
        "latents": "video",
        "depth": "reference_video",
        "pose": "reference_video_2",
        "edges": "reference_video_3",
    }


def test_a_frozen_modality_may_have_references() -> None:
    objective = objective_of(_strategy(video=(False, [_reference("depth")]), audio=(True, [])))
    assert (objective.video.role, objective.uses_reference) == ("frozen", True)
    assert objective.columns()["depth"] == "reference_video"


ALL = ["to_k", "to_q", "to_v", "to_out.0"]


def _of(*blocks: str) -> list[str]:
    return [f"{block}.{layer}" for block in blocks for layer in ALL]


SOUND = [*_of("audio_attn1", "audio_attn2"), "audio_ff.net.0.proj", "audio_ff.net.2"]
# upstream's recipes, written down again
TARGETS = {
    **dict.fromkeys(["t2v", "i2v", "video_extension", "a2v", "av2av_ic"], ALL),
    **dict.fromkeys(["video_inpainting", "video_outpainting"], _of("attn1", "attn2")),
    "v2v_ic": [*_of("attn1", "attn2"), "ff.net.0.proj", "ff.net.2"],
    **dict.fromkeys(["t2a", "audio_extension", "audio_inpainting", "a2a_ic"], SOUND),
    "v2a": [*SOUND, *_of("video_to_audio_attn")],
}


@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_each_recipe_trains_the_layers_that_upstreams_does(name: str) -> None:
    assert load_recipe(name)["lora"]["target_modules"] == TARGETS[name]
    assert list(_objective(name).targets.modules) == TARGETS[name]


def test_a_reference_brings_the_feed_forward_layers_of_a_picture_alone() -> None:
    columns = {"caption", "video", "audio", "reference_video", "video_mask"}
    targets = recipe_for("video_inpainting", "ic-lora", columns)["lora"]["target_modules"]
    assert targets == TARGETS["v2v_ic"]
    assert recipe_for("t2v", "ic-lora", columns)["lora"]["target_modules"] == ALL


def test_targets_that_name_a_direction_of_the_exchange_leave_the_other_alone() -> None:
    reason = _objective("v2a").targets.reason
    assert "nothing of the picture that is given" in reason
    assert not any("audio_to_video" in module or module.startswith(("attn", "ff")) for module in TARGETS["v2a"])
