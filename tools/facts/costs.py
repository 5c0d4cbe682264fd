"""Costs of the planned training: time, energy, memory, disk and money, each with where the figure comes from."""

from tools.facts.lines import FactsError
from tools.machine import power_limit_w
from tools.monitor.cost import start_costs
from tools.prices import Prices, money_of
from tools.project import Project
from tools.settings import read_section
from tools.spec import CostLine

JOULES_A_KWH = 3.6e6


def cost_facts(project: Project, name: str | None) -> list[str]:
    """The costs of one run of the plan. Raises FactsError before there is a plan. `name` is a kind of cost."""
    if not project.config_path.exists():
        raise FactsError(
            "What it costs follows from the plan, and there is none yet.",
            "Up to the plan nothing but this machine's time is spent, and training starts only after your yes.",
        )
    costs = start_costs(project)
    time = next(cost for cost in costs if cost.kind == "time")
    priced = [*costs, money_of(time, read_section("prices", Prices))]
    lines = [(str(cost.kind), f"{cost.text} ({cost.basis})") for cost in priced]
    lines.insert(1, ("energy", energy_text(time, power_limit_w())))
    return [f"{kind.capitalize()}: {text}." for kind, text in lines if name is None or kind == name]


def energy_text(time: CostLine, watts: float | None) -> str:
    """An upper bound of the energy: the GPU's power limit for the whole time; the rest of the machine comes on top."""
    if watts is None:
        return "no GPU is visible here, so its power isn't known (unknown)"
    if time.value is None:
        return f"at most {watts / 1000:.2g} kWh for each hour, the GPU's limit being {watts:.0f} W (unknown)"
    energy = time.value * watts / JOULES_A_KWH
    return f"at most {energy:.2g} kWh, the GPU's limit being {watts:.0f} W (estimated)"
