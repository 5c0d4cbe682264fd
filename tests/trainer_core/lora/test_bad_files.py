"""Odd, foreign and damaged adapter files: every command refuses them by the true reason, or reads them right; none
crashes, and none reads a large file to find that it isn't one."""

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tools.monitor.doctor import EditAdapterArguments, edit_adapter
from tools.project import Project
from trainer_core.adapters import load_lora, read_lora
from trainer_core.doctor.examine import base_of, examine_file
from trainer_core.errors import ConfigError
from trainer_core.model.tiny import TinySource
from trainer_core.sampling.multi_lora import Weighted, open_adapter, stack_adapters

SOURCE = TinySource("2.3")
Q = "diffusion_model.transformer_blocks.0.attn1.to_q"
Write = Callable[[Path], None]


def pair(
    stem: str = Q, out: int = 64, rank: int = 4, into: int = 64, ending: str = "lora_A lora_B"
) -> dict[str, Tensor]:
    down, up = ending.split()
    return {f"{stem}.{down}.weight": torch.full((rank, into), 0.1), f"{stem}.{up}.weight": torch.full((out, rank), 0.1)}


def refusals(path: Path, folder: Path) -> list[str]:
    """What each command says of `path`; fails where one reads it, or raises anything but ConfigError."""
    transformer = SOURCE.transformer(torch.float32)
    edited = EditAdapterArguments(file=str(path), output=str(folder / "edited.safetensors"))
    commands: list[Callable[[], Any]] = [
        lambda: stack_adapters(transformer, [Weighted(open_adapter(path, SOURCE))]),
        lambda: edit_adapter(Project(folder), edited),
        lambda: load_lora(transformer, path, 1.0),
    ]
    told = []
    for command in commands:
        with pytest.raises(ConfigError) as caught:
            command()
        assert caught.value.hint
        told.append(caught.value.message)
    assert not (folder / "edited.safetensors").exists()
    return told


