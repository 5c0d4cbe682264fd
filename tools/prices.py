"""Prices the user names in settings.yaml, and what a time on the GPU comes to at them."""

from typing import Annotated

from pydantic import Field

from tools.spec import CostLine
from trainer_core.strict import Strict


class Prices(Strict):
    """`prices:`, what an hour of the GPU costs, and in which currency all prices are."""

    gpu_hour: Annotated[float, Field(ge=0)] | None = None
    currency: Annotated[str, Field(pattern=r"^\w{1,8}$")] = "USD"


def money_of(time: CostLine, prices: Prices) -> CostLine:
    """Return the price of `time` on a GPU: by the hour where its length isn't known, unknown where no price is set."""
    if prices.gpu_hour is None:
        return CostLine("money", "no price of a GPU hour is set (prices.gpu_hour in settings.yaml)")
    price, currency = prices.gpu_hour, prices.currency
    if time.value is None:
        return CostLine("money", f"{price:g} {currency} for each hour")
    money = time.value / 3600 * price
    return CostLine("money", f"about {money:.2f} {currency} at {price:g} {currency} an hour", money, "estimated")
