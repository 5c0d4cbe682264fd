"""Base of every document and argument that people or models write: unknown keys are refused. No torch."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A pydantic model that refuses a key it doesn't know, so that a misspelled one is never ignored in silence."""

    model_config = ConfigDict(extra="forbid")
