"""rsLoRA, DoRA and LoKr as `ltx_agent.lora.kind`: they train, resume exactly, are examined, and others read them."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from trainer_core.adapters import add_lora, block_free, load_lora, lora_state
from trainer_core.config import TrainingConfig, dump_config, parse_config
from trainer_core.errors import ConfigError
from trainer_core.files import read_jsonl
from trainer_core.launch import launch
from trainer_core.lora.kinds import strength_of
from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.estimate import estimate
from trainer_core.memory.plan import plan
from trainer_core.memory.sizes import kronecker_sides, lora_weights
from trainer_core.metrics import read_steps
from trainer_core.model.quantize import quantize
from trainer_core.model.reader_keys import ADAPTER_KEYS
from trainer_core.model.tiny import TinySource
from trainer_core.objective import load_recipe, merged, objective_of
from trainer_core.run_folder import RunFolder
from trainer_core.sections.own import LoraKindSection
from trainer_core.sections.run import LoraSection
from trainer_core.sections.strategy import FlexibleStrategy
from trainer_core.training.checkpointing.state import read_state
from trainer_core.upstream import upstream_yaml

KINDS: tuple[Any, ...] = ("rslora", "dora", "lokr")
NewRun = Callable[[TrainingConfig], RunFolder]


def objective() -> Any:
    return objective_of(FlexibleStrategy.model_validate(load_recipe("t2v")["training_strategy"]))


def adapted(kind: LoraKindSection, **section: Any) -> tuple[Any, LoraSection]:
    """A tiny transformer with fresh layers of `kind`, moved off their beginning."""
    wanted = LoraSection(**{"rank": 2, "alpha": 3, "target_modules": ["to_q", "ff.net.2"], **section})
    transformer = TinySource("2.3").transformer(torch.float32)
    with torch.no_grad():
        for number, parameter in enumerate(add_lora(transformer, wanted, objective(), 1, kind)):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return transformer, wanted


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_trains_and_resumes_exactly_after_a_kill(
    kind: str, new_run: NewRun, exact_run: Callable[..., TrainingConfig], fork_trainer: Any
) -> None:
    lora = {"rank": 2, "alpha": 3, **({"dropout": 0} if kind == "lokr" else {})}
    config = exact_run(lora=lora, ltx_agent={"lora": {"kind": kind, "factor": 4}}, optimization={"steps": 6})
    whole, run = new_run(config), new_run(config)
    assert launch(whole) == 0
    child = fork_trainer(run)
    while not child.ended() and run.state_steps() != [2]:
        time.sleep(0.002)
    child.kill()
    child.wait()
    assert launch(run) == 0
    for name in ("lora_weights_step_00006.safetensors", "ema_lora_weights_step_00006.safetensors"):
        mine, theirs = load_file(run.checkpoints / name), load_file(whole.checkpoints / name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
        assert {block_free(key) for key in mine} <= ADAPTER_KEYS
    states = [read_state(one.states / "step_00006").content for one in (run, whole)]
    for key, tensor in states[0]["weights"].items():
        assert torch.equal(tensor, states[1]["weights"][key])
    assert [row["loss"] for row in read_steps(run.metrics_path)] == [
        row["loss"] for row in read_steps(whole.metrics_path)
    ]
    with safe_open(whole.checkpoints / "lora_weights_step_00006.safetensors", framework="pt") as file:
        assert file.metadata()["adapter_kind"] == kind
    examined = read_jsonl(whole.doctor_path)
    assert {row["verdict"] for row in examined} <= {"healthy", "weak", "dead"}, examined[-1]["evidence"]
    assert examined[-1]["forms"] == [{"rslora": "LoRA", "dora": "DoRA", "lokr": "LoKr"}[kind]]
    assert examined[-1]["zero_b"] == 0


def test_rslora_is_saved_as_a_plain_lora_of_its_strength() -> None:
    transformer, section = adapted(LoraKindSection(kind="rslora"), rank=4, alpha=3)
    strength = strength_of(section, LoraKindSection(kind="rslora"))
    assert strength == 1.5
    layer = transformer.transformer_blocks[1].attn1.to_q
    state = lora_state(transformer, strength, torch.float32)
    stem = "diffusion_model.transformer_blocks.1.attn1.to_q"
    change = state[f"{stem}.lora_B.weight"] @ state[f"{stem}.lora_A.weight"]
    torch.testing.assert_close(change, layer.get_delta_weight("default"))


def test_comfyui_s_arithmetic_comes_to_the_weight_that_dora_trained() -> None:
    """ComfyUI (comfy.weight_adapter, 0.3.77): (W + B·A) · dora_scale / ‖W‖, row by row."""
    transformer, section = adapted(LoraKindSection(kind="dora"))
    state = lora_state(transformer, strength_of(section, LoraKindSection(kind="dora")), torch.bfloat16)
    base = TinySource("2.3").transformer(torch.float32)
    for name in ("transformer_blocks.1.attn1.to_q", "transformer_blocks.0.ff.net.2"):
        layer = transformer.get_submodule(name)
        layer.merge()
        weight = base.get_submodule(name).weight
        stem = f"diffusion_model.{name}"
        scale = state[f"{stem}.dora_scale"]
        assert (scale.dtype, scale.shape) == (torch.float32, (weight.shape[0], 1))
        change = state[f"{stem}.lora_B.weight"].float() @ state[f"{stem}.lora_A.weight"].float()
        theirs = (weight + change) * scale / weight.norm(dim=1, keepdim=True)
        torch.testing.assert_close(theirs, layer.get_base_layer().weight, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("rank", [2, 16])
def test_comfyui_s_arithmetic_comes_to_the_weight_that_lokr_trained(rank: int) -> None:
    """ComfyUI without an alpha: w1 ⊗ w2, or ⊗ w2_a·w2_b."""
    kind = LoraKindSection(kind="lokr", factor=4)
    transformer, section = adapted(kind, rank=rank)
    state = lora_state(transformer, strength_of(section, kind), torch.float32)
    assert not [key for key in state if "alpha" in key]
    for name in ("transformer_blocks.1.attn1.to_q", "transformer_blocks.0.ff.net.2"):
        parts = {key.rpartition(".")[2]: tensor for key, tensor in state.items() if f".{name}." in f".{key}"}
        assert ("lokr_w2" in parts) == (rank == 16 and "attn1" in name)
        right = parts["lokr_w2"] if "lokr_w2" in parts else parts["lokr_w2_a"] @ parts["lokr_w2_b"]
        expected = transformer.get_submodule(name).get_delta_weight("default")
        torch.testing.assert_close(torch.kron(parts["lokr_w1"], right), expected)


def test_a_dora_goes_on_from_a_plain_lora_where_that_stands(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    plain, section = adapted(LoraKindSection())
    save_file(lora_state(plain, 1.5, torch.float32), tmp_path / "a.safetensors")
    going_on = TinySource("2.3").transformer(torch.float32)
    add_lora(going_on, section, objective(), 9, LoraKindSection(kind="dora"))
    load_lora(going_on, tmp_path / "a.safetensors", 1.5)
    for transformer in (plain, going_on):
        transformer.transformer_blocks[0].ff.net[2].merge()
    torch.testing.assert_close(
        going_on.transformer_blocks[0].ff.net[2].get_base_layer().weight,
        plain.transformer_blocks[0].ff.net[2].get_base_layer().weight,
    )


@pytest.mark.parametrize(
    ("saved", "run", "way_out"),
    [("dora", "lora", "kind: dora"), ("lokr", "lora", "kind: lokr"), ("lora", "lokr", "kind: lora")],
)
def test_a_run_of_another_kind_refuses_a_file_and_says_which_to_set(
    saved: Any, run: Any, way_out: str, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    transformer, section = adapted(LoraKindSection(kind=saved))
    save_file(lora_state(transformer, 1.5, torch.float32), tmp_path / "a.safetensors")
    other = TinySource("2.3").transformer(torch.float32)
    add_lora(other, section, objective(), 9, LoraKindSection(kind=run))
    with pytest.raises(ConfigError, match="can't be continued") as caught:
        load_lora(other, tmp_path / "a.safetensors", 1.5)
    assert way_out in caught.value.hint


@pytest.mark.parametrize("scheme", ["int8", "fp8"])
@pytest.mark.parametrize("kind", ["dora", "lokr"])
def test_a_kind_trains_over_a_quantised_base(kind: Any, scheme: str) -> None:
    from trainer_core.doctor import trial
    from trainer_core.model.ltx import LtxModel

    transformer = quantize(TinySource("2.3").transformer(torch.float32), scheme)
    section = LoraSection(rank=2, alpha=2, target_modules=["to_q"])
    parameters = add_lora(transformer, section, objective(), 1, LoraKindSection(kind=kind))
    model = LtxModel(transformer)
    outputs = model(*trial._inputs(model))
    torch.stack([output.square().mean() for output in outputs if output is not None]).sum().backward()
    assert all(parameter.grad is not None for parameter in parameters)
    assert all(bool(tensor.isfinite().all()) for tensor in lora_state(transformer, 1.0, torch.float32).values())


def test_lokr_draws_no_random_numbers() -> None:
    """PEFT's layers would, in training mode: a resumed run would draw others."""
    from trainer_core.doctor import trial
    from trainer_core.model.ltx import LtxModel

    transformer, _ = adapted(LoraKindSection(kind="lokr"))
    model, before = LtxModel(transformer), torch.get_rng_state()
    model(*trial._inputs(model))
    assert torch.equal(torch.get_rng_state(), before)


