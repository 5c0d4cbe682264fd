"""A new adapter file from existing ones: strip or scale branches, merge, change rank. The old ones stay as they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainer_core.adapters import LORA_PREFIX
from trainer_core.doctor.examine import examine_file
from trainer_core.doctor.measure import Pairs, delta_norm
from trainer_core.errors import ConfigError
from trainer_core.files import replacing
from trainer_core.lora.file import LoraFile, read_lora_file
from trainer_core.lora.names import text_key
from trainer_core.lora.strength import METADATA_KEY
from trainer_core.model.ltx import branch_of
from trainer_core.model.names import to_upstream
from trainer_core.weights_file import write_tensors

_OF_THE_OLD_FILE = ("rank", "step", METADATA_KEY, "sshs_", "ss_network_")
"""How the metadata begins that says what only the old file was."""
OwnPairs = dict[str, tuple[Tensor, Tensor]]


def load_whole(path: Path) -> LoraFile:
    """Read an adapter to make another of. Raises ConfigError when anything in it is lost, broken or unknown, and for
    DoRA, whose change can't be told without its base."""
    found = read_lora_file(path).sound()
    if found.magnitudes:
        raise ConfigError(
            f"{path} is a DoRA: what it changes depends on its base's own weights, so it can't be scaled, merged or "
            "resized as a file.",
            "Use it as it is, with a weight where it is loaded; or train a plain LoRA.",
        )
    return found


def check_versions(files: Sequence[LoraFile]) -> None:
    """Raise ConfigError where the files say that they were made for different versions of LTX-2."""
    said = {str(file.path): file.metadata["model_version"] for file in files if file.metadata.get("model_version")}
    if len(set(said.values())) > 1:
        told = ", ".join(f"{path} for LTX-{version[:20]}" for path, version in said.items())
        raise ConfigError(f"The adapters are of different versions: {told}.", "Merge adapters of one LTX version.")


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
        if not bool(down.isfinite().all() and up.isfinite().all()):
            raise ConfigError(f"{name} holds numbers that are not finite at that scale.", "Scale it less.")
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


def write_adapter(
    path: Path,
    pairs: Pairs,
    metadata: dict[str, str],
    dtype: torch.dtype = torch.bfloat16,
    text_pairs: Pairs | None = None,
) -> None:
    """Write `pairs` under the keys that readers know, strength folded in; `text_pairs` stand before the transformer.

    Never overwrites, and never leaves a file that the doctor would call broken: raises ConfigError.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already; nothing is overwritten.", "Name another file with --output.")
    if not pairs and not text_pairs:
        raise ConfigError("Nothing is left of the adapter.", "Strip or scale fewer branches.")
    named = {f"{LORA_PREFIX}{to_upstream(name)}": pair for name, pair in pairs.items()}
    named |= {text_key(name): pair for name, pair in (text_pairs or {}).items()}
    state = {}
    for module, (down, up) in named.items():
        state[f"{module}.lora_A.weight"] = down.to(dtype).contiguous()
        state[f"{module}.lora_B.weight"] = up.to(dtype).contiguous()
    ranks = {down.shape[0] for down, _ in pairs.values()}
    kept = {key: value for key, value in metadata.items() if not key.startswith(_OF_THE_OLD_FILE)}
    if len(ranks) == 1:
        kept["rank"] = str(ranks.pop())
    with replacing(path) as temporary:
        write_tensors(temporary, state, {"format": "pt", **kept})
        found = examine_file(temporary)
        if found.verdict == "broken":
            raise ConfigError(
                f"{path} would be a broken adapter: {found.evidence[0]}.",
                "Scale it less, or leave out what the evidence names.",
            )
