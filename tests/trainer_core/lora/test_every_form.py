"""The table of forms × commands: whoever wrote an adapter, every command makes of it what its writer's own code does.

The files are made here by PEFT's, diffusers' and our own writers from layers that were moved off their beginning; the
right value is what the transformer with those very layers predicts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tools.monitor.doctor import EditAdapterArguments, diagnosis_of, edit_adapter
from tools.project import Project
from trainer_core.adapters import AdapterFacts, add_lora, load_lora, lora_state, save_weights
from trainer_core.doctor import trial
from trainer_core.errors import ConfigError
from trainer_core.lora.forms import diffusers_state
from trainer_core.lora.kinds import strength_of
from trainer_core.model.ltx import LtxModel
from trainer_core.model.names import to_upstream
from trainer_core.model.tiny import TinySource
from trainer_core.objective import Objective, load_recipe, objective_of
from trainer_core.sampling.multi_lora import Weighted, merge_into, open_adapter, stack_adapters
from trainer_core.sections.own import LoraKindSection
from trainer_core.sections.run import LoraSection
from trainer_core.sections.strategy import FlexibleStrategy

SOURCE = TinySource("2.3")
RANK = 4
TARGETS = ["to_q", "to_v", "ff.net.0.proj"]
Predicted = tuple[Tensor, Tensor]


def objective() -> Objective:
    return objective_of(FlexibleStrategy.model_validate(load_recipe("t2v")["training_strategy"]))


def fresh() -> Any:
    return SOURCE.transformer(torch.float32)


@torch.no_grad()
def predict(transformer: Any) -> Predicted:
    model = LtxModel(transformer)
    video, audio = model(*trial._inputs(model))
    assert video is not None
    assert audio is not None
    return video, audio


def same(found: Predicted, wanted: Predicted, tolerance: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@torch.no_grad()
def moved(transformer: Any, config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """`transformer` under PEFT's layers of `config`, every one of them moved, in numbers that `dtype` holds."""
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        transformer.add_adapter(config)
    for name, parameter in transformer.named_parameters():
        if "magnitude" in name:
            parameter.mul_(1 + 0.2 * torch.rand(parameter.shape, generator=generator))
        elif any(part in name for part in (".lora_", ".lokr_", ".hada_")):
            parameter.copy_((0.2 * torch.randn(parameter.shape, generator=generator)).to(dtype).float())
    return transformer