# ---- memory


@pytest.mark.parametrize("rank", [2, 8, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_counts_the_very_weights_that_train(kind: Any, rank: int) -> None:
    transformer, _ = adapted(LoraKindSection(kind=kind), rank=rank)
    trained = sum(parameter.numel() for parameter in transformer.parameters() if parameter.requires_grad)
    config = parse_config(json.dumps(_document({"lora": {"rank": rank}, "ltx_agent": {"lora": {"kind": kind}}})))
    assert plan(config).estimate.parts["adapter"] == 4 * trained


def test_the_sides_of_a_kronecker_product_are_peft_s() -> None:
    from peft.tuners.lokr.layer import factorization

    for width in (4096, 2048, 8192, 16384, 3840, 32, 64, 128, 130, 30, 9, 7):
        for factor in (2, 3, 4, 5, 7, 8, 16):
            assert kronecker_sides(width, factor) == factorization(width, factor)


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("kind", ["dora", "lokr"])
def test_dora_and_lokr_are_known_to_take_more_than_their_weights(kind: Any, checkpointing: bool) -> None:
    """Traces of two blocks (tests/instruments/memory_trace.py) have these peaks over a plain LoRA's, in GiB."""
    traced = {("dora", True): 1.90, ("lokr", True): 0.88, ("dora", False): 2.26, ("lokr", False): 1.23}
    targets = ("to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
    cells = [
        Cell("2.3", Side(1500), Side(50), rank=16, layers=2, targets=targets, checkpointing=checkpointing, kind=one)
        for one in (kind, "lora")
    ]
    more = estimate(cells[0]).step_peak_bytes - estimate(cells[1]).step_peak_bytes
    assert more / 2**30 == pytest.approx(traced[kind, checkpointing], rel=0.6)
    assert more / 2**30 > 0.95 * traced[kind, checkpointing]


def test_a_lokr_is_a_fraction_of_a_lora() -> None:
    lora, lokr = (lora_weights(Cell("2.3", Side(1500), Side(50), rank=16, kind=kind)) for kind in ("lora", "lokr"))
    assert lokr < lora / 6


# ---- the YAML


def _document(overlay: dict[str, Any]) -> dict[str, Any]:
    small = {
        "model": {"model_path": "tiny"},
        "lora": {"rank": 2, "alpha": 3, "target_modules": ["to_q", "ff.net.2"]},
        "data": {"preprocessed_data_root": "data"},
    }
    return merged(merged(load_recipe("t2v"), small), overlay)


def test_lora_kind_may_stand_in_upstream_s_section_and_is_written_in_ours() -> None:
    config = parse_config(json.dumps(_document({"lora": {"kind": "lokr", "factor": 4}})))
    assert config.ltx_agent.lora == LoraKindSection(kind="lokr", factor=4)
    again = parse_config(dump_config(config))
    assert again == config
    assert "kind" not in again.model_dump()["lora"]
    with pytest.raises(ConfigError, match=r"lora\.kind and ltx_agent\.lora\.kind differ"):
        parse_config(json.dumps(_document({"lora": {"kind": "lokr"}, "ltx_agent": {"lora": {"kind": "dora"}}})))


@pytest.mark.parametrize(
    ("overlay", "told"),
    [
        ({"ltx_agent": {"lora": {"kind": "lokr"}}, "lora": {"dropout": 0.1}}, "LoKr has no dropout"),
        ({"ltx_agent": {"lora": {"kind": "dora"}}, "model": {"training_mode": "full"}}, "full training has no adapter"),
        ({"ltx_agent": {"lora": {"kind": "loha"}}}, "kind"),
        ({"lora": {"kind": "loha"}}, "kind"),
        ({"ltx_agent": {"lora": {"kind": "lokr", "factor": 1}}}, "factor"),
    ],
)
def test_a_kind_that_can_not_train_is_refused(overlay: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_config(json.dumps(_document(overlay)))


def test_every_kind_has_its_sentence_in_the_schema() -> None:
    told = LoraKindSection.model_json_schema()["properties"]["kind"]["description"]
    assert all(f"{kind}: " in told for kind in ("lora", *KINDS))


def test_the_official_trainer_gets_rslora_as_the_alpha_it_comes_to_and_no_other_kind() -> None:
    def exported(kind: str) -> str:
        document = _document({"ltx_agent": {"lora": {"kind": kind}}, "lora": {"rank": 16, "alpha": 8}})
        return upstream_yaml(parse_config(json.dumps(document)))

    text = exported("rslora")
    assert "alpha: 32" in text
    assert "rsLoRA" in text.splitlines()[0]
    assert "alpha: 8" in exported("lora")
    for kind in ("dora", "lokr"):
        with pytest.raises(ConfigError, match="has no counterpart in the official trainer"):
            exported(kind)
