"""Samples from a precomputed folder, batches of one shape, and an order that is a pure function of (seed, epoch)."""

import shutil
from pathlib import Path

import pytest
import torch

from trainer_core.data.batch import Batch, to_tokens
from trainer_core.data.dataset import BatchStream, load_batch, load_batches, plan_epoch
from trainer_core.data.samples import check_widths, find_samples, leave_out_of
from trainer_core.errors import ConfigError, DataError
from trainer_core.model.tiny import tiny_source
from trainer_core.objective import VaeFactors, objective_of

FACTORS = VaeFactors(8, 32, 32)


def samples_of(config_for, objective: str, overlay=None):
    config = config_for(objective, overlay)
    chosen = objective_of(config.strategy)
    return find_samples(Path(config.data.preprocessed_data_root), chosen, FACTORS), chosen


def test_a_batch_holds_every_input_of_its_objective(config_for):
    samples, objective = samples_of(config_for, "av2av_ic")
    batch = load_batch(samples[:2], objective, (0, 1))
    assert batch.clips == ("clips/clip 0.pt", "clips/clip 1.pt")
    assert batch.video is not None
    assert batch.audio is not None
    assert batch.video.latents.shape == (2, 128, 3, 2, 3)
    assert list(batch.video.references) == ["reference_latents"]
    assert list(batch.audio.references) == ["reference_audio_latents"]
    assert batch.video.references["reference_latents"].latents.shape == (2, 128, 3, 2, 3)
    rates = batch.video.references["reference_latents"].frame_rate
    assert rates is not None
    assert rates.tolist() == [24.0, 24.0]
    assert batch.video.frame_rate is not None
    assert batch.video.frame_rate.tolist() == [24.0, 24.0]
    assert batch.audio.latents.shape == (2, 8, 18, 16)
    assert batch.text_mask.sum(1).tolist() == [40, 41]


def test_an_absent_modality_is_not_even_looked_for(config_for, precomputed):
    (precomputed / "audio_latents").rename(precomputed / "gone")
    samples, objective = samples_of(config_for, "v2v_ic")
    assert load_batch(samples[:1], objective, (0,)).audio is None


@pytest.mark.parametrize(
    ("objective", "directory", "column"),
    [
        ("t2v", "audio_latents", "audio"),
        ("v2v_ic", "reference_latents", "reference_video"),
        ("a2a_ic", "reference_audio_latents", "reference_audio"),
        ("video_inpainting", "video_masks", "video_mask"),
        ("audio_inpainting", "audio_masks", "audio_mask"),
    ],
)
def test_a_missing_input_is_refused_with_its_column_and_clip(config_for, precomputed, objective, directory, column):
    (precomputed / directory / "clips/clip 2.pt").unlink()
    with pytest.raises(DataError, match=rf"1 of 4 samples have no `{column}`.*clip 2"):
        samples_of(config_for, objective)


def test_no_latents_at_all_is_refused(config_for, precomputed):
    (precomputed / "latents").rename(precomputed / "gone")
    with pytest.raises(DataError, match="no latents"):
        samples_of(config_for, "t2v")


def test_a_prefix_as_long_as_the_clip_is_refused(config_for):
    prefix = [{"type": "prefix", "temporal_boundary": 3}]
    video = {"is_generated": True, "latents_dir": "latents", "conditions": prefix}
    with pytest.raises(
        ConfigError, match=r"prefix of 3 latent frames leaves no frame to train on: clips/clip 0.pt has 3"
    ):
        samples_of(config_for, "t2v", {"training_strategy": {"video": video}})


def test_a_mask_of_another_shape_is_refused(config_for, precomputed):
    torch.save({"mask": torch.ones(3, 4, 4)}, precomputed / "video_masks/clips/clip 1.pt")
    with pytest.raises(DataError, match=r"clip 1.pt: its video mask is \(3, 4, 4\), its latents are \(3, 2, 3\)"):
        samples_of(config_for, "video_inpainting")


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_a_mask_that_keeps_everything_is_refused_before_a_model_loads(config_for, precomputed, modality):
    path = precomputed / f"{modality}_masks/clips/clip 1.pt"
    mask = torch.ones(3, 2, 3) if modality == "video" else torch.ones(18)
    torch.save({"mask": mask}, path)
    with pytest.raises(DataError, match=rf"clip 1.pt: its {modality} mask keeps everything") as caught:
        samples_of(config_for, f"{modality}_inpainting")
    assert "0 = generate, 1 = keep" in caught.value.hint
    mask[0] = 0
    torch.save({"mask": mask}, path)
    samples_of(config_for, f"{modality}_inpainting")
    conditions = [
        {"type": "mask", "mask_dir": f"{modality}_masks"},
        {"type": "prefix", "temporal_boundary": 1},  # what the mask leaves free
    ]
    side = {"training_strategy": {modality: {"conditions": conditions}}}
    with pytest.raises(DataError, match="keeps everything"):
        samples_of(config_for, f"{modality}_inpainting", side)


