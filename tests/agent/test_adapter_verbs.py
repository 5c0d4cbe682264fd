"""The verbs of runs and adapters as a person types them: doctor, edit-adapter, resume, stop."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from agent.cli.main import main
from trainer_core.run_folder import RunFolder, RunStatus


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """`typed("doctor", …)`: exit code, stdout and stderr of the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ltx-agent", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115, PTH123 (main reconfigures a real stream)
    return run


def lora(path: Path, scale: float = 1.0) -> Path:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for module in ("attn1.to_q", "audio_attn1.to_q"):
        width = 32 if "audio" in module else 64
        key = f"diffusion_model.transformer_blocks.0.{module}"
        state[f"{key}.lora_A.weight"] = torch.randn(4, width, generator=generator)
        state[f"{key}.lora_B.weight"] = scale * 0.01 * torch.randn(width, 4, generator=generator)
    save_file(state, path, metadata={"model_version": "2.3"})
    return path


def test_doctor_of_a_foreign_file_prints_verdict_and_draws(typed: Any, tmp_path: Path) -> None:
    file = lora(tmp_path / "my [odd] lora.safetensors")
    code, out, _ = typed("doctor", file, "--model", "tiny")
    assert code == 0
    assert "healthy" in out.splitlines()[0]
    assert (tmp_path / "doctor-my [odd] lora.png").stat().st_size > 1000
    code, out, _ = typed("doctor", file, "--json")
    assert code == 0
    found = json.loads(out)
    assert {
        "verdict",
        "nan_tensors",
        "zero_b",
        "modules",
        "matched",
        "unmatched",
        "branches",
        "blocks",
        "base_version",
    } <= set(found)


def test_doctor_compares(typed: Any, tmp_path: Path) -> None:
    code, out, _ = typed("doctor", lora(tmp_path / "a.safetensors"), "--against", lora(tmp_path / "b.safetensors", 3.0))
    assert code == 0
    assert "video: 1 shared modules, cosine +1.000, the second 3.00 times as large." in out


def test_an_edited_adapter_is_a_new_file(typed: Any, tmp_path: Path) -> None:
    file, target = lora(tmp_path / "a.safetensors"), tmp_path / "video only.safetensors"
    code, out, _ = typed("edit-adapter", file, "-o", target, "--strip", "audio", "--scale", "video=0.5", "--rank", 2)
    assert code == 0
    assert "1 modules of rank 2" in out
    code, _, err = typed("edit-adapter", file, "-o", target)
    assert code == 2
    assert "exists already" in err
    code, _, err = typed("edit-adapter", file, "-o", tmp_path / "c.safetensors", "--scale", "vidio=0.5")
    assert code == 2
    assert "vidio" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["doctor", "nowhere.safetensors"], "There is no file nowhere.safetensors"),
        (["resume", "nowhere"], "There is no folder nowhere"),
        (["resume", "run", "--set", "lora.rank=8"], "`lora.rank` can't change"),
        (["resume", "run", "--set", "optimization.steps"], "is no setting"),
        (["resume", "run", "--from-step", "7"], "no saved state of step 7"),
    ],
)
def test_mistakes_are_said_in_a_sentence(typed: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_status(RunStatus("done", step=3, steps=9))
    run.config_path.write_text(
        "model: {model_path: tiny}\nlora: {}\ntraining_strategy: {video: {is_generated: true, latents_dir: latents}}\n"
        "data: {preprocessed_data_root: .precomputed}\n"
    )
    code, _, err = typed(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
