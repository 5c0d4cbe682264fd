"""A quantised base: which layers, how near it stays, its gradients, and that no second copy is ever made."""

from pathlib import Path

import pytest
import torch
from torch import nn

from trainer_core.errors import ConfigError
from trainer_core.memory.live import LiveBytes
from trainer_core.model.load import open_model
from trainer_core.model.quantize import QuantizedLinear, quantize, quantized_layer
from trainer_core.model.source import Placement
from trainer_core.model.tiny import TinySource
from trainer_core.quantization_names import SCHEMES, UPSTREAM, quantization_named, upstream_name
from trainer_core.sections.run import ModelSection

# what a 256-wide random layer may lose, relative: about three times what was measured
WEIGHT_ERROR = {"int8": 0.012, "int8-dynamic": 0.03, "fp8": 0.08, "nf4": 0.28}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_quantized_layer_is_near_the_layer_it_replaces(scheme: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(256, 128).to(dtype)
    few = quantized_layer(layer, layer.weight, SCHEMES[scheme])
    x = torch.randn(3, 7, 256, dtype=dtype)
    wanted = layer(x)
    assert float((few(x) - wanted).norm().detach() / wanted.norm().detach()) < WEIGHT_ERROR[scheme]
    assert few(x).dtype == dtype
    assert few.weight.shape == layer.weight.shape
    assert few.packed_bytes < layer.weight.numel() * SCHEMES[scheme].bits / 8 * 1.25 + 2048


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_gradient_is_that_of_the_packed_weight(scheme: str) -> None:
    """int8-dynamic rounds its input too, so its gradient is straight-through: that of the unrounded product."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 32)
    few = quantized_layer(layer, layer.weight, SCHEMES[scheme])
    x = torch.randn(5, 64, requires_grad=True)
    (few(x) * torch.arange(32.0)).sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, (torch.arange(32.0) @ few.weight).expand(5, -1), atol=1e-4)
    assert few.bias is not None
    assert few.bias.grad is None


def test_the_layer_computes_in_the_autocast_dtype() -> None:
    layer = nn.Linear(64, 32)
    few = quantized_layer(layer, layer.weight, SCHEMES["int8"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert few(torch.randn(2, 64)).dtype == torch.bfloat16


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("version", ["2.0", "2.3", "2.5"])
def test_only_large_layers_of_the_blocks_are_packed(scheme: str, version: str) -> None:
    transformer = TinySource(version).transformer(torch.float32, Placement(quantization=scheme))  # type: ignore[arg-type]
    packed = {name for name, module in transformer.named_modules() if isinstance(module, QuantizedLinear)}
    plain = {
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and not isinstance(module, QuantizedLinear)
    }
    assert all(name.startswith("transformer_blocks.") for name in packed)
    assert all(not name.startswith("transformer_blocks.") or name.endswith("to_gate_logits") for name in plain)
    assert {"proj_in", "proj_out", "time_embed.linear", "audio_proj_out"} <= plain
    assert len(packed) == 2 * (6 * 4 + 4)  # six attentions and two feed-forwards a block
    kept = {name: parameter for name, parameter in transformer.named_parameters() if "bias" not in name}
    assert all(parameter.dtype == torch.float32 for parameter in kept.values())


def test_moving_and_casting_a_model_leaves_the_packed_weights_alone() -> None:
    transformer = TinySource().transformer(torch.float32, Placement(quantization="int8"))
    layer = transformer.transformer_blocks[0].attn1.to_q
    before = layer.weight
    nn.Module.to(transformer, torch.bfloat16)
    assert torch.equal(layer.weight, before)
    assert layer.bias.dtype == torch.bfloat16


def test_names_of_both_worlds() -> None:
    assert {name: quantization_named(name).name for name in UPSTREAM} == UPSTREAM
    for name in SCHEMES:
        assert quantization_named(name).name == name
    assert upstream_name("int8") == "int8-quanto"
    assert upstream_name("nf4") == "int4-quanto"
    assert upstream_name("int8-dynamic") is None
    for name, reason in (("int2-quanto", "no kernel"), ("fp8uz-quanto", "AMD")):
        with pytest.raises(ConfigError, match=reason):
            quantization_named(name)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for part in ("transformer", "connectors"):
        getattr(TinySource(), part)(torch.float32).save_pretrained(folder / part)
    return folder


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_streamed_model_is_the_one_quantized_in_memory(model_folder: Path, scheme: str) -> None:
    streamed = open_model(ModelSection(model_path=str(model_folder))).transformer(
        torch.float32, Placement(quantization=scheme)
    )
    wanted = quantize(TinySource().transformer(torch.float32), scheme).state_dict()
    found = streamed.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert not any(parameter.is_meta for parameter in streamed.parameters())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_loading_never_holds_a_second_copy(model_folder: Path, scheme: str) -> None:
    """At most the packed model so far and what packing its largest layer takes: some copies of that layer alone."""
    source = open_model(ModelSection(model_path=str(model_folder)))
    file_bytes = sum(path.stat().st_size for path in (model_folder / "transformer").glob("*.safetensors"))
    with LiveBytes() as counted:
        transformer = source.transformer(torch.float32, Placement(quantization=scheme))
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*transformer.parameters(), *transformer.buffers()))
    largest = max(layer.weight.numel() for layer in transformer.modules() if isinstance(layer, QuantizedLinear))
    assert held < file_bytes
    assert counted.peak < held + 4 * 4 * largest
