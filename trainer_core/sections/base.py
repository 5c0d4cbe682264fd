"""Parts of every section of the training YAML: strict mappings and bounded numbers. No torch."""

from typing import Annotated

from pydantic import ConfigDict, Field

from trainer_core.strict import Strict

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]


class Section(Strict):
    """A mapping of the YAML in which every key must be known."""

    model_config = ConfigDict(protected_namespaces=())