def test_latents_without_their_frame_rate_have_upstreams(config_for, precomputed, caplog):
    path = precomputed / "latents/clips/clip 1.pt"
    content = torch.load(path)
    del content["fps"]
    torch.save(content, path)
    samples, objective = samples_of(config_for, "t2v")
    assert (
        "1 of 4 samples don't state their frame rate (`fps`), the first is clips/clip 1.pt; 24 per second"
        in caplog.text
    )
    batch = load_batch(samples[1:2], objective, (1,))
    assert batch.video is not None
    assert batch.video.frame_rate is not None
    assert batch.video.frame_rate.tolist() == [24.0]


@pytest.mark.parametrize(("directory", "modality"), [("latents", "video"), ("audio_latents", "audio")])
def test_latents_stored_as_tokens_are_the_same_latents(config_for, precomputed, directory, modality):
    samples, objective = samples_of(config_for, "t2v")
    before = load_batch(samples, objective, (0, 1, 2, 3)).modality(modality)
    path = precomputed / directory / "clips/clip 1.pt"
    content = torch.load(path)
    torch.save({**content, "latents": to_tokens(content["latents"][None])[0].contiguous()}, path)
    samples, objective = samples_of(config_for, "t2v")
    assert torch.load(path)["latents"].ndim == 2
    after = load_batch(samples, objective, (0, 1, 2, 3)).modality(modality)
    assert after is not None
    assert before is not None
    assert torch.equal(before.latents, after.latents)
    assert len({sample.shape for sample in samples}) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"latents": torch.zeros(18, 128)}, "not all of `num_frames`, `height` and `width`"),
        ({"latents": torch.zeros(17, 128), "num_frames": 3, "height": 2, "width": 3}, "17 video tokens.* are 3x2x3"),
        ({"latents": torch.zeros(8, 18, 16)}, r"latents of video are \[channels, frames, rows, columns\]"),
        ({"latents": torch.zeros(128)}, r"these are \(128,\)"),
        ({"num_frames": 3}, "holds no tensor `latents`"),
    ],
)
def test_latents_of_no_known_form_are_refused(config_for, precomputed, content, said):
    torch.save(content, precomputed / "latents/clips/clip 1.pt")
    with pytest.raises(DataError, match=said) as caught:
        samples_of(config_for, "t2v")
    assert "clip 1.pt" in caught.value.message
    assert caught.value.exit_code == 3


def test_a_frame_rate_that_is_none_is_refused(config_for, precomputed):
    path = precomputed / "latents/clips/clip 1.pt"
    torch.save({**torch.load(path), "fps": 0.0}, path)
    samples, objective = samples_of(config_for, "t2v")
    with pytest.raises(DataError, match="states a frame rate of 0"):
        load_batch(samples[1:2], objective, (1,))


def test_an_incomplete_sample_is_left_out_by_name_where_that_is_asked_for(config_for, precomputed):
    (precomputed / "audio_latents/clips/clip 2.pt").unlink()
    with pytest.raises(DataError) as caught:
        samples_of(config_for, "t2v")
    assert "ltx_agent.incomplete_samples: leave_out" in caught.value.hint
    config = config_for("t2v", {"ltx_agent": {"incomplete_samples": "leave_out"}})
    left_out: dict[str, str] = {}
    samples = find_samples(precomputed, objective_of(config.strategy), FACTORS, None, leave_out_of(config, left_out))
    assert [sample.name for sample in samples] == ["clips/clip 0.pt", "clips/clip 1.pt", "clips/clip 3.pt"]
    assert left_out == {"clips/clip 2": "audio"}


