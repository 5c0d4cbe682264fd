"""Clips to latents with the real classes at tiny size, on real footage: upstream's layout, nothing made twice."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainer_core.config import LtxAgentSection, TrainingConfig
from trainer_core.data.cache import open_cache, read_tensors, sample_name
from trainer_core.data.encode import encode_dataset, normalise_audio, normalise_video, read_windows, with_trigger
from trainer_core.data.mel import log_mel
from trainer_core.errors import ConfigError, DataError, ExternalError
from trainer_core.files import read_jsonl, write_jsonl
from trainer_core.model.tiny import tiny_source


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


def test_a_kill_between_a_file_and_the_manifest_costs_only_that_file(config):
    encode_dataset(config)
    cache = open_cache(Path(config.data.preprocessed_data_root))
    forgotten = next(name for name in cache.fingerprints if name.startswith("latents/"))
    del cache.fingerprints[forgotten]
    cache.save_manifest()
    assert encode_dataset(config).encoded == 1


def test_a_clip_without_sound_is_refused_by_name(config, dataset):
    dataset.write_text(dataset.read_text().replace('"has_audio": true', '"has_audio": false'))
    with pytest.raises(DataError, match=r"bunny.*this clip has none"):
        encode_dataset(config)


def test_a_caption_longer_than_the_encoder_takes_is_refused_with_both_numbers(config, dataset):
    dataset.write_text(dataset.read_text().replace("A white rabbit", "A white rabbit " * 60))
    with pytest.raises(DataError, match=r"tokens, the text encoder takes 512"):
        encode_dataset(config)


def test_an_objective_with_references_says_which_column_it_lacks(config, config_for):
    reference = config.model_copy(update={"training_strategy": config_for("v2v_ic").training_strategy})
    with pytest.raises(DataError, match="`reference_video`"):
        encode_dataset(reference)


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
    cache.write("latents", "a", "first", {"x": torch.zeros(2)})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ExternalError, match="disk is full"):
        cache.write("latents", "a", "second", {"x": torch.ones(2)})
    assert torch.equal(read_tensors(cache.path("latents", "a"))["x"], torch.zeros(2))
    assert [path.name for path in (tmp_path / "latents").iterdir()] == ["a.pt"]
    assert not replace(cache).holds("latents", "a", "first")