def low_rank(**settings: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(**{"r": RANK, "lora_alpha": RANK, "target_modules": TARGETS, **settings})


def peft_state(transformer: Any) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    return {key: tensor.detach().clone() for key, tensor in get_peft_model_state_dict(transformer).items()}


def upstream(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """PEFT's keys as upstream and ComfyUI have them."""
    found = {}
    for key, tensor in state.items():
        mark = next(mark for mark in (".lora_", ".lokr_", ".hada_", ".dora_") if mark in key)
        module, _, rest = key.partition(mark)
        found[f"diffusion_model.{to_upstream(module)}{mark}{rest}"] = tensor
    return found


# ---- the writers: each gets a folder, and returns the file and the transformer that it was made from

Written = tuple[Path, Any]


def ours(folder: Path) -> Written:
    transformer = moved(fresh(), low_rank(lora_alpha=10))
    facts = AdapterFacts("2.3", "tiny", SOURCE.fingerprint("transformer"), "t2v", 3, RANK)
    save_weights(folder / "a.safetensors", lora_state(transformer, 10 / RANK, torch.float32), facts)
    return folder / "a.safetensors", transformer


def official(folder: Path) -> Written:
    transformer = moved(fresh(), low_rank())
    save_file(upstream(peft_state(transformer)), folder / "a.safetensors")
    return folder / "a.safetensors", transformer


def diffusers(**settings: Any) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        from diffusers import LTX2Pipeline

        transformer = moved(fresh(), low_rank(**settings))
        said = {**transformer.peft_config["default"].to_dict(), "target_modules": TARGETS, "peft_type": "LORA"}
        LTX2Pipeline.save_lora_weights(folder, peft_state(transformer), transformer_lora_adapter_metadata=said)
        return next(folder.glob("*.safetensors")), transformer

    return write


def diffusers_of_the_transformer(folder: Path) -> Written:
    transformer = moved(fresh(), low_rank(lora_alpha=2, use_rslora=True))
    transformer.save_lora_adapter(folder)
    return next(folder.glob("*.safetensors")), transformer


def peft(config: Callable[[], Any]) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        from peft import get_peft_model

        transformer = moved(fresh(), config())
        whole = get_peft_model(fresh(), config())
        whole.load_state_dict(
            {f"base_model.model.{key}": tensor for key, tensor in transformer.state_dict().items()}, strict=True
        )
        whole.save_pretrained(folder)
        return folder / "adapter_model.safetensors", transformer

    return write


def loha() -> Any:
    from peft import LoHaConfig

    return LoHaConfig(r=2, alpha=3, target_modules=TARGETS)


def lokr(**settings: Any) -> Any:
    from peft import LoKrConfig

    return LoKrConfig(**{"r": 2, "alpha": 3, "target_modules": TARGETS, "decompose_factor": 4, **settings})


def named_adapter(folder: Path) -> Written:
    transformer = moved(fresh(), low_rank())
    state = {f"transformer.{key}": value for key, value in transformer.state_dict().items() if ".lora_" in key}
    save_file(state, folder / "a.safetensors")
    return folder / "a.safetensors", transformer


def respelled(
    down: str, up: str, *, prefix: str, flat: bool = False, alpha: float | None = None, convolution: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Callable[[Path], Written]:  # fmt: skip
    """The keys of programs that aren't at hand, written from PEFT's layers by their published names."""

    def write(folder: Path) -> Written:
        transformer = moved(fresh(), low_rank(lora_alpha=RANK if alpha is None else alpha), dtype)
        state = {}
        for key, tensor in peft_state(transformer).items():
            module, _, rest = key.partition(".lora_")
            name = to_upstream(module) if prefix != "transformer." else module
            name = name.replace(".", "_") if flat else name
            shaped = tensor[:, :, None, None] if convolution else tensor
            state[f"{prefix}{name}{down if rest.startswith('A') else up}"] = shaped.to(dtype).contiguous()
            if alpha is not None:
                state[f"{prefix}{name}.alpha"] = torch.tensor(alpha).to(dtype)
        save_file(state, folder / "a.safetensors")
        return folder / "a.safetensors", transformer

    return write


def dora(folder: Path, *, theirs: bool) -> Written:
    """DoRA: as PEFT and diffusers keep its magnitudes, or as LyCORIS and kohya's descendants do."""
    transformer = moved(fresh(), low_rank(use_dora=True))
    state = upstream(peft_state(transformer))
    if theirs:
        state = {
            key.replace("lora_magnitude_vector", "dora_scale"): value[:, None] if value.ndim == 1 else value
            for key, value in state.items()
        }
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "a.safetensors")
    return folder / "a.safetensors", transformer


def lycoris_lokr(folder: Path) -> Written:
    transformer = moved(fresh(), lokr(r=1, alpha=3, decompose_both=True, decompose_factor=8))
    state = {}
    for key, tensor in peft_state(transformer).items():
        module, _, rest = key.partition(".lokr_")
        name = f"lycoris_{to_upstream(module).replace('.', '_')}"
        state[f"{name}.lokr_{rest}"] = tensor
        state[f"{name}.alpha"] = torch.tensor(3.0)
    save_file(state, folder / "a.safetensors")
    return folder / "a.safetensors", transformer


def trained(kind: str) -> Callable[[Path], Written]:
    """What a run of ours saves, by kind."""

    def write(folder: Path) -> Written:
        section, chosen = LoraSection(rank=2, alpha=3, target_modules=TARGETS), LoraKindSection(kind=kind, factor=4)
        transformer = fresh()
        parameters = add_lora(transformer, section, objective(), 1, chosen)
        with torch.no_grad():
            for number, parameter in enumerate(parameters):
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
                parameter.add_(0.1 * noise)
        facts = AdapterFacts("2.3", "tiny", SOURCE.fingerprint("transformer"), "t2v", 3, 2, kind=kind)
        save_weights(
            folder / "a.safetensors", lora_state(transformer, strength_of(section, chosen), torch.float32), facts
        )
        return folder / "a.safetensors", transformer

    return write


@dataclass(frozen=True)
class Form:
    write: Callable[[Path], Written]
    told: str = "LoRA"
    kind: LoraKindSection = field(default_factory=LoraKindSection)
    rank: int = RANK
    continues: str | None = None
    """Why no run goes on from it; None where one does."""
    tolerance: float = 2e-5


PATTERNS = {
    "r": RANK,
    "lora_alpha": 1,
    "rank_pattern": {"transformer_blocks.0.attn1.to_q": 2, "audio_attn1.to_v": 3},
    "alpha_pattern": {"transformer_blocks.0.attn1.to_q": 7, "ff.net.0.proj": 3},
}
LOKR = LoraKindSection(kind="lokr", factor=4)
FORMS: dict[str, Form] = {
    "ours": Form(ours),
    "official": Form(official),
    "diffusers, alpha 1 in its metadata": Form(diffusers(lora_alpha=1)),
    "diffusers, patterns of ranks and alphas": Form(diffusers(**PATTERNS), continues="this run's is"),
    "diffusers, rsLoRA": Form(diffusers(lora_alpha=1, use_rslora=True)),
    "diffusers, DoRA": Form(diffusers(lora_alpha=2, use_dora=True), "DoRA", LoraKindSection(kind="dora")),
    "diffusers, the transformer's own": Form(diffusers_of_the_transformer),
    "PEFT's folder": Form(peft(lambda: low_rank(lora_alpha=1))),
    "PEFT's folder, LoKr": Form(peft(lokr), "LoKr", LOKR, 2),
    "PEFT's folder, LoKr stored whole": Form(peft(lambda: lokr(r=32)), "LoKr", LOKR, 32),
    "PEFT's folder, LoHa": Form(peft(loha), "LoHa", continues="holds no plain B·A"),
    "a named adapter": Form(named_adapter),
    "ComfyUI": Form(respelled(".lora_down.weight", ".lora_up.weight", prefix="diffusion_model.", alpha=2.0)),
    "unified prefix": Form(respelled(".lora_A.weight", ".lora_B.weight", prefix="model.diffusion_model.")),
    "PEFT's prefix": Form(respelled(".lora_A.default.weight", ".lora_B.default.weight", prefix="base_model.model.")),
    "musubi": Form(
        respelled(
            ".lora_down.weight", ".lora_up.weight", prefix="lora_unet_", flat=True, alpha=1.0, dtype=torch.bfloat16
        )
    ),
    "kohya's convolutions": Form(
        respelled(".lora_down.weight", ".lora_up.weight", prefix="lora_unet_", flat=True, alpha=2.0, convolution=True)
    ),
    "old diffusers": Form(respelled(".lora.down.weight", ".lora.up.weight", prefix="transformer.")),
    "older diffusers": Form(respelled("_lora.down.weight", "_lora.up.weight", prefix="transformer.")),
    "transformers": Form(
        respelled(".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", prefix="transformer.")
    ),
    "float16": Form(respelled(".lora_A.weight", ".lora_B.weight", prefix="diffusion_model.", dtype=torch.float16)),
    "float8, e4m3": Form(
        respelled(".lora_A.weight", ".lora_B.weight", prefix="diffusion_model.", dtype=torch.float8_e4m3fn)
    ),
    "float8, e5m2": Form(
        respelled(".lora_A.weight", ".lora_B.weight", prefix="diffusion_model.", dtype=torch.float8_e5m2)
    ),
    "DoRA, PEFT's": Form(lambda folder: dora(folder, theirs=False), "DoRA", LoraKindSection(kind="dora")),
    "DoRA, LyCORIS's": Form(lambda folder: dora(folder, theirs=True), "DoRA", LoraKindSection(kind="dora")),
    "LoKr, LyCORIS's": Form(lycoris_lokr, "LoKr", LOKR, continues="this run's is"),
    "our rsLoRA": Form(trained("rslora"), "LoRA", LoraKindSection(kind="rslora"), 2),
    "our DoRA": Form(trained("dora"), "DoRA", LoraKindSection(kind="dora"), 2),
    "our LoKr": Form(trained("lokr"), "LoKr", LOKR, 2),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Predicted, Any]]:
    """The file of a form, what its writer's own layers predict, and those layers; each made once."""
    made: dict[str, tuple[Path, Predicted, Any]] = {}

    def get(name: str) -> tuple[Path, Predicted, Any]:
        if name not in made:
            path, transformer = FORMS[name].write(tmp_path_factory.mktemp("form"))
            made[name] = path, predict(transformer), transformer
        return made[name]

    return get


def doctor(path: Path, form: Form, wanted: Predicted, layers: Any, folder: Path) -> None:
    found: Any = diagnosis_of(path, "tiny", folder / "p.png")
    assert found.verdict in ("healthy", "exploding", "weak"), found.evidence
    assert (found.unmatched, found.nan_tensors, found.zero_b) == ([], [], 0)
    assert found.forms == [form.told]
    base = dict(fresh().named_modules())
    merged = dict(layers.named_modules())
    blocks = {(row["block"], row["branch"]): row["ratio"] for row in found.blocks}
    change = weight = 0.0
    for name in ("attn1.to_q", "attn1.to_v", "attn2.to_q", "attn2.to_v", "ff.net.0.proj"):
        layer, plain = merged[f"transformer_blocks.1.{name}"], base[f"transformer_blocks.1.{name}"].weight
        layer.merge()
        change += float((layer.get_base_layer().weight - plain).square().sum())
        weight += float(plain.square().sum())
        layer.unmerge()
    assert blocks[1, "video"] == pytest.approx((change / weight) ** 0.5, rel=1e-3)


def sample(path: Path, form: Form, wanted: Predicted, layers: Any, folder: Path) -> None:
    transformer = fresh()
    stack_adapters(transformer, [Weighted(open_adapter(path, SOURCE))])
    same(predict(transformer), wanted, form.tolerance)


def sample_at_half(path: Path, form: Form, wanted: Predicted, layers: Any, folder: Path) -> None:
    """A weight acts on what is changed, in every form alike: merging says how."""
    stack = [Weighted(open_adapter(path, SOURCE), 0.5)]
    one, other = fresh(), fresh()
    stack_adapters(one, stack)
    merge_into(other, stack)
    same(predict(one), predict(other), form.tolerance)


def merge(path: Path, form: Form, wanted: Predicted, layers: Any, folder: Path) -> None:
    transformer = fresh()
    merge_into(transformer, [Weighted(open_adapter(path, SOURCE))])
    same(predict(transformer), wanted, form.tolerance)


def edit(path: Path, form: Form, wanted: Predicted, layers: Any, folder: Path) -> None:
    asked = EditAdapterArguments(file=str(path), output=str(folder / "b.safetensors"))
    if form.told == "DoRA":
        with pytest.raises(ConfigError, match="is a DoRA: what it changes depends on its base"):
            edit_adapter(Project(folder), asked)
        return
    edit_adapter(Project(folder), asked)
    found: Any = diagnosis_of(folder / "b.safetensors", "tiny", folder / "p.png")
    assert found.verdict != "broken"
    assert found.forms == ["LoRA"]
    transformer = fresh()
    stack_adapters(transformer, [Weighted(open_adapter(folder / "b.safetensors", SOURCE))])
    same(predict(transformer), wanted, 0.15)  # it is written in bfloat16


def export(path: Path, form: Form, wanted: Predicted, layers: Any, folder: Path) -> None:
    """diffusers loads what is exported for it, and predicts the same."""
    from diffusers import LTX2Pipeline

    adapter = open_adapter(path, SOURCE)
    assert adapter.lora is not None
    state, told = diffusers_state(adapter.lora)
    transformer = fresh()
    if "load_lora_weights" in told:
        pipe = LTX2Pipeline(
            scheduler=None, vae=None, audio_vae=None, text_encoder=None, tokenizer=None, connectors=None,
            transformer=transformer, vocoder=None,
        )  # fmt: skip
        pipe.load_lora_weights(state)
    else:
        transformer.load_lora_adapter(state, prefix="transformer")
    same(predict(transformer), wanted, form.tolerance)


def load_checkpoint(path: Path, form: Form, wanted: Predicted, layers: Any, folder: Path) -> None:
    transformer = fresh()
    section = LoraSection(rank=form.rank, alpha=1.5, target_modules=TARGETS)
    add_lora(transformer, section, objective(), 8, form.kind)
    if form.continues is not None:
        with pytest.raises(ConfigError, match=form.continues):
            load_lora(transformer, path, strength_of(section, form.kind))
        return
    load_lora(transformer, path, strength_of(section, form.kind))
    same(predict(transformer), wanted, form.tolerance)


COMMANDS = (doctor, sample, sample_at_half, merge, edit, export, load_checkpoint)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_reads_every_form(command: Any, name: str, written: Any, tmp_path: Path) -> None:
    path, wanted, layers = written(name)
    command(path, FORMS[name], wanted, layers, tmp_path)