ODD: dict[str, tuple[dict[str, Tensor], dict[str, str], str]] = {
    "alphas that differ": ({**pair(), f"{Q}.alpha": torch.tensor([1.0, 2.0])}, {}, "2 different alphas"),
    "an alpha of no number": ({**pair(), f"{Q}.alpha": torch.zeros(0)}, {}, "0 different alphas"),
    "an alpha of NaN": ({**pair(), f"{Q}.alpha": torch.tensor(float("nan"))}, {}, "not finite"),
    "an infinite alpha": ({**pair(), f"{Q}.alpha": torch.tensor(float("inf"))}, {}, "not finite"),
    "an alpha that overflows": (
        {**{key: 1e20 * value for key, value in pair().items()}, f"{Q}.alpha": torch.tensor(1e38)},
        {},
        "not finite",
    ),
    "a number that float32 has not": ({key: 1e200 * value.double() for key, value in pair().items()}, {}, "not finite"),
    "NaN": ({**pair(), f"{Q}.lora_B.weight": torch.full((64, 4), float("nan"))}, {}, "not finite"),
    "alpha ²": (pair(), {"lora_adapter_metadata": '{"transformer.lora_alpha": "²"}'}, "states alpha as '²'"),
    "alpha as a word": (
        pair(),
        {"lora_adapter_metadata": '{"transformer.lora_alpha": true}'},
        "states alpha as 'True'",
    ),
    "alpha NaN in metadata": (pair(), {"lora_adapter_metadata": '{"transformer.lora_alpha": NaN}'}, "alpha as 'nan'"),
    "alpha beyond floats": (
        pair(),
        {"lora_adapter_metadata": f'{{"transformer.lora_alpha": 1{"0" * 400}}}'},
        "which is no number",
    ),
    "metadata that is no JSON": (pair(), {"lora_adapter_metadata": "{"}, "is not JSON"),
    "metadata that is a list": (pair(), {"lora_adapter_metadata": "[]"}, "is no mapping"),
    "a pattern that is an expression": (
        pair(),
        {
            "lora_adapter_metadata": json.dumps(
                {"transformer.lora_alpha": 1, "transformer.alpha_pattern": {"(a+)+$": 2}}
            )
        },
        "names of modules alone are understood",
    ),
    "one half": ({f"{Q}.lora_A.weight": torch.ones(4, 64)}, {}, "only one of its two matrices"),
    "alpha alone": ({f"{Q}.alpha": torch.tensor(1.0)}, {}, "no matrices"),
    "ranks that contradict": ({**pair(), f"{Q}.lora_B.weight": torch.ones(64, 3)}, {}, "contradict each other"),
    "no rank": (pair(rank=0), {}, "changes no linear layer"),
    "a vector": ({**pair(), f"{Q}.lora_A.weight": torch.ones(64)}, {}, "changes no linear layer"),
    "a convolution": ({**pair(), f"{Q}.lora_A.weight": torch.ones(4, 64, 3, 3)}, {}, "changes no linear layer"),
    "integers": ({key: value.to(torch.int8) for key, value in pair().items()}, {}, "holds I8"),
    "two adapters": ({**pair(), **pair(ending="lora_A.a lora_B.a")}, {}, "more than one adapter"),
    "two spellings of one": (
        {**pair(), **pair(Q.replace("diffusion_model", "transformer"))},
        {},
        "more than one adapter",
    ),
    "LoCon": ({**pair(), f"{Q}.lora_mid.weight": torch.ones(4, 4, 3, 3)}, {}, "LoCon"),
    "OFT": ({f"{Q}.oft_blocks": torch.ones(4, 16, 16)}, {}, "OFT"),
    "whole differences": ({f"{Q}.diff": torch.ones(64, 64)}, {}, "whole differences of weights"),
    "AdaLoRA": ({**pair(), f"{Q}.lora_E": torch.ones(4, 1)}, {}, "AdaLoRA"),
    "VeRA": ({f"{Q}.vera_lambda_b": torch.ones(4)}, {}, "VeRA"),
    "a LoRA of biases": ({**pair(), f"{Q}.lora_B.bias": torch.ones(64)}, {}, "changes biases"),
    "LoKr without a factor": ({f"{Q}.lokr_w1": torch.ones(4, 4)}, {}, "no lokr_w2"),
    "LoHa without a half": ({f"{Q}.hada_w1_a": torch.ones(64, 4)}, {}, "no hada_w2_a"),
    "LoRA and LoKr at once": ({**pair(), f"{Q}.lokr_w1": torch.ones(4, 4)}, {}, "is LoKr and LoRA"),
    "magnitudes of another size": ({**pair(), f"{Q}.dora_scale": torch.ones(3, 1)}, {}, "magnitudes of DoRA"),
    "no adapter at all": ({"weight": torch.ones(2, 2)}, {}, "is not a LoRA key"),
    "nothing": ({}, {}, "no LoRA weights"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_refused_by_its_reason(name: str, tmp_path: Path) -> None:
    tensors, metadata, reason = ODD[name]
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, metadata=metadata or None)
    for told in refusals(path, tmp_path):
        assert reason in told
    with pytest.raises(ConfigError, match=r"."):
        read_lora(path)
    found = examine_file(path)
    assert found.verdict == "broken"
    spelled = f"{found.evidence} {found.nan_tensors}"
    assert reason in spelled or "hold NaN or infinity" in spelled or "no LoRA module was found" in spelled


@pytest.mark.parametrize("words", ["²", "ten", "9" * 5000, "", "-1", "1e3"])
def test_words_for_numbers_in_the_metadata_are_no_numbers(words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(pair(), path, metadata={"rank": words, "step": words, "reference_downscale_factor": words})
    assert examine_file(path).step is None
    adapter = open_adapter(path, SOURCE)
    if words:
        with pytest.raises(ConfigError, match="no whole number from 1"):
            _ = adapter.reference_scales
    else:
        assert adapter.reference_scales == ((1, 1),)


def test_equal_alphas_and_an_alpha_of_zero_are_taken_as_they_are(tmp_path: Path) -> None:
    save_file({**pair(), f"{Q}.alpha": torch.tensor([2.0, 2.0])}, tmp_path / "a.safetensors")
    down, up = read_lora(tmp_path / "a.safetensors")["transformer_blocks.0.attn1.to_q"]
    torch.testing.assert_close(up @ down, torch.full((64, 64), 0.04 * 2 / 4))
    save_file({**pair(), f"{Q}.alpha": torch.tensor(0.0)}, tmp_path / "b.safetensors")
    assert examine_file(tmp_path / "b.safetensors").verdict == "dead"


def test_peft_s_file_without_its_settings_says_what_was_assumed(tmp_path: Path) -> None:
    save_file(pair(Q.replace("diffusion_model", "base_model.model")), tmp_path / "a.safetensors")
    assert any("no adapter_config.json beside it" in line for line in examine_file(tmp_path / "a.safetensors").evidence)
    assert any("no adapter_config.json" in note for note in open_adapter(tmp_path / "a.safetensors", SOURCE).notes)


# ---- other models


def flat(stem: str) -> str:
    return f"lora_unet_{stem.replace('.', '_')}"


FAMILIES = [
    ("blocks.3.self_attn.q", 5120, 5120, "Wan 14B"),
    (flat("blocks.3.cross_attn.k"), 1536, 1536, "Wan 1.3B"),
    ("blocks.0.attn1.to_q", 5120, 5120, "Wan 14B"),
    (flat("double_blocks.0.img_attn_qkv"), 9216, 3072, "Flux, or HunyuanVideo"),
    ("double_blocks.19.img_attn_qkv", 9216, 3072, "HunyuanVideo"),
    ("single_transformer_blocks.0.attn.to_q", 3072, 3072, "Flux"),
    ("transformer_blocks.0.attn.to_q", 3072, 3072, "Flux, Stable Diffusion 3 or Qwen-Image"),
    (flat("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"), 640, 768, "Stable Diffusion 1.5"),
    (flat("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"), 640, 2048, "Stable Diffusion XL"),
    ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 640, 2048, "Stable Diffusion XL"),
    ("model.layers.0.self_attn.q_proj", 4096, 4096, "a language model"),
    ("transformer_blocks.0.attn1.to_q", 2048, 2048, "LTX-Video 0.9"),
    ("transformer_blocks.0.attn1.to_q", 3072, 3072, "CogVideoX-5B or Mochi"),
]


@pytest.mark.parametrize(("stem", "out", "into", "family"), FAMILIES)
def test_an_adapter_of_another_family_is_refused_by_its_name(
    stem: str, out: int, into: int, family: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_file(pair(stem if stem.startswith("lora_unet") else f"diffusion_model.{stem}", out, 2, into), path)
    for told in refusals(path, tmp_path):
        assert f"look like {family}" in told
    for base in (None, base_of(SOURCE)):
        found = examine_file(path, base)
        assert found.verdict == "broken"
        assert f"look like {family}" in found.evidence[0]


@pytest.mark.parametrize(
    ("module", "out", "into", "reason"),
    [
        ("transformer_blocks.0.attn1.to_q", 4096, 4096, "its widths are those of a released LTX-2"),
        ("adaln_single.linear", 6 * 64, 64, "its 6 modulations are those of LTX-2.0"),
        ("transformer_blocks.5.attn1.to_q", 64, 64, "is no module of this base"),
        ("caption_projection.linear_1", 64, 32, "is no module of this base"),
    ],
)
def test_an_adapter_of_another_version_or_width_is_refused_by_the_true_reason(
    module: str, out: int, into: int, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_file(pair(f"diffusion_model.{module}", out, 2, into), path)
    assert reason in examine_file(path, base_of(SOURCE)).evidence[0]
    with pytest.raises(ConfigError, match=r"doesn't have|this model's is"):
        stack_adapters(SOURCE.transformer(torch.float32), [Weighted(open_adapter(path, SOURCE))])


# ---- the header


def promised(path: Path, keys: list[str], side: int, *, there: float) -> int:
    """A file whose header promises square float32 matrices; `there` is the share of it that exists, without a byte of
    it written."""
    header, offset = {}, 0
    for key in keys:
        header[key] = {"dtype": "F32", "shape": [side, side], "data_offsets": [offset, offset + 4 * side * side]}
        offset += 4 * side * side
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + int(offset * there))
    return offset


def test_a_half_written_10_gb_file_is_known_by_its_header_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    keys = [f"{Q}.{index}.lora_A.weight" for index in range(40)]
    assert promised(path, keys, 8192, there=0.5) > 10e9
    began = time.perf_counter()
    for told in refusals(path, tmp_path):
        assert "is half-written" in told
        assert "(50 %)" in told
    with pytest.raises(ConfigError, match="half-written"):
        examine_file(path)
    assert time.perf_counter() - began < 5


def test_a_whole_10_gb_file_of_another_model_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    keys = [f"blocks.{index}.self_attn.q.lora_{side}.weight" for index in range(20) for side in "AB"]
    promised(path, keys, 8192, there=1)
    began = time.perf_counter()
    assert "Wan" in examine_file(path).evidence[0]
    assert all("Wan" in told for told in refusals(path, tmp_path))
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "fewer than any header"),
        (b"\x01", "fewer than any header"),
        (b"hello " * 99, "doesn't begin with a header"),
        (struct.pack("<Q", 1 << 40) + b"{}", "doesn't begin with a header"),
        (struct.pack("<Q", 1000) + b"{}", "half-written: its header alone takes"),
        (struct.pack("<Q", 9) + b"{not json", "header is not JSON"),
        (struct.pack("<Q", 90002) + b"{" + b'"a":[' * 18000 + b"]", "header is not JSON"),
        (struct.pack("<Q", 7) + b'{"a":1}', "describes no tensor"),
        (struct.pack("<Q", 2) + b"{}more", "more follow"),
        (b"\x80\x04pickle, never read", "is a pickle"),
        (b"PK\x03\x04a zip", "is a pickle"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for told in refusals(path, tmp_path):
        assert reason in told
    with pytest.raises(ConfigError, match="pickle" if "pickle" in reason else "not a readable safetensors file"):
        examine_file(path)


# ---- edit-adapter never writes what the doctor calls broken


@pytest.mark.parametrize("factor", [1e38, 3e38])
def test_a_scale_that_overflows_writes_nothing(factor: float, tmp_path: Path) -> None:
    save_file({key: 1e5 * value for key, value in pair().items()}, tmp_path / "a.safetensors")
    asked = EditAdapterArguments(file=str(tmp_path / "a.safetensors"), output=str(tmp_path / "b.safetensors"))
    for update in ({"scale": {"video": factor}}, {"scale": {"video": factor}, "rank": 2}):
        with pytest.raises(ConfigError) as caught:
            edit_adapter(Project(tmp_path), asked.model_copy(update=update))
        assert "Scale it less" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_module_that_no_reader_knows_is_never_written(tmp_path: Path) -> None:
    save_file({**pair(), **pair(Q.replace("attn1", "attn9"))}, tmp_path / "a.safetensors")
    asked = EditAdapterArguments(file=str(tmp_path / "a.safetensors"), output=str(tmp_path / "b.safetensors"))
    with pytest.raises(ConfigError, match=r"would be a broken adapter.*attn9"):
        edit_adapter(Project(tmp_path), asked)
    assert not (tmp_path / "b.safetensors").exists()


def test_adapters_of_two_versions_are_not_merged(tmp_path: Path) -> None:
    for name, version in (("a", "2.0"), ("b", "2.3")):
        save_file(pair(), tmp_path / f"{name}.safetensors", metadata={"model_version": version})
    merge = {str(tmp_path / "b.safetensors"): 1.0}
    asked = EditAdapterArguments(
        file=str(tmp_path / "a.safetensors"), output=str(tmp_path / "c.safetensors"), merge=merge
    )
    with pytest.raises(ConfigError, match="of different versions"):
        edit_adapter(Project(tmp_path), asked)


# ---- what stands before the transformer


def test_changes_of_the_text_projection_act_and_are_kept(tmp_path: Path) -> None:
    from trainer_core.sampling.multi_lora import act_on_text

    source = TinySource("2.0")
    connectors = source.connectors(torch.float32)
    width = connectors.text_proj_in.in_features
    stem = "text_embedding_projection.aggregate_embed"
    save_file({**pair(), **pair(stem, connectors.text_proj_in.out_features, 4, width)}, tmp_path / "a.safetensors")
    adapter = open_adapter(tmp_path / "a.safetensors", source)
    x = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    before = connectors.text_proj_in(x)
    act_on_text(connectors, [Weighted(adapter, 0.5)])
    delta = torch.full((before.shape[1], width), 0.04)
    torch.testing.assert_close(connectors.text_proj_in(x), before + 0.5 * x @ delta.T)
    found = examine_file(tmp_path / "a.safetensors", base_of(source))
    assert found.verdict != "broken"
    assert (found.modules, found.text_modules) == (2, 1)
    edit_adapter(
        Project(tmp_path),
        EditAdapterArguments(file=str(tmp_path / "a.safetensors"), output=str(tmp_path / "b.safetensors"), rank=2),
    )
    again = open_adapter(tmp_path / "b.safetensors", source)
    assert again.lora is not None
    assert list(again.lora.text_changes) == [stem]
    assert again.lora.text_changes[stem].rank == 2
