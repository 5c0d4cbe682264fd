"""What needs a card: `pytest -m cuda`. Without one every test here is skipped."""

import pytest
import torch


@pytest.fixture(autouse=True)
def card() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return torch.device("cuda")