def test_no_complete_sample_at_all_is_refused_all_the_same(config_for, precomputed):
    (precomputed / "audio_latents").rename(precomputed / "gone")
    config = config_for("t2v", {"ltx_agent": {"incomplete_samples": "leave_out"}})
    with pytest.raises(DataError, match=r"None of 4 samples .* the first lacks `audio`"):
        find_samples(precomputed, objective_of(config.strategy), FACTORS, None, leave_out_of(config))


def _break(path: Path, how: str) -> None:
    content = torch.load(path)
    if how == "shape":
        content["latents"] = content["latents"][:, :2]
    elif how == "key":
        del content["latents"]
    torch.save(content, path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif how == "gone":
        path.unlink()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("shape", r"is \(2, 2, 3\) now; it was \(3, 2, 3\)"),
        ("key", "holds no tensor `latents`"),
        ("cut", "can't be read"),
        ("gone", "can't be read"),
    ],
)
def test_what_breaks_while_training_is_a_fault_of_the_data(config_for, precomputed, how, said, workers):
    samples, objective = samples_of(config_for, "t2v")
    stream = BatchStream(samples, objective, 2, seed=1)
    _break(precomputed / "latents/clips/clip 1.pt", how)
    batches = load_batches(stream, 0, 4, rank=0, ranks=1, accumulation=1, workers=workers, prepare=lambda batch: batch)
    with pytest.raises(DataError, match=said) as caught:
        list(batches)
    assert caught.value.exit_code == 3
    assert "clip 1.pt" in caught.value.message
    assert "Traceback" not in str(caught.value)


def test_several_references_are_loaded_by_their_folders(config_for, precomputed):
    shutil.copytree(precomputed / "reference_latents", precomputed / "pose")
    for path in (precomputed / "pose/clips").iterdir():
        content = torch.load(path)
        torch.save({**content, "latents": content["latents"][:, :1], "num_frames": 1, "fps": 12.0}, path)
    conditions = [{"type": "reference", "latents_dir": name} for name in ("reference_latents", "pose")]
    samples, objective = samples_of(config_for, "v2v_ic", {"training_strategy": {"video": {"conditions": conditions}}})
    assert dict(samples[0].shape)["video_reference_2"] == (1, 2, 3)
    batch = load_batch(samples[:2], objective, (0, 1))
    assert batch.video is not None
    assert list(batch.video.references) == ["reference_latents", "pose"]
    assert batch.video.references["pose"].latents.shape == (2, 128, 1, 2, 3)
    rates = batch.video.references["pose"].frame_rate
    assert rates is not None
    assert rates.tolist() == [12.0, 12.0]
    (precomputed / "pose/clips/clip 3.pt").unlink()
    with pytest.raises(DataError, match="1 of 4 samples have no `reference_video_2`"):
        samples_of(config_for, "v2v_ic", {"training_strategy": {"video": {"conditions": conditions}}})


@pytest.mark.parametrize(
    ("objective", "directory", "content", "said"),
    [
        ("t2v", "latents", {"latents": torch.zeros(64, 3, 2, 3), "fps": 24.0}, "video latents are 64 wide"),
        ("t2v", "audio_latents", {"latents": torch.zeros(4, 18, 16)}, "audio latents are 64 wide"),
        ("v2v_ic", "reference_latents", {"latents": torch.zeros(16, 3, 2, 3)}, "video reference latents are 16 wide"),
        ("a2a_ic", "reference_audio_latents", {"latents": torch.zeros(8, 9, 8)}, "audio reference latents are 64 wide"),
        ("t2a", "conditions", {"prompt_embeds": torch.zeros(512, 40)}, "audio text features are 40 wide"),
        ("v2v_ic", "conditions", {"prompt_embeds": torch.zeros(512, 32)}, "video text features are 32 wide"),
    ],
)
def test_what_another_model_encoded_is_refused_by_name(config_for, precomputed, objective, directory, content, said):
    mask = {"prompt_attention_mask": torch.ones(512)} if directory == "conditions" else {}
    torch.save({**content, **mask}, precomputed / directory / "clips/clip 2.pt")
    samples, chosen = samples_of(config_for, objective)
    with pytest.raises(DataError, match=rf"clip 2.pt: its {said}, this model takes"):
        check_widths(samples, chosen, tiny_source("tiny").widths)
    check_widths(samples[:2], chosen, tiny_source("tiny").widths)


