"""Tokens that a model read and wrote, and what they cost: one count for the chat model and the captioner."""

from dataclasses import dataclass

Price = tuple[float, float]
"""The cost of one token in and of one token out, in the currency of the settings."""


@dataclass(frozen=True)
class Usage:
    """Tokens in and out, and the seconds that a request or a batch took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.seconds + other.seconds,
        )

    def cost(self, price: Price | None) -> float | None:
        """Return what the tokens cost; None without a price."""
        if price is None:
            return None
        return round(self.prompt_tokens * price[0] + self.completion_tokens * price[1], 6)


NO_USAGE = Usage()


def token_price(per_million_input: float | None, per_million_output: float | None) -> Price | None:
    """Return the price of a token from prices per million; None unless both are known."""
    if per_million_input is None or per_million_output is None:
        return None
    return per_million_input / 1e6, per_million_output / 1e6
