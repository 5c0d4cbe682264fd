"""Clips to latents with the real classes at tiny size, on real footage: upstream's layout, nothing made twice."""

import hashlib
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from trainer_core.config import TrainingConfig
from trainer_core.data.encoding.cache import open_cache, read_tensors
from trainer_core.data.encoding.encode import encode_dataset
from trainer_core.data.encoding.latents import normalise_audio, normalise_video, pooled_mask, video_content
from trainer_core.data.encoding.manifest import entry_of
from trainer_core.data.encoding.mel import log_mel
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.windows import read_windows, sample_name, with_trigger
from trainer_core.errors import ConfigError, DataError, ExternalError
from trainer_core.files import read_jsonl, write_jsonl
from trainer_core.model.tiny import tiny_source
from trainer_core.objective import VaeFactors
from trainer_core.run_folder import create_run_folder
from trainer_core.sections.own import LtxAgentSection
from trainer_core.training.setup import set_up


@pytest.fixture
def dataset(tmp_path, real_clips) -> Path:
    """Two windows of the clip with sound and picture."""
    clip = next(path for path in sorted(real_clips.iterdir()) if "bunny" in path.name)
    row = {
        "video": str(clip),
        "caption": "A white rabbit in a meadow.",
        "sha256": hashlib.sha256(clip.read_bytes()).hexdigest(),
        "has_audio": True,
        "samples": [{"start_s": start, "duration_s": 9 / 24, "bucket": "96x64x9"} for start in (0.0, 0.375)],
    }
    path = tmp_path / "project" / "dataset.jsonl"
    write_jsonl(path, [row])
    return path


@pytest.fixture
def config(config_for, dataset, tmp_path) -> TrainingConfig:
    base = config_for("t2v", {"data": {"preprocessed_data_root": str(tmp_path / "project/.precomputed")}})
    return base.model_copy(update={"ltx_agent": LtxAgentSection(dataset=str(dataset), frame_rate=24.0)})


def with_agent(config: TrainingConfig, **changes) -> TrainingConfig:
    return config.model_copy(update={"ltx_agent": config.ltx_agent.model_copy(update=changes)})


def test_the_layout_is_upstreams(config):
    summary = encode_dataset(config)
    assert (summary.samples, summary.encoded, summary.reused) == (2, 6, 0)
    root = Path(config.data.preprocessed_data_root)
    name = read_windows(config)[1].name
    video = read_tensors(root / "latents" / f"{name}.pt")
    assert video["latents"].shape == (128, 2, 2, 3)
    assert video["latents"].dtype == torch.bfloat16
    assert (video["num_frames"], video["height"], video["width"], video["fps"]) == (2, 2, 3, 24.0)
    audio = read_tensors(root / "audio_latents" / f"{name}.pt")
    assert audio["latents"].shape == (8, audio["num_time_steps"], 16)
    assert audio["num_time_steps"] == pytest.approx(25 * 9 / 24, abs=1)
    assert (audio["frequency_bins"], audio["duration"]) == (16, 0.375)
    text = read_tensors(root / "conditions" / f"{name}.pt")
    assert text["video_prompt_embeds"].shape == (512, 64)
    assert text["audio_prompt_embeds"].shape == (512, 32)
    assert not text["prompt_attention_mask"][0]
    assert text["prompt_attention_mask"][-1]


def test_the_two_windows_differ_in_picture_and_sound_and_share_the_caption(config):
    encode_dataset(config)
    root = Path(config.data.preprocessed_data_root)
    first, second = (window.name for window in read_windows(config))
    for directory, same in (("latents", False), ("audio_latents", False), ("conditions", True)):
        key = "video_prompt_embeds" if directory == "conditions" else "latents"
        pair = [read_tensors(root / directory / f"{name}.pt")[key] for name in (first, second)]
        assert torch.equal(*pair) == same, directory


def test_nothing_is_made_twice(config):
    encode_dataset(config)
    again = encode_dataset(config)
    assert (again.encoded, again.reused) == (0, 6)


@pytest.mark.parametrize(
    ("change", "remade"),
    [
        (lambda config, _: with_agent(config, trigger="ohwx"), 2),
        (lambda config, _: with_agent(config, frame_rate=12.0), 2),
        (
            lambda config, _: config.model_copy(
                update={"model": config.model.model_copy(update={"model_path": "tiny:2.0"})}
            ),
            6,
        ),
    ],
    ids=["trigger", "frame rate", "model version"],
)
def test_a_change_remakes_only_what_it_touches(config, dataset, change, remade):
    encode_dataset(config)
    assert encode_dataset(change(config, dataset)).encoded == remade