def test_captions_of_several_lengths_never_share_a_batch(config_for, precomputed):
    torch.save(
        {"prompt_embeds": torch.ones(256, 32), "prompt_attention_mask": torch.ones(256)},
        precomputed / "conditions/clips/clip 3.pt",
    )
    samples, _ = samples_of(config_for, "t2v")
    assert [3] in plan_epoch(samples, 4, seed=0, epoch=0)


def test_a_damaged_file_is_named(config_for, precomputed):
    path = precomputed / "latents/clips/clip 1.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"clip 1.pt can't be read"):
        samples_of(config_for, "t2v")


def test_a_pickle_with_code_is_refused(config_for, precomputed, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    torch.save({"latents": Evil()}, precomputed / "latents/clips/clip 1.pt")
    with pytest.raises(DataError, match=r"clip 1.pt can't be read"):
        samples_of(config_for, "t2v")
    assert not (tmp_path / "pwned").exists()


def test_upstream_legacy_conditions_serve_both_modalities(config_for, precomputed):
    for index in range(4):
        path = precomputed / f"conditions/clips/clip {index}.pt"
        torch.save({"prompt_embeds": torch.ones(512, 32), "prompt_attention_mask": torch.ones(512)}, path)
    samples, objective = samples_of(config_for, "t2v")
    batch = load_batch(samples[:1], objective, (0,))
    assert torch.equal(batch.video_features, batch.audio_features)


def test_the_order_depends_on_seed_and_epoch_alone(config_for):
    samples, _ = samples_of(config_for, "t2v")
    assert plan_epoch(samples, 2, seed=1, epoch=3) == plan_epoch(samples, 2, seed=1, epoch=3)
    orders = {str(plan_epoch(samples, 1, seed=1, epoch=epoch)) for epoch in range(8)}
    assert len(orders) > 1
    assert plan_epoch(samples, 1, seed=0, epoch=0) != plan_epoch(samples, 1, seed=5, epoch=0)


def test_an_epoch_brings_every_sample_once_and_never_mixes_shapes(config_for, precomputed):
    other = {"latents": torch.zeros(128, 2, 2, 3), "num_frames": 2, "height": 2, "width": 3, "fps": 24.0}
    torch.save(other, precomputed / "latents/clips/clip 3.pt")
    samples, _ = samples_of(config_for, "t2v")
    batches = plan_epoch(samples, 2, seed=0, epoch=0)
    assert sorted(index for batch in batches for index in batch) == [0, 1, 2, 3]
    assert [3] in batches


def as_it_is(batch: Batch) -> Batch:
    return batch


def test_ranks_share_an_epoch_without_overlap(config_for):
    samples, objective = samples_of(config_for, "t2v")
    stream = BatchStream(samples, objective, batch_size=1, seed=0)
    seen = [
        [
            batch.indices
            for batch in load_batches(stream, 0, 2, rank=rank, ranks=2, accumulation=1, workers=0, prepare=as_it_is)
        ]
        for rank in range(2)
    ]
    assert sorted(index for rank in seen for batch in rank for index in batch) == [0, 1, 2, 3]


def test_reading_ahead_in_a_process_changes_nothing(config_for):
    samples, objective = samples_of(config_for, "t2v")
    stream = BatchStream(samples, objective, batch_size=2, seed=0)
    here, ahead = (
        list(load_batches(stream, 1, 4, rank=0, ranks=1, accumulation=1, workers=workers, prepare=as_it_is))
        for workers in (0, 1)
    )
    assert [batch.clips for batch in here] == [batch.clips for batch in ahead]
    assert here[0].video is not None
    assert ahead[0].video is not None
    assert torch.equal(here[0].video.latents, ahead[0].video.latents)


def test_only_what_the_dataset_declares_is_trained(config_for, precomputed):
    objective = objective_of(config_for("t2v").strategy)
    samples = find_samples(precomputed, objective, FACTORS, only=["clips/clip 1", "clips/clip 3"])
    assert [sample.name for sample in samples] == ["clips/clip 1.pt", "clips/clip 3.pt"]
    with pytest.raises(DataError, match=r"1 of 1 samples of the dataset are not encoded; the first is clips/new.pt"):
        find_samples(precomputed, objective, FACTORS, only=["clips/new"])
