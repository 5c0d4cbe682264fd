"""Conditions from files: each of the 13 objectives is sampled as it is trained, and what doesn't fit is named."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from trainer_core.config import TrainingConfig, parse_config
from trainer_core.data.buckets import Bucket
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.windows import Window
from trainer_core.errors import ConfigError, DataError, LtxError
from trainer_core.model.ltx import LtxModel
from trainer_core.model.text import TextFeatures
from trainer_core.model.tiny import TinySource
from trainer_core.objective import OCCASIONAL, load_recipe, merged, objective_of
from trainer_core.recipes import OBJECTIVE_NAMES
from trainer_core.sampling.cached_inputs import Prepared
from trainer_core.sampling.default_prompts import sample_of
from trainer_core.sampling.encoder import Encoder, compressed, size_of
from trainer_core.sampling.guidance import UNGUIDED, Guidance, Scales
from trainer_core.sampling.inputs import Given, Shape, encode_conditions, shape_of
from trainer_core.sampling.prompts import Wanted
from trainer_core.sampling.sampler import denoise, draw_noise
from trainer_core.sampling.schedule import dev_sigmas
from trainer_core.sections.validation import (
    FirstFrameSample,
    MaskSample,
    PrefixSample,
    ReferenceSample,
    SpatialCropSample,
    SuffixSample,
    ValidationSample,
    ValidationSection,
    VideoToAudioSample,
)

SOURCE = TinySource("2.3")
DIMS = (64, 64, 17)  # 3 latent frames of 2 x 2 cells
SECTION = ValidationSection(video_dims=DIMS, frame_rate=24, inference_steps=2)
SMALL = {"prefix": 1, "suffix": 1}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(SOURCE, torch.device("cpu"))


@pytest.fixture(scope="module")
def model() -> LtxModel:
    return LtxModel(SOURCE.transformer(torch.float32))


@pytest.fixture(scope="module")
def connectors() -> Any:
    return SOURCE.connectors(torch.float32)


@pytest.fixture(scope="module")
def clip(cut_footage: Path) -> Path:
    return cut_footage / "bunny wakes.mp4"


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White (keep) on the left half, black on the right."""
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32] = 255
    cv2.imwrite(str(path), picture)
    return path


