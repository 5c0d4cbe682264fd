"""Depth, mattes and poses by local models of the real classes, tiny and random: the way in and out, not the look."""

from pathlib import Path

import numpy as np
import pytest

from tools.inspect.inputs.models import depth, matte, pose
from trainer_core.errors import ConfigError

PICTURES = [np.random.default_rng(index).integers(0, 255, (48, 80, 3), np.uint8) for index in range(2)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Depth Anything, SegFormer and ViTPose as transformers has them, a few thousand weights each."""
    import torch
    from transformers import (
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
        DPTImageProcessor,
        SegformerConfig,
        SegformerForSemanticSegmentation,
        SegformerImageProcessor,
        VitPoseBackboneConfig,
        VitPoseConfig,
        VitPoseForPoseEstimation,
        VitPoseImageProcessor,
    )

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("models")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    backbone = Dinov2Config(**size, intermediate_size=32, out_indices=[1, 2], reshape_hidden_states=False)
    tall = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        patch_size=14,
        neck_hidden_sizes=[16, 16],
        fusion_hidden_size=16,
        reassemble_factors=[1, 0.5],
        head_hidden_size=16,
    )
    DepthAnythingForDepthEstimation(tall).save_pretrained(root / "depth")
    DPTImageProcessor(size={"height": 28, "width": 28}, ensure_multiple_of=14).save_pretrained(root / "depth")
    labels = {0: "background", 1: "person"}
    parts = SegformerConfig(
        hidden_sizes=[8, 16, 16, 16], depths=[1] * 4, num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        id2label=labels, label2id={name: index for index, name in labels.items()},
    )  # fmt: skip
    SegformerForSemanticSegmentation(parts).save_pretrained(root / "matte")
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(root / "matte")
    joints = VitPoseConfig(
        backbone_config=VitPoseBackboneConfig(
            image_size=[64, 48], patch_size=[16, 16], hidden_size=32, num_hidden_layers=2, num_attention_heads=2
        ),
        id2label={index: f"joint {index}" for index in range(5)},
        label2id={f"joint {index}": index for index in range(5)},
    )
    VitPoseForPoseEstimation(joints).save_pretrained(root / "pose")
    VitPoseImageProcessor(size={"height": 64, "width": 48}).save_pretrained(root / "pose")
    return root


def test_depth_is_grey_and_of_the_pictures_size_on_one_scale(folders):
    draw = depth(folders / "depth", PICTURES)
    for picture in PICTURES:
        drawn = draw(picture, 0.0)
        assert (drawn.shape, drawn.dtype) == (picture.shape, np.uint8)
        assert np.array_equal(drawn[..., 0], drawn[..., 2])
    assert np.array_equal(draw(PICTURES[0], 0.0), draw(PICTURES[0], 1.0))


def test_a_matte_is_black_and_white_and_its_opposite_the_other_way(folders):
    drawn = matte(folders / "matte", "person", inside=255)(PICTURES[0], 0.0)
    assert drawn.shape == PICTURES[0].shape
    assert set(np.unique(drawn)) <= {0, 255}
    assert np.array_equal(255 - drawn, matte(folders / "matte", "person", inside=0)(PICTURES[0], 0.0))
    with pytest.raises(ConfigError, match="knows no label `dog`"):
        matte(folders / "matte", "dog", inside=255)


def test_a_pose_is_drawn_on_black(folders):
    drawn = pose(folders / "pose")(PICTURES[0], 0.0)
    assert (drawn.shape, drawn.dtype) == (PICTURES[0].shape, np.uint8)
    assert (drawn == 0).mean() > 0.3


def test_a_folder_without_a_model_and_a_model_of_another_kind_are_refused(folders, tmp_path):
    with pytest.raises(ConfigError, match="There is no model in"):
        depth(tmp_path, PICTURES)
    with pytest.raises(ConfigError, match="can't be used for this"):
        depth(folders / "matte", PICTURES)
