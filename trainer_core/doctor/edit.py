"""Making a new adapter file of others: strip or scale branches, merge, change rank. The old files stay as they are."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from trainer_core.adapters import LORA_PREFIX
from trainer_core.doctor.measure import Pairs, delta_norm
from trainer_core.doctor.read import AdapterFile, read_adapter
from trainer_core.errors import ConfigError
from trainer_core.model.ltx import branch_of
from trainer_core.model.names import to_upstream
from trainer_core.weights_file import write_tensors

OwnPairs = dict[str, tuple[Tensor, Tensor]]


def load_whole(path: Path) -> AdapterFile:
    """Read an adapter to make another of. Raises ConfigError when anything in it is lost, broken or unknown."""
    found = read_adapter(path)
    problems = [*found.non_finite, *found.halves, *found.unknown]
    if problems or not found.pairs:
        raise ConfigError(
            f"{path} is no whole LoRA: {problems[0] if problems else 'it holds no LoRA weights'}.",
            "See `ltx-agent doctor` for what is wrong with it.",
        )
    return found


def scaled(pairs: Pairs, factors: Mapping[str, float]) -> OwnPairs:
    """Scale the branches (video, audio, cross) by `factors`; a factor of 0 leaves the branch out altogether."""
    return {
        name: (down, up * factors.get(branch_of(name), 1.0))
        for name, (down, up) in pairs.items()
        if factors.get(branch_of(name), 1.0) != 0
    }


def merged(parts: list[tuple[Pairs, float]]) -> OwnPairs:
    """The weighted sum of adapters, exactly: their matrices side by side, so that ranks add up.

    Raises ConfigError when a module's layers differ in size.
    """
    found: OwnPairs = {}
    for pairs, weight in parts:
        for name, (down, up) in pairs.items():
            if name not in found:
                found[name] = (down, up * weight)
                continue
            own_down, own_up = found[name]
            if own_down.shape[1] != down.shape[1] or own_up.shape[0] != up.shape[0]:
                raise ConfigError(
                    f"The adapters don't fit together: {name} is {up.shape[0]}x{down.shape[1]} in one and "
                    f"{own_up.shape[0]}x{own_down.shape[1]} in another.",
                    "Merge adapters of one LTX version.",
                )
            found[name] = (torch.cat([own_down, down]), torch.cat([own_up, up * weight], dim=1))
    return found


def with_rank(pairs: Pairs, rank: int) -> tuple[OwnPairs, float]:
    """Each module's best approximation of rank `rank` (Eckart and Young), and the share of ‖ΔW‖ that is lost.

    A module of smaller rank is padded with zeros, so that all end up equal. The decomposition is of the small matrices
    alone: QR of B and of Aᵀ, then the singular values of R_B·R_Aᵀ.
    """
    found: OwnPairs = {}
    lost, whole = 0.0, 0.0
    for name, (down, up) in pairs.items():
        q_up, r_up = torch.linalg.qr(up.double())
        q_down, r_down = torch.linalg.qr(down.double().T)
        left, values, right = torch.linalg.svd(r_up @ r_down.T, full_matrices=False)
        kept = min(rank, len(values))
        root = values[:kept].sqrt()
        new_up = (q_up @ left[:, :kept]) * root
        new_down = root[:, None] * (right[:kept] @ q_down.T)
        missing = rank - kept
        found[name] = (
            torch.nn.functional.pad(new_down, (0, 0, 0, missing)).float(),
            torch.nn.functional.pad(new_up, (0, missing)).float(),
        )
        lost += float(values[kept:].square().sum())
        whole += delta_norm(down, up) ** 2
    return found, (lost / whole) ** 0.5 if whole else 0.0


def write_adapter(path: Path, pairs: Pairs, metadata: dict[str, str], dtype: torch.dtype = torch.bfloat16) -> None:
    """Write `pairs` under the keys that readers know, scale folded in. Never overwrites: raises ConfigError."""
    if path.exists():
        raise ConfigError(f"{path} exists already; nothing is overwritten.", "Name another file with --output.")
    if not pairs:
        raise ConfigError("Nothing is left of the adapter.", "Strip or scale fewer branches.")
    state = {}
    for name, (down, up) in pairs.items():
        module = f"{LORA_PREFIX}{to_upstream(name)}"
        state[f"{module}.lora_A.weight"] = down.to(dtype).contiguous()
        state[f"{module}.lora_B.weight"] = up.to(dtype).contiguous()
    ranks = {down.shape[0] for down, _ in pairs.values()}
    kept = {key: value for key, value in metadata.items() if key not in ("rank", "step")}
    if len(ranks) == 1:
        kept["rank"] = str(ranks.pop())
    write_tensors(path, state, {"format": "pt", **kept})