def test_a_changed_clip_is_remade(config, dataset):
    encode_dataset(config)
    text = dataset.read_text()
    start = text.index('"sha256": "') + len('"sha256": "')
    dataset.write_text(text[:start] + "0" * 64 + text[start + 64 :])
    assert encode_dataset(config).encoded == 4


def test_sound_may_lie_in_a_file_of_its_own(config, dataset, tmp_path):
    encode_dataset(config)
    name = read_windows(config)[0].name
    before = read_tensors(Path(config.data.preprocessed_data_root) / "audio_latents" / f"{name}.pt")["latents"]
    write_wav(tmp_path / "apart.wav", (20_000 * np.sin(np.arange(64_000) / 9)).astype(np.int16)[None].repeat(2, 0))
    write_jsonl(dataset, [{**read_jsonl(dataset)[0], "audio": str(tmp_path / "apart.wav")}])
    assert encode_dataset(config).encoded == 2
    after = read_tensors(Path(config.data.preprocessed_data_root) / "audio_latents" / f"{name}.pt")["latents"]
    assert not torch.equal(before, after)


def test_held_out_windows_are_encoded_and_not_trained_on(config, dataset, tmp_path):
    row = read_jsonl(dataset)[0]
    twin = {**row, "video": row["video"].replace("bunny wakes", "bunny's hole"), "split": "heldout", "group": "g"}
    write_jsonl(dataset, [row, twin])
    assert encode_dataset(config).samples == 4
    assert [(window.split, window.group) for window in read_windows(config)] == [("train", None)] * 2 + [
        ("heldout", "g")
    ] * 2
    session = set_up(config, create_run_folder(tmp_path / "runs"))
    assert [sample.name for sample in session.stream.samples] == [
        f"{window.name}.pt" for window in read_windows(config) if window.split == "train"
    ]
    write_jsonl(dataset, [{**row, "split": "test"}])
    with pytest.raises(DataError, match="split is 'test'"):
        read_windows(config)


def test_a_clip_without_sound_is_refused_by_name(config, dataset):
    dataset.write_text(dataset.read_text().replace('"has_audio": true', '"has_audio": false'))
    with pytest.raises(DataError, match=r"bunny.*this clip has none") as caught:
        encode_dataset(config)
    assert "ltx_agent.incomplete_samples: leave_out" in caught.value.hint


def test_a_caption_longer_than_the_encoder_takes_is_refused_with_both_numbers(config, dataset):
    dataset.write_text(dataset.read_text().replace("A white rabbit", "A white rabbit " * 60))
    with pytest.raises(DataError, match=r"tokens, the text encoder takes 512"):
        encode_dataset(config)


def test_an_objective_with_references_says_which_column_it_lacks(config, config_for):
    reference = config.model_copy(update={"training_strategy": config_for("v2v_ic").training_strategy})
    with pytest.raises(DataError, match=r"bunny.*needs `reference_video`, but the dataset's row has none"):
        encode_dataset(reference)


@pytest.fixture
def with_inputs(config, config_for, dataset, tmp_path):
    """`with_inputs(objective, **agent)`: the config of an objective whose dataset has every column."""
    row = read_jsonl(dataset)[0]
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, 32:] = 255
    assert cv2.imwrite(str(tmp_path / "mask.png"), picture)
    assert cv2.imwrite(str(tmp_path / "still.png"), picture)
    level = np.zeros((2, 32_000), np.int16)
    level[:, :3200] = 30_000
    write_wav(tmp_path / "mask.wav", level)
    row |= {"reference_video": row["video"], "reference_audio": row["video"]}
    row |= {"video_mask": str(tmp_path / "mask.png"), "audio_mask": str(tmp_path / "mask.wav")}
    write_jsonl(dataset, [row])

    def build(objective: str, **agent) -> TrainingConfig:
        strategy = config_for(objective).training_strategy
        return with_agent(config.model_copy(update={"training_strategy": strategy}), **agent)

    return build


def first_file(config: TrainingConfig, directory: str) -> dict:
    return read_tensors(Path(config.data.preprocessed_data_root) / directory / f"{read_windows(config)[0].name}.pt")


def test_a_reference_is_encoded_as_the_target_is(with_inputs):
    config = with_inputs("av2av_ic")
    encode_dataset(config)
    assert torch.equal(first_file(config, "reference_latents")["latents"], first_file(config, "latents")["latents"])
    assert torch.equal(
        first_file(config, "reference_audio_latents")["latents"], first_file(config, "audio_latents")["latents"]
    )