@pytest.fixture(scope="module")
def sound_mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full level (keep) in the first third of a second, silence after it."""
    import wave

    path = tmp_path_factory.mktemp("mask") / "mask.wav"
    samples = np.zeros(16_000 * 2, np.int16)
    samples[: 16_000 // 3] = 32_767
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(samples.tobytes())
    return path


def config_of(objective: str) -> TrainingConfig:
    import yaml

    recipe = load_recipe(objective)
    for side in ("video", "audio"):
        for condition in (recipe["training_strategy"].get(side) or {}).get("conditions", []):
            if condition["type"] in SMALL:
                condition["temporal_boundary"] = SMALL[condition["type"]]
            if condition["type"] == "spatial_crop":
                condition["spatial_region"] = [0, 0, 64, 32]
    overlay = {"model": {"model_path": "tiny"}, "data": {"preprocessed_data_root": "x"}}
    return parse_config(yaml.safe_dump(merged(recipe, overlay)))


def prepared(sample: ValidationSample, section: ValidationSection, encoder: Encoder) -> Prepared:
    shape = shape_of(section, sample, SOURCE.factors)
    given = encode_conditions(sample, section, shape, encoder)
    text = TextFeatures(torch.randn(1, 512, 64), torch.randn(1, 512, 32), torch.ones(1, 512, dtype=torch.int64))
    return Prepared("x", Wanted(sample, 0), shape, given, text, text)


@pytest.mark.parametrize("objective", OBJECTIVE_NAMES)
def test_every_objective_is_sampled_as_it_is_trained(
    objective: str,
    clip: Path,
    mask: Path,
    sound_mask: Path,
    encoder: Encoder,
    model: LtxModel,
    connectors: Any,
) -> None:
    config = config_of(objective)
    trained = objective_of(config.strategy)
    inputs = {"video_mask": mask, "audio_mask": sound_mask, "reference_video": clip, "reference_audio": clip}
    window = Window("w", clip, clip, "sha", "a rabbit", 0.0, 17 / 24, Bucket(*DIMS), True, inputs=inputs)
    section = SECTION.model_copy(
        update={"generate_video": trained.video.generated, "generate_audio": trained.audio.generated}
    )
    ready = prepared(sample_of(window, trained, "a rabbit", config), section, encoder)
    sampled = ready.given.objective()
    for name in ("video", "audio"):
        assert sampled.modality(name).role == trained.modality(name).role  # type: ignore[arg-type]
        kinds = [
            condition.type
            for condition in trained.modality(name).conditions  # type: ignore[arg-type]
            if condition.probability >= OCCASIONAL
        ]
        assert [condition.type for condition in sampled.modality(name).conditions] == kinds  # type: ignore[arg-type]
    given = ready.inputs()
    guidance = Guidance(Scales(2.0), Scales(2.0))
    made = denoise(model, connectors, given, guidance, dev_sigmas(2), draw_noise(given, 1))
    again = denoise(model, connectors, given, guidance, dev_sigmas(2), draw_noise(given, 1))
    other = denoise(model, connectors, given, guidance, dev_sigmas(2), draw_noise(given, 2))
    assert set(made) == {name for name in ("video", "audio") if trained.modality(name).present}  # type: ignore[arg-type]
    for name, latents in made.items():
        side = given.batch.modality(name)
        assert side is not None
        assert torch.equal(latents, again[name]), "the same seed, the same sample"
        assert torch.isfinite(latents).all()
        kept = kept_cells(sampled.modality(name), side, latents.shape)
        assert torch.equal(latents[kept], side.latents[kept]), "what is given stays as given"
        if kept.all():
            continue
        assert not torch.equal(latents[~kept], other[name][~kept]), "another seed, another sample"


def kept_cells(role: Any, side: Any, shape: torch.Size) -> torch.Tensor:
    """Where a latent is given, worked out from the conditions' own words."""
    kept = torch.zeros(shape, dtype=torch.bool)
    if role.role == "frozen":
        return ~kept
    for condition in role.conditions:
        if condition.type in ("first_frame", "prefix"):
            kept[:, :, :1] = True
        elif condition.type == "suffix":
            kept[:, :, -1:] = True
        elif condition.type == "spatial_crop":
            kept[..., :1] = True  # the left 32 of 64 pixels
        elif condition.type == "mask":
            mask = side.mask > 0.5
            assert 0 < mask.float().mean() < 1
            kept |= mask[:, None] if mask.ndim == 4 else mask[:, None, :, None]
    return kept


def encode(sample: ValidationSample, encoder: Encoder, section: ValidationSection = SECTION) -> Given:
    return encode_conditions(sample, section, shape_of(section, sample, SOURCE.factors), encoder)


def one(*conditions: Any) -> ValidationSample:
    return ValidationSample(prompt="a", conditions=list(conditions))


def test_a_suffix_is_the_end_of_the_clip_without_its_causal_first_picture(clip: Path, encoder: Encoder) -> None:
    given = encode(one(SuffixSample(type="suffix", video=str(clip), num_frames=8)), encoder)
    assert given.video is not None
    # the clip has 2.4 s; the last 8 pictures and the one before them
    pixels = read_frames(clip, 2.4 - 9 / 24, 9, 24.0, 64, 64)
    expected = encoder.video(pixels, 24.0)[:, 1:]
    assert expected.shape[1] == 1
    torch.testing.assert_close(given.video.latents[:, -1:], expected, atol=0.15, rtol=0.1)
    assert not given.video.latents[:, :-1].any()


