"""Sampling what a run trained: without a prompt, with prompts and conditions, with adapters beside it; refusals."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from layouts import write_split
from PIL import Image
from safetensors import safe_open

from tools.deliver.sample import SampleArguments, SampleResult, parse_condition, sample_files, sample_run, split_targets
from trainer_core.errors import ConfigError
from trainer_core.model.tiny import TinySource
from trainer_core.run_folder import RunFolder, RunStatus
from trainer_core.trained_as import read_trained_as

TWO_REFERENCES = [
    {"type": "reference", "latents_dir": "reference_latents"},
    {"type": "reference", "latents_dir": "pose"},
]


def sampled(run: RunFolder, to: Path, **asked: Any) -> SampleResult:
    return sample_run(run, SampleArguments(**asked), None, to)


def test_without_a_prompt_it_shows_trained_unseen_and_foreign_ones(run: RunFolder, tmp_path: Path) -> None:
    result = sampled(run, tmp_path / "out", base=False)
    assert result.tiny
    assert result.prompts[:2] == ["bnny a rabbit wakes", "bnny a rabbit's hole"]
    assert all(prompt.startswith("bnny ") for prompt in result.prompts)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [row["kind"] for row in index["prompts"]] == [
        "in_distribution",
        "held_out",
        "out_of_distribution",
        "out_of_distribution",
    ]
    assert [(row["width"], row["height"], row["frames"]) for row in index["prompts"]] == [(64, 32, 9)] * 4
    page = Path(result.page).read_text()
    assert "the caption of a clip it never saw" in page
    assert "without a claim about quality" in page
    with av.open(str(tmp_path / "out" / result.files[0])) as opened:
        assert "noise" in opened.metadata["comment"]
        assert opened.streams.video[0].frames == 9
        assert opened.streams.audio
    with pytest.raises(ConfigError, match="isn't empty"):
        sampled(run, tmp_path / "out")


def test_several_adapters_at_once_with_their_conflicts(run: RunFolder, tmp_path: Path) -> None:
    own = next(run.checkpoints.glob("*.safetensors"))
    result = sampled(run, tmp_path / "out", prompts=["a fox"], adapters=[f"{own}=-1"], base=True)
    assert "both change" in result.conflicts[0]
    document = json.loads((tmp_path / "out" / "adapters.json").read_text())
    assert [one["weight"] for one in document["adapters"]] == [1.0, -1.0]
    page = (tmp_path / "out" / "index.html").read_text()
    assert f"Samples of run {run.id} + {own.name} at -1<" in page
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    posters = [(tmp_path / "out" / row["poster"]).read_bytes() for row in index["samples"]]
    base, both = (np.asarray(Image.open(io.BytesIO(poster))).astype(int) for poster in posters)
    assert np.abs(base - both).max() <= 2, "an adapter and its opposite leave the base, up to rounding"


def test_a_file_alone_makes_what_it_was_trained_for(
    make_run: Callable[..., RunFolder], run: RunFolder, tmp_path: Path
) -> None:
    sound = next(make_run("t2a").checkpoints.glob("*.safetensors"))
    asked = {"prompts": ["rain"], "size": "64x32x9", "steps": 2, "base": False}
    alone = sample_files("tiny", SampleArguments(adapters=[str(sound)], **asked), None, tmp_path / "alone")
    assert [Path(file).name for file in alone.files] == ["step_00003.wav"]
    both = [str(sound), str(next(run.checkpoints.glob("*.safetensors")))]
    together = sample_files("tiny", SampleArguments(adapters=both, **asked), None, tmp_path / "together")
    assert [Path(file).suffix for file in together.files] == [".mp4"]
    page = (tmp_path / "alone" / "index.html").read_text()
    assert "<audio" in page
    assert "step 3" in page


def test_an_in_context_file_with_a_first_frame_makes_the_picture_alone_from_its_reference(
    make_run: Callable[..., RunFolder], cut_footage: Path, tmp_path: Path
) -> None:
    """As an official YAML trains it: nothing names the objective but roles and reference."""
    file = next(make_run("v2v_ic", {"ltx_agent": {"objective": None}}).checkpoints.glob("*.safetensors"))
    asked = {"prompts": ["rain"], "size": "64x32x9", "steps": 2, "base": False, "adapters": [str(file)]}
    bare = sample_files("tiny", SampleArguments(**asked), None, tmp_path / "bare")
    wants = f"{file.name} was trained with a reference of video; none given: add reference=FILE."
    assert wants in bare.notes
    conditions = [f"reference={cut_footage / 'bunny wakes.mp4'}"]
    made = sample_files("tiny", SampleArguments(**asked, conditions=conditions), None, tmp_path / "made")
    assert wants not in made.notes
    assert not any("none of these files" in note for note in made.notes)
    with av.open(str(tmp_path / "made" / made.files[0])) as opened:
        assert not opened.streams.audio, "it was trained without sound"


def test_a_file_that_follows_a_picture_asks_for_one(make_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    file = next(make_run("v2a", {"ltx_agent": {"objective": None}}).checkpoints.glob("*.safetensors"))
    asked = {"prompts": ["rain"], "size": "64x32x9", "steps": 2, "base": False, "adapters": [str(file)]}
    bare = sample_files("tiny", SampleArguments(**asked), None, tmp_path / "bare")
    assert f"{file.name} was trained to follow a given video, and none is given: add video_to_audio=FILE." in bare.notes
    assert [Path(name).suffix for name in bare.files] == [".wav"]


def test_a_file_of_two_references_says_so_and_each_has_a_scale_of_its_own(
    make_run: Callable[..., RunFolder], cut_footage: Path, tmp_path: Path
) -> None:
    run = make_run("v2v_ic", {"training_strategy": {"video": {"conditions": TWO_REFERENCES}}})
    file = next(run.checkpoints.glob("*.safetensors"))
    with safe_open(file, framework="pt") as opened:
        known = read_trained_as(opened.metadata())
    assert known is not None
    assert known.video.references == ((1, 1), (1, 1))
    asked = {"prompts": ["rain"], "size": "64x32x9", "steps": 2, "base": False, "adapters": [str(file)]}
    clip = cut_footage / "bunny wakes.mp4"
    one = sample_files("tiny", SampleArguments(**asked, conditions=[f"reference={clip}"]), None, tmp_path / "one")
    assert f"{file.name} was trained with 2 references of video; 1 given: add reference=FILE." in one.notes
    both = [f"reference={clip}", f"reference={clip}"]
    two = sample_files("tiny", SampleArguments(**asked, conditions=both), None, tmp_path / "two")
    assert not any("was trained with 2" in note for note in two.notes)
    wrong = SampleArguments(**asked, conditions=[both[0], f"{both[1]},downscale_factor=2"])
    with pytest.raises(ConfigError, match="its reference 2: this one is given at 1/2"):
        sample_files("tiny", wrong, None, tmp_path / "wrong")


def test_what_an_objective_is_given_comes_from_the_clips(make_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    run = make_run("v2v_ic")
    result = sampled(run, tmp_path / "out", base=False)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["prompts"][0]["conditions"][0].startswith("reference (bunny wakes.mp4")
    with av.open(str(tmp_path / "out" / result.files[0])) as opened:
        assert opened.streams.video[0].width == 128, "the reference stands beside the result"
        assert not opened.streams.audio


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"prompts": ["x" * 600]}, "has 601 tokens, the text encoder takes 512"),
        ({"prompts": ["a"], "size": "100x64x9"}, "no multiple of 32"),
        ({"prompts": ["a"], "conditions": ["first_frame=none.png"]}, "There is no file"),
        ({"prompts": ["a"], "conditions": ["teleport=x.png"]}, "condition `teleport=x.png` is wrong"),
        ({"prompts": ["a"], "adapters": ["none.safetensors=0.5"]}, "There is no file none.safetensors"),
        ({"prompts": ["a"], "weight": float("nan")}, "has the weight nan"),
        ({"conditions": ["first_frame=x.png"]}, "no prompt"),
    ],
)
def test_what_is_refused_is_named(run: RunFolder, tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as error:
        sampled(run, tmp_path / "out", **asked)
    assert getattr(error.value, "hint", "")
    assert not list((tmp_path / "out").glob("*/*.mp4"))


def test_a_reference_of_another_scale_than_trained_is_refused(
    run: RunFolder, cut_footage: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    own = next(run.checkpoints.glob("*.safetensors"))
    with safe_open(own, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = {**file.metadata(), "reference_downscale_factor": "2"}
    save_file(tensors, tmp_path / "ic.safetensors", metadata=metadata)
    clip = cut_footage / "bikes_1.mp4"
    with pytest.raises(ConfigError, match="trained with references at 1/2 of the size") as error:
        sampled(
            run,
            tmp_path / "out",
            prompts=["a"],
            adapters=[str(tmp_path / "ic.safetensors")],
            conditions=[f"reference={clip}"],
        )
    assert "downscale_factor=2" in error.value.hint
    # the run's own LoRA, which says that it knows no reference, has no say beside it
    beside = sampled(
        run,
        tmp_path / "beside",
        prompts=["a"],
        size="64x64x9",
        base=False,
        adapters=[str(tmp_path / "ic.safetensors")],
        conditions=[f"reference={clip},downscale_factor=2"],
    )
    assert not any("none of these files" in note for note in beside.notes)
    alone = sampled(run, tmp_path / "alone", prompts=["a"], base=False, conditions=[f"reference={clip}"])
    assert "A reference is given, but none of these files was trained with one." in alone.notes


def test_a_run_that_still_goes_on_keeps_the_machine(make_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    import os
    import time

    run = make_run()
    run.write_status(RunStatus("running", 1, 3, pid=os.getpid(), lease_expires_at=time.time() + 60))
    with pytest.raises(ConfigError, match="still running"):
        sampled(run, tmp_path / "out", prompts=["a"])


def test_files_without_a_run_need_a_model_of_their_version(run: RunFolder, tmp_path: Path) -> None:
    own = next(run.checkpoints.glob("*.safetensors"))
    asked = SampleArguments(prompts=["a"], adapters=[str(own)], size="64x32x9", steps=2, base=False)
    result = sample_files("tiny", asked, None, tmp_path / "out")
    assert len(result.files) == 1
    with pytest.raises(ConfigError, match=r"was made for LTX-2\.3; this model is LTX-2\.5"):
        sample_files("tiny:2.5", asked, None, tmp_path / "other")


def test_targets_are_a_run_and_files_with_weights(run: RunFolder) -> None:
    found, weight, files = split_targets([f"{run.path}=0.7", "a=b.safetensors=0.5", "c.safetensors"])
    assert found is not None
    assert (found.path, weight, files) == (run.path, 0.7, ["a=b.safetensors=0.5", "c.safetensors"])
    with pytest.raises(ConfigError, match="Two runs"):
        split_targets([str(run.path), str(run.path)])
    with pytest.raises(ConfigError, match="`x` is no weight"):
        split_targets(["a.safetensors=x"])


def test_conditions_in_words(cut_footage: Path) -> None:
    clip = cut_footage / "bikes_1.mp4"
    prefix = parse_condition(f"prefix={clip},num_frames=9")
    assert (prefix.video, prefix.audio, prefix.num_frames) == (str(clip), None, 9)
    forced = parse_condition(f"suffix={clip},side=audio,duration=0.5")
    assert (forced.video, forced.audio) == (None, str(clip))
    crop = parse_condition(f"spatial_crop={clip},spatial_region=0:0:32:32")
    assert crop.spatial_region == (0, 0, 32, 32)
    with pytest.raises(ConfigError, match="is no condition"):
        parse_condition("prefix")


def test_a_split_pack_samples_with_the_encoder_beside_it_and_names_a_block_it_lacks(
    run: RunFolder, tmp_path: Path
) -> None:
    tokenizer, encoder = TinySource("2.3").text_encoder(torch.float32)
    encoder.save_pretrained(tmp_path / "gemma")
    tokenizer.save_pretrained(tmp_path / "gemma")
    pack = str(write_split(tmp_path, "2.3"))
    own = str(run.path / (run.read_status().last_checkpoint or ""))
    asked = {"prompts": ["a fox"], "size": "64x64x9", "steps": 2, "base": False, "adapters": [own]}
    with pytest.raises(ConfigError, match="this model has the blocks 0 to 1") as error:
        sample_files(pack, SampleArguments(**asked), None, tmp_path / "out", tmp_path / "gemma")
    assert "at block 28" in error.value.hint
    assert not (tmp_path / "out").exists(), "refused before the prompt was encoded"
    made = sample_files(pack, SampleArguments(**asked, stg_scale=0), None, tmp_path / "out", tmp_path / "gemma")
    with av.open(str(Path(made.folder) / made.files[0])) as opened:
        assert len(list(opened.decode(video=0))) == 9


def test_a_try_that_failed_leaves_its_folder_to_the_next(tmp_path: Path, run: RunFolder) -> None:
    from safetensors.torch import load_file, save_file

    good = run.path / run.read_status().last_checkpoint
    bad, tensors = tmp_path / "bad.safetensors", load_file(good)
    save_file({key.replace("blocks.0.", "blocks.77."): tensor for key, tensor in tensors.items()}, bad)
    asked = {"prompts": ["a fox"], "size": "64x64x9", "steps": 2, "base": False}
    with pytest.raises(ConfigError, match="doesn't have"):
        sample_files("tiny", SampleArguments(adapters=[str(bad)], **asked), None, tmp_path / "out")
    made = sample_files("tiny", SampleArguments(adapters=[str(good)], **asked), None, tmp_path / "out")
    assert made.files
    with pytest.raises(ConfigError, match="isn't empty"):
        sample_files("tiny", SampleArguments(adapters=[str(good)], **asked), None, tmp_path / "out")
