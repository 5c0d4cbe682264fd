"""The published JSON schema of the training YAML is the code's own, and says what the loader says."""

import json
from pathlib import Path

import pytest

from trainer_core.config import TrainingConfig, schema_text
from trainer_core.recipes import OBJECTIVE_NAMES

PUBLISHED = Path(__file__).parents[2] / "examples" / "training.schema.json"


def test_the_published_schema_is_the_codes_own():
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), "write it again: python -m trainer_core.config"


def test_an_editor_can_complete_from_it():
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"model", "data"}
    agent = schema["$defs"]["LtxAgentSection"]["properties"]
    assert agent["objective"]["anyOf"][0]["enum"] == list(OBJECTIVE_NAMES)


@pytest.mark.parametrize("section", sorted(TrainingConfig.model_fields))
def test_every_section_is_in_it(section):
    assert section in json.loads(PUBLISHED.read_text(encoding="utf-8"))["properties"]
