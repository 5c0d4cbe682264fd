"""The workflow for ComfyUI: every node has its inputs, every link carries what its end takes, in every layout."""

import itertools

import pytest
from comfyui_nodes import ancestors, check_workflow

from tools.deliver.comfyui import WorkflowFiles, workflow
from trainer_core.sections.validation import ValidationSection

UNIFIED = WorkflowFiles("gemma.safetensors", "lora.safetensors", "ltx.safetensors")
TRAINED_WHOLE = WorkflowFiles("gemma.safetensors", None, "ltx.safetensors", "mine.safetensors")
PACK = WorkflowFiles(
    "gemma4.safetensors", "lora.safetensors", None, "dit.safetensors", "v.safetensors", "a.safetensors"
)


@pytest.mark.parametrize(
    ("files", "first_frame", "downscale"),
    list(itertools.product([UNIFIED, TRAINED_WHOLE, PACK], [False, True], [None, 1, 2])),
)
def test_every_layout_and_condition_is_linked(files: WorkflowFiles, first_frame: bool, downscale: int | None) -> None:
    document = workflow(
        files,
        ValidationSection(),
        "a fox",
        first_frame=first_frame,
        reference_downscales=[] if downscale is None else [downscale],
    )
    check_workflow(document)
    kinds = {node["class_type"] for node in document.values()}
    assert ("LoraLoaderModelOnly" in kinds) == (files.lora is not None)
    assert ("LTXVImgToVideoInplace" in kinds) == first_frame
    assert ("LTXAddVideoICLoRAGuide" in kinds) == (downscale is not None)


def test_a_reference_goes_through_the_guide_and_out_of_the_latent_again() -> None:
    document = workflow(UNIFIED, ValidationSection(), "a fox", first_frame=True, reference_downscales=[2])
    assert document["guide"]["inputs"]["latent_downscale_factor"] == 2.0
    assert document["reference"]["inputs"]["length"] == ValidationSection().video_dims[2]
    assert {"guide", "reference_file", "start_in"} <= ancestors(document, "sample")
    assert document["decoded"]["inputs"]["samples"] == ["cropped", 2]
    assert document["guider"]["inputs"]["positive"] == ["guide", 0]


def test_a_pack_names_its_parts_and_a_transformer_trained_whole_keeps_the_bases_vaes() -> None:
    pack = workflow(PACK, ValidationSection(), "a fox")
    assert pack["model"]["inputs"]["unet_name"] == "dit.safetensors"
    assert (pack["video_vae"]["inputs"]["vae_name"], pack["audio_vae"]["inputs"]["vae_name"]) == (
        "v.safetensors",
        "a.safetensors",
    )
    assert pack["text"]["class_type"] == "CLIPLoader"
    whole = workflow(TRAINED_WHOLE, ValidationSection(), "a fox")
    assert whole["guider"]["inputs"]["model"] == ["model", 0]
    assert whole["model"]["inputs"]["unet_name"] == "mine.safetensors"
    assert whole["decoded"]["inputs"]["vae"] == ["base", 2]


def test_a_node_without_an_input_is_noticed() -> None:
    document = workflow(UNIFIED, ValidationSection(), "a fox")
    del document["guider"]["inputs"]["negative"]
    with pytest.raises(AssertionError, match="guider"):
        check_workflow(document)
    document = workflow(UNIFIED, ValidationSection(), "a fox")
    document["decoded"]["inputs"]["vae"] = ["base", 0]
    with pytest.raises(AssertionError, match=r"decoded\.vae"):
        check_workflow(document)


def test_each_of_several_references_has_a_guide_one_after_the_other() -> None:
    document = workflow(UNIFIED, ValidationSection(), "a fox", reference_downscales=[2, 1])
    check_workflow(document)
    guides = [document[name]["inputs"] for name in ("guide", "guide_2")]
    assert [guide["latent_downscale_factor"] for guide in guides] == [2.0, 1.0]
    assert guides[1]["latent"] == ["guide", 2]
    assert document["reference_file_2"]["inputs"]["file"] == "reference_2.mp4"
    assert document["cropped"]["inputs"]["positive"] == ["guide_2", 0]
