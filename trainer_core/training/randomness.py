"""The global random states of one process: saved, restored, and kept from what evaluation and sampling draw.

Sigma and noise never come from here (see step.py); dropout does.
"""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def seed_process(seed: int, rank: int) -> None:
    """Seed this process from (seed, rank): equal configs drop out equally, ranks differ."""
    drawn = np.random.SeedSequence([seed & (2**64 - 1), rank]).generate_state(3, np.uint32)
    torch.manual_seed(int(drawn[0]))
    random.seed(int(drawn[1]))
    np.random.seed(int(drawn[2]))


def random_states() -> dict[str, Any]:
    """The states of torch (CPU and each CUDA device), Python and numpy, of plain types."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": _bytes(torch.get_rng_state()),
        "cuda": [_bytes(state) for state in cuda],
        "python": random.getstate(),
        "numpy": (str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached)),
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` returned. CUDA states of another number of devices are left alone."""
    torch.set_rng_state(_tensor(states["torch"]))
    cuda = states["cuda"]
    if cuda and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_tensor(state) for state in cuda])
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


@contextlib.contextmanager
def kept_randomness() -> Iterator[None]:
    """Leave the random states as they were, whatever is drawn inside."""
    before = random_states()
    try:
        yield
    finally:
        restore_random_states(before)


def _bytes(state: torch.Tensor) -> bytes:
    return bytes(state.numpy().tobytes())


def _tensor(state: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)