def test_a_downscaled_reference_takes_the_first_frame_and_every_second_after_it(with_inputs, dataset):
    config = with_inputs("v2v_ic", reference_spatial_scale=2, reference_temporal_scale=2)
    row = read_jsonl(dataset)[0]
    write_jsonl(dataset, [{**row, "samples": [{"start_s": 0.0, "duration_s": 17 / 24, "bucket": "128x64x17"}]}])
    encode_dataset(config)
    reference = first_file(config, "reference_latents")
    assert reference["latents"].shape == (128, 2, 1, 2)
    assert reference["fps"] == 24.0, "the source's: trainers divide it by the temporal scale"
    source = read_frames(Path(row["video"]), 0.0, 17, 24.0, 64, 32)
    expected = video_content(tiny_source("tiny").video_vae(torch.float32), source[[0, 1, 3, 5, 7, 9, 11, 13, 15]], 12.0)
    assert torch.equal(reference["latents"], expected["latents"])


def test_several_references_are_encoded_into_folders_of_their_own(with_inputs, dataset, tmp_path):
    config = with_inputs("v2v_ic")
    conditions = [{"type": "reference", "latents_dir": name} for name in ("depth", "pose")]
    video = {"is_generated": True, "latents_dir": "latents", "conditions": conditions}
    strategy = type(config.strategy).model_validate({"video": video})
    config = config.model_copy(update={"training_strategy": strategy})
    with pytest.raises(DataError, match=r"needs `reference_video_2`, but the dataset's row has none") as caught:
        encode_dataset(config)
    assert "incomplete_samples: leave_out" in caught.value.hint
    write_jsonl(dataset, [{**read_jsonl(dataset)[0], "reference_video_2": str(tmp_path / "still.png")}])
    encode_dataset(config)
    assert torch.equal(first_file(config, "depth")["latents"], first_file(config, "latents")["latents"])
    assert first_file(config, "pose")["latents"].shape == (128, 1, 2, 3)


def test_what_is_incomplete_is_left_out_by_name_and_not_encoded(config, dataset):
    row = read_jsonl(dataset)[0]
    silent_clip = Path(row["video"]).with_name("silent.mp4")
    silent_clip.write_bytes(Path(row["video"]).read_bytes())
    write_jsonl(dataset, [row, {**row, "video": str(silent_clip), "has_audio": False}])
    said: list[str] = []
    summary = encode_dataset(with_agent(config, incomplete_samples="leave_out"), tell=said.append)
    assert summary.samples == 2
    silent = [name for name in said if "is left out: it has no audio." in name]
    assert len(silent) == 2
    assert all("silent.mp4" in name for name in silent)
    root = Path(config.data.preprocessed_data_root)
    assert len(list((root / "latents").rglob("*.pt"))) == len(list((root / "audio_latents").rglob("*.pt"))) == 2
    write_jsonl(dataset, [{**row, "has_audio": False}])
    with pytest.raises(DataError, match=r"None of 2 samples .* the first lacks `audio`"):
        encode_dataset(with_agent(config, incomplete_samples="leave_out"))


def test_an_image_is_a_reference_of_one_frame(with_inputs, dataset, tmp_path):
    config = with_inputs("v2v_ic")
    write_jsonl(dataset, [{**read_jsonl(dataset)[0], "reference_video": str(tmp_path / "still.png")}])
    encode_dataset(config)
    assert first_file(config, "reference_latents")["latents"].shape == (128, 1, 2, 3)


def test_masks_are_cut_like_the_picture_and_pooled_causally(with_inputs):
    config = with_inputs("video_inpainting")
    encode_dataset(config)
    mask = first_file(config, "video_masks")["mask"]
    assert mask.shape == (2, 2, 3)
    assert mask[0].tolist() == [[0, 1, 1], [0, 1, 1]]
    sound = with_inputs("audio_inpainting")
    encode_dataset(sound)
    level = first_file(sound, "audio_masks")["mask"]
    assert level.shape == (first_file(sound, "audio_latents")["num_time_steps"],)
    assert (level > 0.5).tolist() == [True] * 5 + [False] * (len(level) - 5)


def test_a_changed_mask_is_encoded_anew(with_inputs, tmp_path):
    config = with_inputs("video_inpainting")
    encode_dataset(config)
    assert cv2.imwrite(str(tmp_path / "mask.png"), np.full((64, 96, 3), 255, np.uint8))
    assert encode_dataset(config).encoded == 2
    assert float(first_file(config, "video_masks")["mask"].min()) == 1.0