def test_a_clip_of_the_region_s_size_is_placed_inside_it(cut_footage: Path, tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "inside.png"
    cv2.imwrite(str(path), np.full((64, 32, 3), 200, np.uint8))
    section = SECTION.model_copy(update={"video_dims": (64, 64, 1)})
    given = encode(
        one(SpatialCropSample(type="spatial_crop", video=str(path), spatial_region=(0, 32, 64, 64))), encoder, section
    )
    assert given.video is not None
    assert given.video.latents[..., 1:].any()
    assert not given.video.latents[..., :1].any()
    assert "placed inside" in given.notes[0]


def test_a_downscaled_reference_has_positions_of_its_own(clip: Path, encoder: Encoder, model: LtxModel) -> None:
    given = encode(
        one(ReferenceSample(type="reference", video=str(clip), downscale_factor=2, temporal_scale_factor=2)), encoder
    )
    assert given.video is not None
    assert [tuple(reference.shape) for reference in given.video.references] == [(128, 2, 1, 1)]
    still = encode(one(ReferenceSample(type="reference", video=str(clip), downscale_factor=1)), encoder)
    assert still.video is not None
    assert still.video.references[0].shape == still.video.latents.shape


def test_several_references_are_given_and_read_back(
    clip: Path, encoder: Encoder, model: LtxModel, connectors: Any, tmp_path: Path
) -> None:
    from trainer_core.sampling.cached_inputs import _read, _write

    sample = one(
        ReferenceSample(type="reference", video=str(clip), include_in_output=True),
        ReferenceSample(type="reference", video=str(clip), downscale_factor=2),
    )
    ready = prepared(sample, SECTION, encoder)
    path = tmp_path / "x.safetensors"
    _write(path, ready.given, ready.positive, ready.negative)
    again = _read(path, "x", ready.wanted, ready.shape)
    for found in (ready, again):
        inputs = found.inputs()
        assert inputs.batch.video is not None
        shapes = {name: tuple(one.latents.shape) for name, one in inputs.batch.video.references.items()}
        assert shapes == {"reference_1": (1, 128, 3, 2, 2), "reference_2": (1, 128, 3, 1, 1)}
        assert found.given.shown_reference == clip
    noise = draw_noise(again.inputs(), 0)
    sides = [denoise(model, connectors, one.inputs(), UNGUIDED, dev_sigmas(2), noise) for one in (ready, again)]
    assert torch.equal(sides[0]["video"], sides[1]["video"])
    alone = prepared(one(sample.conditions[0]), SECTION, encoder)
    other = denoise(model, connectors, alone.inputs(), UNGUIDED, dev_sigmas(2), noise)
    assert not torch.equal(sides[0]["video"], other["video"]), "the second one is attended to"


def test_a_reference_of_a_given_picture_is_attended_to(
    clip: Path, encoder: Encoder, model: LtxModel, connectors: Any
) -> None:
    made = []
    for conditions in ([], [ReferenceSample(type="reference", video=str(clip), downscale_factor=2)]):
        sample = one(VideoToAudioSample(type="video_to_audio", video=str(clip)), *conditions)
        section = SECTION.model_copy(update={"generate_video": False})
        inputs = prepared(sample, section, encoder).inputs()
        assert inputs.objective.video.role == "frozen"
        made.append(denoise(model, connectors, inputs, UNGUIDED, dev_sigmas(2), draw_noise(inputs, 0)))
    assert torch.equal(made[0]["video"], made[1]["video"]), "what is given comes back as it was"
    assert not torch.equal(made[0]["audio"], made[1]["audio"])


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"type": "prefix", "num_frames": 8}, r"prefix of 8 frames .* Use 1 or 9 frames"),
        ({"type": "suffix", "num_frames": 12}, r"suffix of 12 frames .* Use 8 or 16 frames"),
        ({"type": "prefix", "num_frames": 17}, "leaves none of 3 to generate"),
        ({"type": "reference", "downscale_factor": 3}, "can't be downscaled by 3"),
        ({"type": "reference", "temporal_scale_factor": 3}, "no whole number of latent frames"),
        ({"type": "spatial_crop", "spatial_region": (0, 0, 64, 128)}, "lies outside the 64x64 picture"),
        ({"type": "spatial_crop", "spatial_region": (0, 0, 64, 64)}, "covers the whole picture"),
        (
            {"type": "spatial_crop", "spatial_region": (0, 0, 20, 20)},
            "is empty once its ends are rounded down to latent cells of 32x32",
        ),
        ({"type": "prefix", "video": None}, "needs either `video` or `audio`"),
        ({"type": "prefix", "video": "/nowhere.mp4"}, "There is no file"),
    ],
)
def test_what_does_not_fit_is_named(condition: dict[str, Any], message: str, clip: Path, encoder: Encoder) -> None:
    from pydantic import TypeAdapter

    from trainer_core.sections.validation import SampleCondition

    checked = TypeAdapter(SampleCondition).validate_python({"video": str(clip), **condition})
    with pytest.raises(LtxError, match=message):
        encode(one(checked), encoder)


