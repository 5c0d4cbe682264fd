"""Samples from a precomputed folder, batches of one shape, and an order that is a pure function of (seed, epoch)."""

from pathlib import Path

import pytest
import torch

from trainer_core.data.batch import Batch
from trainer_core.data.dataset import BatchStream, check_widths, find_samples, load_batch, load_batches, plan_epoch
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
    assert batch.video.reference is not None
    assert batch.audio.reference is not None
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


def test_latents_without_their_frame_rate_are_named(config_for, precomputed):
    torch.save({"latents": torch.zeros(128, 3, 2, 3)}, precomputed / "latents/clips/clip 1.pt")
    with pytest.raises(DataError, match=r"clip 1.pt doesn't say its frame rate"):
        samples_of(config_for, "t2v")


@pytest.mark.parametrize(
    ("objective", "directory", "content", "said"),
    [
        ("t2v", "latents", {"latents": torch.zeros(64, 3, 2, 3), "fps": 24.0}, "video latents are 64 wide"),
        ("t2v", "audio_latents", {"latents": torch.zeros(4, 18, 16)}, "audio latents are 64 wide"),
        ("v2v_ic", "reference_latents", {"latents": torch.zeros(16, 3, 2, 3)}, "video latents are 16 wide"),
        ("a2a_ic", "reference_audio_latents", {"latents": torch.zeros(8, 9, 8)}, "audio latents are 64 wide"),
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