def test_pooling_is_causal_in_time():
    keep = torch.zeros(17, 32, 32)
    keep[0] = 1
    keep[1:5] = 1
    assert pooled_mask(keep, VaeFactors(8, 32, 32)).flatten().tolist() == [1.0, 0.5, 0.0]


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.T.tobytes())


def test_no_dataset_is_refused(config):
    with pytest.raises(ConfigError, match="names no dataset"):
        encode_dataset(with_agent(config, dataset=None))


def test_stored_latents_are_normalised_by_the_vaes_own_statistics():
    source = tiny_source("tiny")
    video, audio = source.video_vae(torch.float32), source.audio_vae(torch.float32)
    video.latents_mean.copy_(torch.arange(128.0))
    audio.latents_mean.copy_(torch.arange(128.0))
    raw = torch.zeros(1, 128, 2, 2, 2)
    assert torch.allclose(normalise_video(raw, video)[0, 5], torch.tensor(-5 / 0.25))
    packed = normalise_audio(torch.zeros(1, 8, 3, 16), audio)
    # statistics are indexed channel · 16 + mel bin
    assert packed[0, 2, 1, 3] == pytest.approx(-(2 * 16 + 3) / 0.35, rel=1e-5)


def test_log_mel_peaks_where_the_tone_is():
    time = torch.arange(16_000) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * 440 * time), torch.sin(2 * torch.pi * 4000 * time)])
    mel = log_mel(tones, 16_000, 160, 64)
    assert mel.shape == (2, 101, 64)
    peaks = mel[:, 50].argmax(dim=-1)
    # slaney's scale: linear below 1 kHz (66.67 Hz a mel), logarithmic above; 64 bins up to 8 kHz
    edges = slaney_edges(64, 8000.0)
    for peak, hertz in zip(peaks.tolist(), (440.0, 4000.0), strict=True):
        assert edges[peak] <= hertz <= edges[peak + 2]
    assert float(log_mel(torch.zeros(1, 1600), 16_000, 160, 64).max()) == pytest.approx(-11.5129, abs=1e-3)


def slaney_edges(bins: int, top_hertz: float) -> list[float]:
    """The bins + 2 filter edges of slaney's mel scale, computed apart from the code under test."""
    step = 6.4 ** (1 / 27)

    def mel(hertz: float) -> float:
        import math

        return hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) / math.log(step)

    def hertz(value: float) -> float:
        return value * 200 / 3 if value < 15 else 1000 * step ** (value - 15)

    return [hertz(mel(top_hertz) * index / (bins + 1)) for index in range(bins + 2)]


def test_names_in_the_cache_never_collide_and_never_escape():
    assert sample_name("clips/a b'ü.mp4", 0) == "clips/a b'ü.mp4.000"
    media = ["clips/a.mp4", "clips/a.mov", "../clips/a.mp4", "../../clips/a.mp4", "/clips/a.mp4", "a.mp4"]
    media += ["x" * 250 + ".mp4", "x" * 251 + ".mp4"]
    names = [sample_name(one, window) for one in media for window in (0, 1)]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name.rsplit("/", 1)[-1]) <= 200
        assert not name.startswith("/")
        assert ".." not in name.split("/")


def test_the_trigger_never_stands_twice():
    assert with_trigger("a dog", "ohwx") == "ohwx a dog"
    assert with_trigger("OHWX, a dog", "ohwx") == "OHWX, a dog"
    assert with_trigger("a dogohwx", "ohwx") == "ohwx a dogohwx"
    assert with_trigger("a dog", None) == "a dog"


def test_sound_alone_is_encoded_for_an_audio_objective(config, config_for, dataset):
    row = read_jsonl(dataset)[0]
    sound = {**row, "audio": row.pop("video"), "samples": [{"start_s": 0.0, "duration_s": 0.5, "bucket": None}]}
    write_jsonl(dataset, [sound])
    audio_only = config.model_copy(update={"training_strategy": config_for("t2a").training_strategy})
    assert encode_dataset(audio_only).encoded == 2
    with pytest.raises(DataError, match="needs pictures"):
        encode_dataset(config)


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    cache = open_cache(tmp_path)
    first, second = entry_of({"caption": "first"}), entry_of({"caption": "second"})
    cache.write("latents", "a", first, {"x": torch.zeros(2)})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ExternalError, match="disk is full"):
        cache.write("latents", "a", second, {"x": torch.ones(2)})
    assert torch.equal(read_tensors(cache.path("latents", "a"))["x"], torch.zeros(2))
    assert [path.name for path in (tmp_path / "latents").iterdir()] == ["a.pt"]
    assert open_cache(tmp_path).holds("latents", "a", first)