def test_a_condition_on_what_is_not_made_and_a_clip_that_is_too_short(
    clip: Path, cut_footage: Path, encoder: Encoder
) -> None:
    sound_only = SECTION.model_copy(update={"generate_video": False})
    with pytest.raises(ConfigError, match="which this sample doesn't make"):
        encode(one(PrefixSample(type="prefix", video=str(clip), num_frames=9)), encoder, sound_only)
    long = SECTION.model_copy(update={"video_dims": (64, 64, 89)})
    with pytest.raises(DataError, match="ends too early"):
        encode(one(ReferenceSample(type="reference", video=str(clip))), encoder, long)
    silent = cut_footage / "bikes_1.mp4"
    with pytest.raises(DataError, match="no sound"):
        encode(one(PrefixSample(type="prefix", audio=str(silent), duration=0.2)), encoder)


def test_a_mask_that_keeps_everything_is_refused(clip: Path, tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "white.png"
    cv2.imwrite(str(path), np.full((64, 64, 3), 255, np.uint8))
    with pytest.raises(ConfigError, match="keeps everything"):
        encode(one(MaskSample(type="mask", video=str(clip), mask=str(path))), encoder)


def test_the_shape_of_a_sample() -> None:
    shape = shape_of(SECTION, ValidationSample(prompt="a", video_dims=(96, 64, 49)), SOURCE.factors)
    assert isinstance(shape, Shape)
    assert (shape.video_grid, shape.audio_latent_frames) == ((7, 2, 3), 51)


def test_a_still_is_compressed_as_footage_is_and_said_so(tmp_path: Path, encoder: Encoder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "start.png"), noise)
    given = encode(one(FirstFrameSample(type="first_frame", image_or_video=str(tmp_path / "start.png"))), encoder)
    assert "CRF 33" in given.notes[0]
    raw = noise[None, ..., ::-1]
    apart = [np.abs(compressed(raw, crf).astype(int) - raw).mean() for crf in (18, 33)]
    assert 0 < apart[0] < apart[1]


def test_a_file_of_another_size_is_used_and_that_is_stated(clip: Path, encoder: Encoder, tmp_path: Path) -> None:
    sample = ValidationSample.model_validate(
        {"prompt": "x", "conditions": [{"type": "reference", "video": str(clip), "downscale_factor": 2}]}
    )
    notes = prepared(sample, SECTION, encoder).given.notes
    width, height = size_of(clip) or (0, 0)
    assert notes == [f"{clip.name} is {width}x{height}; to be 32x32 it is cut at the sides."]
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), np.zeros((16, 32, 3), np.uint8))
    start = {"type": "first_frame", "image_or_video": str(small)}
    sample = ValidationSample.model_validate({"prompt": "x", "conditions": [start]})
    assert "small.png is 32x16; to be 64x64 it is enlarged 4 times and cut at the sides." in (
        prepared(sample, SECTION, encoder).given.notes
    )
    fitting = tmp_path / "fitting.png"
    cv2.imwrite(str(fitting), np.zeros((128, 128, 3), np.uint8))
    sample = ValidationSample.model_validate({"prompt": "x", "conditions": [start | {"image_or_video": str(fitting)}]})
    assert not [note for note in prepared(sample, SECTION, encoder).given.notes if "to be" in note]
